"""Who leads: the leaderboards with their intervals, and whether the pipelines agree."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from evaluator.analysis.comparison import seed_means
from evaluator.analysis.leaderboard import Row, table_of
from evaluator.analysis.robustness import across_pipelines, ranks_of
from evaluator.records.trial import Pair
from evaluator.report.canvas import Look, drawn
from evaluator.report.charts import Estimate, draw_estimates
from evaluator.report.parts import Fold, Part, Picture, Section, Table, Text, console_table
from evaluator.report.views import View
from evaluator.report.words import counted, listed, number, spoken

SEEDS = (
    "Mean with its 95 % interval; the small ticks below are single seeds. An arrow: the interval "
    "goes on past the edge."
)
ONE_SEED = "Each point is one purchase seed: there is no interval yet."
INTERVALS = (
    "The 95 % intervals are over purchase seeds: made so, 95 of 100 hold the mean that endlessly "
    "many seeds would have, on the same data set, with the same pairs and pipelines (where scores "
    "are about normal). They say nothing about other data."
)
NO_INTERVAL = "With one purchase seed there is no interval; --seeds 5 gives one."
REFERENCE_ROWS = {
    "none": "nothing bought",
    "all": "every label of the pool",
}


def standing(views: Sequence[View], pairs: Sequence[Pair], looks: Mapping[str, Look]) -> Section:
    """The leaderboard to read first, the others folded, and how far pipelines agree."""
    first, *others = views
    parts: list[Part] = [*_leaderboard(first, pairs, looks), Text(_meaning(first), "small")]
    parts += [
        Fold(f"Leaderboard under {view.name} alone", tuple(_leaderboard(view, pairs, looks)))
        for view in others
    ]
    if others:
        parts += _agreement(others)
    return Section("leaderboard", "Leaderboard", tuple(parts))


def _leaderboard(view: View, pairs: Sequence[Pair], looks: Mapping[str, Look]) -> list[Part]:
    shown = [row for row in view.rows if not math.isnan(row.mean)]
    parts: list[Part] = []
    if shown:
        parts.append(_picture(view.name, shown, looks))
    table = console_table(
        f"Macro-F1 under {view.name}: the mean over pairs, then each pair (labels:minutes). "
        "Accuracy and Hamming loss: means over pairs, too.",
        *table_of(view.rows, [str(pair) for pair in pairs]),
        failed=frozenset(i for i, row in enumerate(view.rows) if row.failures),
    )
    return [*parts, table]


def _picture(name: str, rows: Sequence[Row], looks: Mapping[str, Look]) -> Picture:
    estimates = [
        Estimate(
            row.strategy,
            row.mean,
            row.interval,
            tuple(seed_means(row.runs).values()),
            looks[row.strategy],
        )
        for row in rows
    ]
    spelled = "; ".join(f"{row.strategy} {row.mean:.3f}{spoken(row.interval)}" for row in rows)
    return drawn(
        lambda axes: draw_estimates(axes, estimates, title=f"macro-F1, {name}"),
        height=0.9 + 0.36 * len(rows),
        alt=f"Macro-F1 under {name}, best first: {spelled}.",
        caption=SEEDS if any(row.interval for row in rows) else ONE_SEED,
    )


def _meaning(view: View) -> str:
    met = {row.strategy for row in view.rows}
    references = [f"{name}: {what}" for name, what in REFERENCE_ROWS.items() if name in met]
    sentences = [f"The judge's own rows are {'; '.join(references)}."] if references else []
    if {"none", "all"} <= met:
        sentences.append("Gap closed: how much of the way from none up to all, if that is up.")
    if any(row.area_under_budget_curve is not None for row in view.rows):
        sentences.append("AUBC: the mean height of the curve of score against budget, below.")
    sentences.append(
        "Accuracy: the share of images with every class right (exact match); Hamming loss: the "
        "share of single answers that are wrong. They rank nothing."
    )
    sentences.append("Runs: behind each pair's number (purchase seeds × training seeds).")
    sentences.append(INTERVALS if view.seeds > 1 else NO_INTERVAL)
    return " ".join(sentences)


def _agreement(single: Sequence[View]) -> list[Part]:
    found = across_pipelines([row for view in single for row in view.rows])
    if found is None:
        return [Text("Pipelines can be compared once two strategies are scored under all of them.")]
    known = found.tau[np.triu_indices(len(found.pipelines), k=1)]
    known = known[~np.isnan(known)]
    span = "undefined, for a pipeline that gives all the same score has no order"
    if len(known):
        least, most = f"{known.min():.2f}", f"{known.max():.2f}"
        span = least if least == most else f"from {least} to {most}"
    return [
        console_table(
            "Macro-F1 of each strategy under each pipeline with its rank in brackets, best mean "
            "first.",
            *ranks_of(found),
        ),
        Table(
            "Kendall's tau between the pipelines' rankings.",
            ("pipeline", *found.pipelines),
            tuple(
                (name, *(number(float(value)) for value in row))
                for name, row in zip(found.pipelines, found.tau, strict=True)
            ),
        ),
        Text(
            "Kendall's tau is 1 for the same order, 0 for unrelated ones and -1 for the reverse. "
            "The noise of seeds alone lowers it, most of all the least of several; "
            f"here it is {span}, over {counted(len(found.strategies), 'strategy', 'strategies')} "
            f"({listed(found.strategies)}). The judge's own rows are left out: they would make any "
            "two pipelines agree.",
            "small",
        ),
    ]
