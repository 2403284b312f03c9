"""Strategies against each other: leaderboard, paired differences, budgets, classes, pipelines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from evaluator.analysis.comparison import comparison_cells, corrected
from evaluator.analysis.leaderboard import Leaderboard, Row, leaderboard_cells
from evaluator.analysis.rank_agreement import least_agreement, rank_agreement, rank_cells
from evaluator.analysis.statistics import CONFIDENCE, POINT, POWER, mean_interval
from evaluator.analysis.variance_components import caveat, component_cells, components
from evaluator.records.trial import REFERENCES, Pair
from evaluator.report.components import Details, Figure, Part, Section, Table, Text, strategy_table
from evaluator.report.figures import (
    Curve,
    Estimate,
    Series,
    Style,
    curves_figure,
    estimates_figure,
    groups_figure,
)
from shared.formatting import format_score

MOST_MARKS = 100  # in one figure; where there are more, only the table is shown
ONE_SEED = (
    "One purchase seed (n = 1): differences between strategies cannot be tested, however large "
    "they look. --seeds 5 runs five of them; finished trials are kept."
)
SEEDS = (
    "Marker: mean over purchase seeds, with its 95 % interval. Small dots: single seeds. An arrow: "
    "the interval continues past the edge."
)
INTERVALS = (
    "The 95 % intervals are over purchase seeds, for the same data set, pairs and pipelines, and "
    "assume roughly normal scores. They say nothing about other data."
)
NO_INTERVAL = "With one purchase seed there is no interval; --seeds 5 gives one."
REFERENCE_ROWS = {"none": "nothing bought", "all": "every label of the pool bought"}


def leaderboard_section(
    boards: Sequence[Leaderboard], pairs: Sequence[Pair], baseline: str, styles: Mapping[str, Style]
) -> Section:
    """The first board as a figure and a table, the others as tables, and how far they agree."""
    first, *others = boards
    shown = [row for row in first.rows if not math.isnan(row.mean)]
    parts: list[Part] = [_leaderboard_figure(first, shown, styles)] if shown else []
    parts += [_leaderboard_table(first, pairs), Text(_reading(first), "small")]
    if others:
        parts += _agreement(others)
    for board in others:
        tables: list[Part] = [_leaderboard_table(board, pairs), *_comparison_table(board, baseline)]
        parts.append(Details(f"Under {board.name} alone", tuple(tables)))
    return Section("leaderboard", "Leaderboard", tuple(parts))


def comparison_section(board: Leaderboard, baseline: str, styles: Mapping[str, Style]) -> Section:
    """Every strategy against the baseline under the same seeds, and where the noise comes from."""
    compared = [row for row in board.strategies if row.against_baseline]
    absent = [
        row.strategy
        for row in board.strategies
        if not row.against_baseline and row.strategy != baseline
    ]
    parts: list[Part] = []
    if not compared and not absent:
        parts.append(Text(f"Only {baseline} was evaluated: there is nothing to compare it with."))
    elif table := _comparison_table(board, baseline):
        parts += [_forest_plot(board, compared, baseline, styles), *table]
        legend = Text(_comparison_legend(compared), "small")
        parts.append(Details("How to read this table", (legend,)))
        parts += _variance_components(board, baseline)
    elif compared:
        parts.append(Text(ONE_SEED, "warning"))
    if absent:
        parts.append(
            Text(
                f"Not compared with {baseline} (failed or unfinished, or {baseline} itself is): "
                f"{', '.join(absent)}.",
                "warning",
            )
        )
    return Section("comparison", f"Pairwise comparison with {baseline}", tuple(parts))


def budget_section(
    board: Leaderboard, pairs: Sequence[Pair], styles: Mapping[str, Style]
) -> Section | None:
    """Score against budget; None where one budget in labels was evaluated."""
    if len({pair.budget for pair in pairs}) < 2:
        return None
    scored = [row for row in board.rows if row.seeds and row.strategy not in REFERENCES]
    levels = {
        row.strategy: row.mean
        for row in board.rows
        if row.strategy in REFERENCES and not math.isnan(row.mean)
    }
    if not scored:
        parts: tuple[Part, ...] = (Text("No strategy has a complete seed yet."),)
    else:
        parts = (
            curves_figure(
                [_curve(row, styles[row.strategy]) for row in scored],
                levels,
                axes_titles=("labels bought", f"macro-F1, {board.name}"),
                alt=f"Macro-F1 under {board.name} against labels bought; the leaderboard has the "
                "numbers of each pair.",
                caption="Mean over purchase seeds with its 95 % interval, cut at the edge. Pairs "
                "with equal labels and other minutes are averaged to one point.",
            ),
        )
    return Section("budget", "Score against budget", parts)


def class_section(board: Leaderboard, styles: Mapping[str, Style]) -> Section:
    """F1 per class: where a difference in macro-F1 comes from."""
    scores = {row.strategy: row.by_class for row in board.rows if row.seeds}
    names = list(dict.fromkeys(name for own in scores.values() for name in own))
    if not names:
        return Section("classes", "F1 per class", (Text("No scores yet."),))
    parts: list[Part] = []
    if len(names) * len(scores) <= MOST_MARKS:
        series = [
            Series(name, [own.get(one, math.nan) for one in names], styles[name])
            for name, own in scores.items()
        ]
        parts.append(
            groups_figure(
                names,
                series,
                axis=f"F1, {board.name}",
                alt=f"F1 per class under {board.name}; the table below has the numbers.",
                caption="Mean over pairs and complete seeds; strategies in the leaderboard's "
                "order.",
            )
        )
    means = {row.strategy: row.mean for row in board.rows}
    parts.append(
        Table(
            f"F1 per class under {board.name}, best macro-F1 first.",
            ("strategy", *names, "macro-F1"),
            [
                (name, *(format_score(own.get(one)) for one in names), format_score(means[name]))
                for name, own in scores.items()
            ],
        )
    )
    if absent := [row.strategy for row in board.strategies if row.strategy not in scores]:
        parts.append(Text(f"Left out (failed or unfinished): {', '.join(absent)}.", "warning"))
    return Section("classes", "F1 per class", tuple(parts))


def _leaderboard_figure(
    board: Leaderboard, rows: Sequence[Row], styles: Mapping[str, Style]
) -> Figure:
    return estimates_figure(
        [
            Estimate(row.strategy, row.mean, row.interval, list(row.seed_means), style)
            for row in rows
            for style in (styles[row.strategy],)
        ],
        axis=f"macro-F1, {board.name}",
        alt=f"Macro-F1 of each strategy under {board.name}; the table below has the numbers.",
        caption=SEEDS
        if any(row.interval for row in rows)
        else "Each point is one purchase seed: there is no interval yet.",
    )


def _leaderboard_table(board: Leaderboard, pairs: Sequence[Pair]) -> Table:
    return strategy_table(
        f"Leaderboard under {board.name}: macro-F1 as the mean over pairs, then for each pair "
        "(labels:minutes).",
        leaderboard_cells(board.rows, [str(pair) for pair in pairs]),
        failed=frozenset(i for i, row in enumerate(board.rows) if row.failures),
    )


def _reading(board: Leaderboard) -> str:
    """How to read the leaderboard's columns and rows."""
    present = {row.strategy for row in board.rows}
    references = [f"{name} ({what})" for name, what in REFERENCE_ROWS.items() if name in present]
    sentences = [f"Reference rows: {', '.join(references)}."] if references else []
    if {"none", "all"} <= present:
        sentences.append("Gap closed: share of the gap between none and all, where that is open.")
    if any(row.area_under_budget_curve is not None for row in board.rows):
        sentences.append("AUBC: area under the budget curve, as its mean height.")
    sentences.append(
        "Accuracy: share of images with every class right (exact match). Hamming loss: share of "
        "single yes-or-no answers that are wrong. Neither affects the ranking."
    )
    sentences.append("Runs: scores behind each pair's number (purchase seeds × training seeds).")
    sentences.append(INTERVALS if board.seeds > 1 else NO_INTERVAL)
    return " ".join(sentences)


