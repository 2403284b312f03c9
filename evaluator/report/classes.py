"""F1 per class and strategy: where a difference in macro-F1 comes from."""

import math
import statistics
from collections.abc import Mapping, Sequence

from evaluator.report.canvas import Look
from evaluator.report.charts import Series
from evaluator.report.groups import by_group
from evaluator.report.parts import Fold, Part, Section, Table, Text
from evaluator.report.views import View, f1_per_class
from evaluator.report.words import number


def classes(views: Sequence[View], looks: Mapping[str, Look]) -> Section:
    """Under the first view, the others folded."""
    first, *others = views
    parts = _f1(first, looks)
    parts += [Fold(f"Under {view.name} alone", tuple(_f1(view, looks))) for view in others]
    return Section("classes", "F1 per class", tuple(parts))


def _f1(view: View, looks: Mapping[str, Look]) -> list[Part]:
    found = {name: scores for name, scores in f1_per_class(view).items() if scores}
    if not found:
        return [Text("No score yet.")]
    names = list(dict.fromkeys(name for scores in found.values() for name in scores))
    series = [
        Series(strategy, [scores.get(name, math.nan) for name in names], looks[strategy])
        for strategy, scores in found.items()
    ]
    picture = by_group(
        names,
        series,
        title=f"F1, {view.name}",
        percent=False,
        what=f"F1 per class under {view.name}",
        caption="Mean over pairs and complete seeds; strategies in the order of the leaderboard.",
    )
    table = Table(
        f"F1 per class under {view.name}, best macro-F1 first.",
        ("strategy", *names, "macro-F1"),
        tuple(
            (
                strategy,
                *(number(scores.get(name)) for name in names),
                number(statistics.fmean(scores.values())),
            )
            for strategy, scores in found.items()
        ),
    )
    absent = [row.strategy for row in view.strategies if row.strategy not in found]
    left_out = [Text(f"Left out (failed or unfinished): {', '.join(absent)}.", "warning")]
    return [picture, table, *(left_out if absent else [])]
