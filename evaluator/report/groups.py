"""Numbers per class and strategy, as a drawing that suits how many there are."""

import math
from collections.abc import Sequence

import numpy as np

from evaluator.report.canvas import WIDTH, drawn
from evaluator.report.charts import Series, draw_groups, draw_matrix
from evaluator.report.parts import Picture

MOST_MARKS = 100  # numbers that are drawn as marks; more of them as a heat map
MOST_SPELLED = 60  # numbers that the alt text spells one by one
CELL = 0.45  # inches


def by_group(
    groups: Sequence[str],
    series: Sequence[Series],
    *,
    title: str,
    percent: bool,
    what: str,
    caption: str,
) -> Picture:
    """Marks on a line per class or, for many, a heat map; `what` begins the alt text."""
    alt = f"{what}. {'; '.join(_spelled(groups, one, len(series), percent) for one in series)}."
    if len(groups) * len(series) <= MOST_MARKS:
        return drawn(
            lambda axes: draw_groups(axes, groups, series, title=title, percent=percent),
            height=1.2 + len(groups) * max(0.36, 0.15 * len(series)),
            alt=alt,
            caption=caption,
        )
    values = np.array([list(one.values) for one in series], dtype=np.float64)
    return drawn(
        lambda axes: draw_matrix(axes, [one.name for one in series], groups, values),
        width=matrix_width(len(groups)),
        height=1.3 + 0.3 * len(series),
        alt=alt,
        caption=f"{caption} Darker: more.",
    )


def matrix_width(columns: int) -> float:
    """Inches that a heat map needs to hold its numbers."""
    return max(WIDTH, 2.4 + CELL * columns)


def _spelled(groups: Sequence[str], one: Series, n_series: int, percent: bool) -> str:
    form = ".0%" if percent else ".2f"
    known = [(v, group) for group, v in zip(groups, one.values, strict=True) if not math.isnan(v)]
    if len(groups) * n_series <= MOST_SPELLED:
        return f"{one.name}: {', '.join(f'{group} {value:{form}}' for value, group in known)}"
    (low, least), (high, most) = min(known), max(known)
    return f"{one.name}: from {low:{form}} ({least}) to {high:{form}} ({most})"