def _agreement(single: Sequence[Leaderboard]) -> list[Part]:
    found = rank_agreement([row for board in single for row in board.rows])
    if found is None:
        return [Text("Pipelines can be compared once two strategies are scored under all of them.")]
    table = strategy_table(
        "Macro-F1 and rank of each strategy under each pipeline, best mean first.",
        rank_cells(found),
    )
    least = least_agreement(found)
    return [table, Text(f"{least[:1].upper()}{least[1:]}.", "small")] if least else [table]


def _comparison_table(board: Leaderboard, baseline: str) -> list[Part]:
    """Empty below two purchase seeds."""
    compared = {
        row.strategy: row.against_baseline for row in board.strategies if row.against_baseline
    }
    if not compared or max(one.test.n for one in compared.values()) < 2:
        return []
    return [
        strategy_table(
            f"Each strategy compared with {baseline} under the same seeds, {board.name}.",
            comparison_cells(compared, baseline),
        )
    ]


def _forest_plot(
    board: Leaderboard, compared: Sequence[Row], baseline: str, styles: Mapping[str, Style]
) -> Figure:
    theirs = next(row.seed_means for row in board.rows if row.strategy == baseline)
    estimates = [
        Estimate(
            row.strategy,
            one.test.difference,
            one.test.interval,
            list((row.seed_means - theirs).dropna()),
            styles[row.strategy],
        )
        for row in compared
        if (one := row.against_baseline)
    ]
    return estimates_figure(
        estimates,
        axis=f"macro-F1 minus that of {baseline}, {board.name}",
        alt=f"Difference in macro-F1 from {baseline} under {board.name}; the table below has the "
        "numbers.",
        caption=f"Right of 0: better than {baseline}. {SEEDS}",
        zero=True,
    )


