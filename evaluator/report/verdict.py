"""What can be said, in a few sentences, before anybody reads a table."""

import math
from collections.abc import Sequence

from evaluator.analysis.comparison import spoken_interval
from evaluator.analysis.leaderboard import Row, uneven
from evaluator.analysis.statistics import CONFIDENCE, ROUNDING
from evaluator.report.duels import ONE_SEED
from evaluator.report.parts import Part, Section, Text
from evaluator.report.views import View
from evaluator.report.words import counted, listed, spoken

ALPHA = 1 - CONFIDENCE
FEW = 5  # seeds: with fewer, whether differences are distributed as the test supposes is a guess


def verdict(view: View, baseline: str) -> Section:
    """Who leads, what is settled against the baseline, what is not, and what failed."""
    parts: list[Part] = []
    scored = [row for row in view.strategies if not math.isnan(row.mean)]
    if scored:
        parts.append(_leader(scored, view.name))
    else:
        parts.append(Text("No strategy is scored in every pair yet.", "finding"))
    parts += [Text(words, tone) for words, tone in _differences(view, baseline)]
    for row in view.strategies:
        if row.failures:
            parts.append(Text(f"Failed: {row.strategy} ({'; '.join(row.failures)}).", "warning"))
    return Section("verdict", "In short", tuple(parts))


def _leader(scored: Sequence[Row], name: str) -> Text:
    """`scored` are best first."""
    first, different = scored[0], uneven(scored)
    if different:
        return Text(f"Nobody leads yet: {different}.", "warning")
    if level := [row.strategy for row in scored[1:] if first.mean - row.mean <= ROUNDING]:
        names = listed([first.strategy, *level])
        return Text(f"Nobody leads under {name}: {names} score {first.mean:.3f} alike.", "finding")
    return Text(
        f"{first.strategy} has the highest macro-F1 of "
        f"{counted(len(scored), 'strategy', 'strategies')} under {name}: {first.mean:.3f}"
        f"{spoken(first.interval)}, n = {counted(len(first.seeds), 'purchase seed')}.",
        "finding",
    )


def _differences(view: View, baseline: str) -> list[tuple[str, str]]:
    compared = [row for row in view.strategies if row.against_baseline]
    if not baseline or not compared:
        return []
    if max(row.against_baseline.test.n for row in compared if row.against_baseline) < 2:
        return [(ONE_SEED, "warning")]
    settled = [row for row in compared if _p(row) < ALPHA]
    better = [_told(row) for row in settled if _difference(row) > 0]
    worse = [_told(row) for row in settled if _difference(row) < 0]
    open_ = [_told(row) for row in compared if _p(row) >= ALPHA]
    lines = [
        (f"Better than {baseline}, beyond what seeds explain: {listed(better)}.", better),
        (f"Worse than {baseline}, beyond what seeds explain: {listed(worse)}.", worse),
        (f"Not settled against {baseline}: {listed(open_)}.", open_),
    ]
    told = [(words, "finding") for words, rows in lines if rows]
    fewest = min(
        (row.against_baseline.test.n for row in settled if row.against_baseline), default=FEW
    )
    if fewest < FEW:
        told.append(
            (
                f"{counted(fewest, 'purchase seed').capitalize()} are few to settle anything on: "
                f"take this for a hint, and go on with --seeds {FEW}.",
                "warning",
            )
        )
    return told


def _p(row: Row) -> float:
    """Corrected for several comparisons; 1 where one seed says nothing."""
    one = row.against_baseline
    return 1.0 if one is None or one.p_t_holm is None else one.p_t_holm


def _difference(row: Row) -> float:
    return row.against_baseline.test.difference if row.against_baseline else 0.0


def _told(row: Row) -> str:
    one = row.against_baseline
    if one is None:
        return row.strategy
    found = f"{one.test.difference:+.3f} {spoken_interval(one.test.interval, signed=True)}".rstrip()
    return f"{row.strategy} ({found}, n = {one.test.n})"
