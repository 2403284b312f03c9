"""What more labels bring: score against budget, and the area under that curve."""

import math
import statistics
from collections.abc import Mapping, Sequence

from evaluator.analysis.comparison import spoken_interval
from evaluator.analysis.statistics import area_under_budget_curve, mean_interval
from evaluator.records.trial import Pair
from evaluator.report.canvas import Look, drawn
from evaluator.report.charts import Curve, draw_curves
from evaluator.report.parts import Fold, Part, Section, Table, Text
from evaluator.report.views import View, by_budget
from evaluator.report.words import NOTHING, number

Scores = Mapping[int, Mapping[int, float]]  # budget -> seed -> macro-F1


def budgets(views: Sequence[View], pairs: Sequence[Pair], looks: Mapping[str, Look]) -> Section:
    """The curves under the first view, the others folded."""
    title = "Score against budget"
    if len({pair.budget for pair in pairs}) < 2:
        return Section(
            "budget",
            title,
            (
                Text(
                    "One budget in labels was evaluated, so there is no curve. "
                    "--pairs 621:17 1889:51, say, gives one."
                ),
            ),
        )
    first, *others = views
    parts = _curves(first, pairs, looks)
    parts += [Fold(f"Under {view.name} alone", tuple(_curves(view, pairs, looks)))
              for view in others]  # fmt: skip
    return Section("budget", title, tuple(parts))


def _curves(view: View, pairs: Sequence[Pair], looks: Mapping[str, Look]) -> list[Part]:
    scored = {
        row.strategy: scores
        for row in view.rows
        if row.strategy not in ("none", "all")
        and not row.failures
        and len(scores := by_budget(row, pairs)) > 1
    }
    if not scored:
        return [Text("No strategy is scored under two budgets yet.")]
    curves = [_curve(name, scores, looks[name]) for name, scores in scored.items()]
    levels = {
        row.strategy: row.mean
        for row in view.rows
        if row.strategy in ("none", "all") and not math.isnan(row.mean)
    }
    spelled = "; ".join(
        f"{curve.name} "
        + ", ".join(f"{y:.3f} at {x:,.0f}" for x, y in zip(curve.x, curve.y, strict=True))
        for curve in curves
    )
    picture = drawn(
        lambda axes: draw_curves(
            axes, curves, levels, across="labels bought", up=f"macro-F1, {view.name}"
        ),
        height=4.2,
        alt=f"Macro-F1 under {view.name} against labels bought: {spelled}.",
        caption="Mean over seeds with its 95 % interval, cut at the edge. Pairs with the same "
        "labels and other minutes are one point, their mean.",
    )
    return [picture, _table(view, scored)]


def _curve(name: str, scores: Scores, look: Look) -> Curve:
    means = [statistics.fmean(by_seed.values()) for by_seed in scores.values()]
    intervals = [mean_interval(list(by_seed.values())) for by_seed in scores.values()]
    return Curve(name, list(scores), means, look, intervals)


def _table(view: View, scored: Mapping[str, Scores]) -> Table:
    columns = sorted({budget for scores in scored.values() for budget in scores})
    lines = []
    for name, scores in scored.items():
        areas = _areas(scores)
        cells = [
            number(statistics.fmean(scores[budget].values()) if budget in scores else None)
            for budget in columns
        ]
        area = statistics.fmean(areas) if areas else math.nan
        interval = spoken_interval(mean_interval(areas)) or NOTHING
        lines.append((area, (name, number(area), interval, *cells, str(len(areas)))))
    lines.sort(key=lambda line: -line[0])
    left_out = [row.strategy for row in view.strategies if row.strategy not in scored]
    suffix = f" Left out (failed or unfinished): {', '.join(left_out)}." if left_out else ""
    return Table(
        f"Mean height of the curve (AUBC: trapezoid area over the range of budgets) and macro-F1 "
        f"per budget, {view.name}.{suffix}",
        ("strategy", "AUBC", "95 % interval", *(f"{budget:,} labels" for budget in columns),
         "seeds"),
        tuple(cells for _, cells in lines),
    )  # fmt: skip


def _areas(scores: Scores) -> list[float]:
    """One area per seed that has every budget."""
    seeds = set.intersection(*(set(by_seed) for by_seed in scores.values()))
    areas = [
        area_under_budget_curve(list(scores), [by_seed[seed] for by_seed in scores.values()])
        for seed in sorted(seeds)
    ]
    return [area for area in areas if area is not None]