def _comparison_legend(compared: Sequence[Row]) -> str:
    comparisons = corrected(one for row in compared if (one := row.against_baseline))
    family = (
        f" p is corrected for {comparisons} comparisons (Holm), the interval is not."
        if comparisons > 1
        else ""
    )
    return (
        f"n: purchase seeds complete in both; wins-losses: single runs.{family} Wilcoxon's p "
        "assumes less about the distribution of scores and cannot be below 0.05 with fewer than "
        "six seeds. Variance reduction: variance of the difference with unrelated seeds over that "
        "with common seeds; at few seeds mostly noise. Additional seeds needed: to detect a true "
        f"difference of {POINT:g} in one planned comparison (p < {1 - CONFIDENCE:.2f}, "
        f"uncorrected, {100 * POWER:g} % power), with its 95 % interval. Fix the number of seeds "
        "in advance: testing after every seed from 2 to 10 and stopping at p < 0.05 gives a false "
        "alarm in 20 of 100 evaluations."
    )


def _variance_components(board: Leaderboard, baseline: str) -> Iterator[Part]:
    if found := components(board.rows, baseline):
        yield strategy_table(
            f"Variance components: standard deviation of the difference from {baseline} due to "
            f"purchases and due to trainings, and seconds of each, {board.name}.",
            component_cells(found, baseline),
        )
        meaning = "More purchase seeds reduce both components, more trainings only the second."
        yield Text(" ".join(filter(None, (meaning, caveat(found)))), "small")


def _curve(row: Row, style: Style) -> Curve:
    by_seed = row.complete.groupby(["budget", "seed"])["macro_f1"].mean().unstack("seed")
    return Curve(
        row.strategy,
        by_seed.index.tolist(),
        by_seed.mean(axis=1).tolist(),
        [mean_interval(scores) for scores in by_seed.to_numpy()],
        style,
    )
