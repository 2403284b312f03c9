"""The three kinds of figures on the page, as SVG in data: URIs."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluator.analysis.statistics import Interval
from evaluator.report.components import Figure
from shared.formatting import format_score, printable, shorten

WIDTH = 7.2  # inches
PIXELS = 96  # CSS pixels per inch
LONGEST_LABEL = 30  # characters of a name inside a figure
LONGEST_TITLE = 70  # of an axis
INK, GREY, PALE = "#1a1a1a", "#5a5a5a", "#c8c8c8"

SETTINGS: dict[Any, Any] = {  # Matplotlib spells every key out in its type
    "axes.axisbelow": True,
    "axes.edgecolor": "#767676",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",  # comes with Matplotlib: the same figure everywhere
    "font.size": 9.0,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "report",  # ids that do not change from run to run
    "text.color": INK,
    "text.parse_math": False,  # a strategy's name may hold $ and ^
    "xtick.color": "#4d4d4d",
    "ytick.color": "#4d4d4d",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}

# Okabe and Ito (2008), the darker ones first; yellow cannot be read on white. With a marker each,
# the first 77 strategies are distinguishable.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h")


@dataclass(frozen=True)
class Style:
    """How a strategy is drawn, the same in every figure of a page."""

    colour: str
    marker: str


REFERENCE_STYLES = {"none": Style(GREY, "8"), "all": Style(GREY, "d")}
POOL_STYLE = Style("#000000", "x")


def assign_styles(strategies: Sequence[str]) -> dict[str, Style]:
    """A style for each strategy and for the evaluator's own rows."""
    own = {
        name: Style(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(strategies)
    }
    return own | REFERENCE_STYLES


@dataclass(frozen=True)
class Estimate:
    """A named mean, its interval, and the observations behind it."""

    name: str
    value: float
    interval: Interval | None
    observations: Sequence[float]
    style: Style


def estimates_figure(
    estimates: Sequence[Estimate], *, axis: str, alt: str, caption: str, zero: bool = False
) -> Figure:
    """One line per estimate: marker, interval, a dot per observation, the number at the right.

    An interval that continues past the edge ends in an arrow. With `zero`, a line at 0: a forest
    plot of differences.
    """
    return _render(
        lambda axes: _draw_estimates(axes, estimates, axis, zero),
        height=0.9 + 0.36 * len(estimates),
        alt=alt,
        caption=caption,
    )


@dataclass(frozen=True)
class Curve:
    """A named line through points (x, y), each with an interval or None."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    intervals: Sequence[Interval | None]
    style: Style


def curves_figure(
    curves: Sequence[Curve],
    levels: Mapping[str, float],
    *,
    axes_titles: tuple[str, str],
    alt: str,
    caption: str,
) -> Figure:
    """Curves with intervals, side by side where they share an x, and named horizontal lines."""
    return _render(
        lambda axes: _draw_curves(axes, curves, levels, axes_titles),
        height=4.2,
        alt=alt,
        caption=caption,
    )


@dataclass(frozen=True)
class Series:
    """A named row of numbers, one per group; NaN is left out."""

    name: str
    values: Sequence[float]
    style: Style


def groups_figure(
    groups: Sequence[str],
    series: Sequence[Series],
    *,
    axis: str,
    alt: str,
    caption: str,
    percent: bool = False,
) -> Figure:
    """One band per group, and in it a mark per series, each on a line of its own."""
    return _render(
        lambda axes: _draw_groups(axes, groups, series, axis, percent),
        height=1.2 + len(groups) * max(0.36, 0.15 * len(series)),
        alt=alt,
        caption=caption,
    )


def short_label(text: str, longest: int = LONGEST_LABEL) -> str:
    """A text as it is written inside a figure: on one line, shortened where it is longer."""
    return shorten(" ".join(printable(text).split()), longest)


def axis_limits(values: Sequence[float], ends: Sequence[float]) -> tuple[float, float]:
    """The limits of an axis: all values, and of the intervals what keeps the values apart.

    With two seeds an interval can be twenty times as wide as everything that was measured.
    """
    low, high = min(values), max(values)
    reach = max(high - low, 0.02)
    least = max(min([low, *ends]), low - reach)
    most = min(max([high, *ends]), high + reach)
    margin = 0.06 * max(most - least, 0.02)  # where all values are equal
    return least - margin, most + margin


def _render(draw: Callable[[Axes], None], *, height: float, alt: str, caption: str) -> Figure:
    """What `draw` makes of empty axes, WIDTH x `height` inches."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas = Canvas(figsize=(WIDTH, height), layout="constrained")
        draw(canvas.add_subplot())
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Figure(
        f"data:image/svg+xml;base64,{encoded}",
        alt,
        caption,
        round(WIDTH * PIXELS),
        round(height * PIXELS),
    )


def _draw_estimates(axes: Axes, estimates: Sequence[Estimate], axis: str, zero: bool) -> None:
    shown = [x for one in estimates for x in (one.value, *one.observations)] + [0.0] * zero
    ends = [end for one in estimates if one.interval for end in one.interval]
    low, high = axis_limits(shown, ends)
    if not zero:  # a score is at most 1
        low, high = max(low, -0.02), min(high, 1.02)
    axes.set_xlim(low, high)
    for row, one in enumerate(estimates):
        if one.interval:
            _draw_interval(axes, row, one.interval, one.style.colour, (low, high))
        axes.plot(one.observations, [row + 0.28] * len(one.observations), ".", color=GREY,
                  markersize=4)  # fmt: skip
        axes.plot(one.value, row, one.style.marker, color=one.style.colour, markersize=8,
                  markeredgecolor="white", markeredgewidth=0.8, zorder=3)  # fmt: skip
        axes.annotate(
            format_score(one.value, signed=zero),
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center",
        )
    if zero:
        axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(estimates)), [short_label(one.name) for one in estimates])
    axes.set_ylim(len(estimates) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, pad=8)  # room for an arrow before the names
    axes.set_xlabel(short_label(axis, LONGEST_TITLE))


