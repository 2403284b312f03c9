"""The summary: what can be said, in a few sentences, before anybody reads a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from evaluator.analysis.comparison import Comparison
from evaluator.analysis.leaderboard import Leaderboard, Row, uneven
from evaluator.analysis.statistics import CONFIDENCE, ROUNDING
from evaluator.report.comparisons import ONE_SEED
from evaluator.report.components import Section, Text
from shared.formatting import format_interval, format_score, join_and, pluralise

ALPHA = 1 - CONFIDENCE
FEW = 5  # seeds: with fewer, whether differences are distributed as the test supposes is a guess


def summary(board: Leaderboard, baseline: str) -> Section:
    """Which strategy ranks first, what differs from the baseline, and what failed."""
    scored = [row for row in board.strategies if not math.isnan(row.mean)]
    parts = [
        _ranking(scored, board.name),
        *(_significance(board, baseline) if baseline else ()),
        *(
            Text(f"Failed: {row.strategy} ({'; '.join(row.failures)}).", "warning")
            for row in board.strategies
            if row.failures
        ),
    ]
    return Section("summary", "Summary", tuple(parts))


def _ranking(scored: Sequence[Row], name: str) -> Text:
    """`scored` are best first."""
    if not scored:
        return Text("No ranking yet: no strategy is scored in every pair.", "finding")
    if different := uneven(scored):
        return Text(f"No ranking yet: {different}.", "warning")
    first = scored[0]
    tied = [row.strategy for row in scored if first.mean - row.mean <= ROUNDING]
    if len(tied) > 1:
        return Text(
            f"Tied under {name}: {join_and(tied)}, macro-F1 {format_score(first.mean)}.", "finding"
        )
    claim = f"the highest macro-F1 of {len(scored)} strategies" if scored[1:] else "macro-F1"
    return Text(
        f"{first.strategy} has {claim} under {name}: {format_score(first.mean)}"
        + (f", 95 % interval {format_interval(first.interval)}" if first.interval else "")
        + f", n = {pluralise(len(first.seeds), 'purchase seed')}.",
        "finding",
    )


def _significance(board: Leaderboard, baseline: str) -> Iterator[Text]:
    compared = {row.strategy: row.against_baseline for row in board.strategies}
    known = {name: one for name, one in compared.items() if one}
    if not known:
        return
    if max(one.test.n for one in known.values()) < 2:
        yield Text(ONE_SEED, "warning")
        return
    significant = {name: one for name, one in known.items() if _p(one) < ALPHA}
    better = {name: one for name, one in significant.items() if one.test.difference > 0}
    worse = {name: one for name, one in significant.items() if one.test.difference < 0}
    open_ = {name: one for name, one in known.items() if name not in significant}
    for finding, found in (
        (f"Significantly better than {baseline} (Holm-corrected p < {ALPHA:.2f})", better),
        (f"Significantly worse than {baseline} (Holm-corrected p < {ALPHA:.2f})", worse),
        (f"No significant difference from {baseline} (Holm-corrected p ≥ {ALPHA:.2f})", open_),
    ):
        if found:
            listed = join_and([_described(name, one) for name, one in found.items()])
            yield Text(f"{finding}: {listed}.", "finding")
    fewest = min((one.test.n for one in significant.values()), default=FEW)
    if fewest < FEW:
        yield Text(
            f"With {fewest} purchase seeds, treat significance as provisional and continue with "
            f"--seeds {FEW} or more.",
            "warning",
        )


def _p(one: Comparison) -> float:
    """Corrected for several comparisons; 1 where one seed shows nothing."""
    return 1.0 if one.p_t_holm is None else one.p_t_holm


def _described(name: str, one: Comparison) -> str:
    difference = format_score(one.test.difference, signed=True)
    interval = format_interval(one.test.interval, signed=True)
    return f"{name} ({' '.join(filter(None, (difference, interval)))}, n = {one.test.n})"
