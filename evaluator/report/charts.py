"""The kinds of drawings on the page. Each takes numbers and names and fills empty axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from evaluator.analysis.statistics import Interval
from evaluator.report.canvas import INK, LONGEST_TITLE, PALE, Look, label, legend, view

HATCHES = ("", "////", "....")


@dataclass(frozen=True)
class Estimate:
    """A named number, how sure it is, and the single observations behind it."""

    name: str
    value: float
    interval: Interval | None
    observations: tuple[float, ...]
    look: Look


def draw_estimates(
    axes: Axes, estimates: Sequence[Estimate], *, title: str, zero: bool = False
) -> None:
    """One line per estimate: marker, interval, a tick per observation, the number at the right.

    An interval that goes on past the edge ends in an arrow. With `zero`, a line at 0.
    """
    signed = "+.3f" if zero else ".3f"
    shown = [x for one in estimates for x in (one.value, *one.observations)] + [0.0] * zero
    ends = [end for one in estimates if one.interval for end in one.interval]
    low, high = view(shown, ends)
    if not zero:  # scores, which know no more than 1
        low, high = max(low, -0.02), min(high, 1.02)
    axes.set_xlim(low, high)
    for row, one in enumerate(estimates):
        if one.interval:
            left, right = max(one.interval.low, low), min(one.interval.high, high)
            axes.plot([left, right], [row, row], color=one.look.colour, linewidth=2)
            for end, edge, arrow in ((left, low, "<"), (right, high, ">")):
                past = end == edge
                axes.plot(
                    end, row, arrow if past else "|", color=one.look.colour, markersize=8,
                    clip_on=False,
                )  # fmt: skip
        axes.plot(one.observations, [row + 0.3] * len(one.observations), "|", color="#5a5a5a",
                  markersize=5)  # fmt: skip
        axes.plot(one.value, row, one.look.marker, color=one.look.colour, markersize=8,
                  markeredgecolor="white", markeredgewidth=0.8, zorder=3)  # fmt: skip
        axes.annotate(
            f"{one.value:{signed}}", (1.02, row), xycoords=("axes fraction", "data"), va="center"
        )
    if zero:
        axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(estimates)), [label(one.name) for one in estimates])
    axes.set_ylim(len(estimates) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, pad=8)  # an arrow stands before the names
    axes.set_xlabel(label(title, LONGEST_TITLE))


@dataclass(frozen=True)
class Curve:
    """A named line through points (x, y), each with an interval or None."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    look: Look
    intervals: Sequence[Interval | None] = ()
    marks: bool = True


def draw_curves(
    axes: Axes,
    curves: Sequence[Curve],
    levels: Mapping[str, float],
    *,
    across: str,
    up: str,
) -> None:
    """Curves with intervals, side by side where they share an x, and named horizontal lines."""
    values = [y for curve in curves for y in curve.y] + list(levels.values())
    ends = [end for curve in curves for one in curve.intervals if one for end in one]
    low, high = view(values, ends)
    places = sorted({x for curve in curves for x in curve.x})
    apart = 0.006 * (places[-1] - places[0])
    for number, curve in enumerate(curves):
        x = np.asarray(curve.x, dtype=np.float64)
        if any(curve.intervals):
            x = x + apart * (number - (len(curves) - 1) / 2)
        axes.plot(
            x, curve.y, linestyle=curve.look.dash, marker=curve.look.marker if curve.marks else "",
            markevery=1 if len(x) < 12 else (0.02 * number, 0.1), color=curve.look.colour,
            linewidth=1.8, markersize=7, label=label(curve.name), markeredgecolor="white",
            markeredgewidth=0.6,
        )  # fmt: skip
        for place, one in zip(x, curve.intervals, strict=False):
            if one:
                axes.plot([place, place], one, color=curve.look.colour, linewidth=1.2, alpha=0.75)
    for name, level in levels.items():
        axes.axhline(level, color="#5a5a5a", linewidth=1, linestyle=(0, (1, 1.5)))
        axes.annotate(f" {name} {level:.3f}", (1.0, level), xycoords=("axes fraction", "data"),
                      va="center", color="#4d4d4d")  # fmt: skip
    axes.set_ylim(low, high)
    axes.set_xlabel(label(across, LONGEST_TITLE))
    axes.set_ylabel(label(up, LONGEST_TITLE))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes)


@dataclass(frozen=True)
class Series:
    """A named row of numbers, one per group; NaN is left out."""

    name: str
    values: Sequence[float]
    look: Look


def draw_groups(
    axes: Axes, groups: Sequence[str], series: Sequence[Series], *, title: str, percent: bool
) -> None:
    """One band per group, and in it a mark per series, each on a line of its own."""
    slot = 0.8 / max(len(series), 1)
    for band in range(0, len(groups), 2):
        axes.axhspan(band - 0.5, band + 0.5, color="#f4f4f4", zorder=0, linewidth=0)
    for number, one in enumerate(series):
        y = np.arange(len(groups)) - 0.4 + slot * (number + 0.5)
        axes.hlines(y, 0, one.values, color=PALE, linewidth=0.8, zorder=1)
        axes.plot(one.values, y, one.look.marker, color=one.look.colour, markersize=6.5,
                  label=label(one.name), zorder=3)  # fmt: skip
    axes.set_yticks(range(len(groups)), [label(group) for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label(title, LONGEST_TITLE))
    if percent:
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    legend(axes)


def draw_matrix(
    axes: Axes,
    rows: Sequence[str],
    columns: Sequence[str],
    values: NDArray[np.float64],
    *,
    summary: bool = False,
) -> None:
    """A heat map of numbers from 0 to 1 with every number written in it; NaN stays empty.

    With `summary`, the last row stands apart.
    """
    axes.pcolormesh(values, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=2)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            ink = "white" if value > 0.55 else INK
            axes.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", color=ink)
    axes.set_xticks(
        np.arange(len(columns)) + 0.5, [label(name, 18) for name in columns], rotation=30, ha="left"
    )
    axes.set_yticks(np.arange(len(rows)) + 0.5, [label(name) for name in rows])
    axes.set_ylim(len(rows), 0)
    if summary:
        axes.axhline(len(rows) - 1, color="white", linewidth=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)


def draw_shares(
    axes: Axes,
    names: Sequence[str],
    phases: Mapping[str, Sequence[float]],
    most: Sequence[float],
    *,
    title: str,
) -> None:
    """Stacked bars of shares per phase, a mark at each name's largest total, a line at 100 %."""
    left = np.zeros(len(names))
    for (phase, values), colour, hatch in zip(
        phases.items(), ("#56B4E9", "#E69F00", "#999999"), HATCHES, strict=False
    ):
        axes.barh(range(len(names)), values, left=left, height=0.6, color=colour, hatch=hatch,
                  edgecolor=INK, linewidth=0.6, label=phase)  # fmt: skip
        left = left + np.asarray(values)
    axes.plot(most, range(len(names)), "d", color=INK, markersize=6, label="largest of all seeds",
              clip_on=False)  # fmt: skip
    axes.axvline(1.0, color=INK, linewidth=1.4, linestyle=(0, (5, 2)), label="the budget's end")
    axes.set_yticks(range(len(names)), [label(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, max(1.05, 1.05 * max(most, default=1.0)))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(label(title, LONGEST_TITLE))
    legend(axes, columns=4)