def _draw_interval(
    axes: Axes, row: int, interval: Interval, colour: str, limits: tuple[float, float]
) -> None:
    left, right = max(interval.low, limits[0]), min(interval.high, limits[1])
    axes.plot([left, right], [row, row], color=colour, linewidth=2)
    for end, limit, arrow in ((left, limits[0], "<"), (right, limits[1], ">")):
        marker = arrow if end == limit else "|"
        axes.plot(end, row, marker, color=colour, markersize=8, clip_on=False)


def _draw_curves(
    axes: Axes, curves: Sequence[Curve], levels: Mapping[str, float], titles: tuple[str, str]
) -> None:
    values = [y for curve in curves for y in curve.y] + list(levels.values())
    ends = [end for curve in curves for one in curve.intervals if one for end in one]
    places = sorted({x for curve in curves for x in curve.x})
    apart = 0.006 * (places[-1] - places[0])
    for number, curve in enumerate(curves):
        style = curve.style
        x = np.asarray(curve.x, dtype=np.float64) + apart * (number - (len(curves) - 1) / 2)
        axes.plot(x, curve.y, marker=style.marker, color=style.colour, linewidth=1.8, markersize=7,
                  label=short_label(curve.name), markeredgecolor="white",
                  markeredgewidth=0.6)  # fmt: skip
        for place, one in zip(x, curve.intervals, strict=True):
            if one:
                axes.plot([place, place], one, color=style.colour, linewidth=1.2, alpha=0.75)
    for name, level in levels.items():
        axes.axhline(level, color=GREY, linewidth=1, linestyle=(0, (1, 1.5)))
        axes.annotate(f" {name} {format_score(level)}", (1.0, level),
                      xycoords=("axes fraction", "data"), va="center")  # fmt: skip
    axes.set_ylim(*axis_limits(values, ends))
    axes.set_xlabel(short_label(titles[0], LONGEST_TITLE))
    axes.set_ylabel(short_label(titles[1], LONGEST_TITLE))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)


def _draw_groups(
    axes: Axes, groups: Sequence[str], series: Sequence[Series], axis: str, percent: bool
) -> None:
    slot = 0.8 / max(len(series), 1)
    for band in range(0, len(groups), 2):
        axes.axhspan(band - 0.5, band + 0.5, color="#f4f4f4", zorder=0, linewidth=0)
    for number, one in enumerate(series):
        y = np.arange(len(groups)) - 0.4 + slot * (number + 0.5)
        axes.hlines(y, 0, one.values, color=PALE, linewidth=0.8, zorder=1)
        axes.plot(one.values, y, one.style.marker, color=one.style.colour, markersize=6.5,
                  label=short_label(one.name), zorder=3)  # fmt: skip
    axes.set_yticks(range(len(groups)), [short_label(group) for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(short_label(axis, LONGEST_TITLE))
    if percent:
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Below the figure, where it hides nothing."""
    handles, names = axes.get_legend_handles_labels()
    axes.figure.legend(handles, names, loc="outside lower center", ncols=min(3, len(handles)))
