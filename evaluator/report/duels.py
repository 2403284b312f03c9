"""Strategy against strategy: paired differences from the baseline, and who beats whom."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evaluator.analysis.comparison import (
    Comparison,
    corrected,
    seed_means,
    spoken_cells,
)
from evaluator.analysis.statistics import CONFIDENCE, POINT, POWER, penalty_matrix
from evaluator.records.trial import Pair
from evaluator.report.canvas import Look, drawn
from evaluator.report.charts import Estimate, draw_estimates, draw_matrix
from evaluator.report.groups import matrix_width
from evaluator.report.noise import noise
from evaluator.report.parts import Fold, Part, Section, Table, Text, console_table
from evaluator.report.views import View, by_seed
from evaluator.report.words import NOTHING, counted, listed, spoken

ONE_SEED = (
    "One purchase seed (n = 1): nothing can be said about differences between strategies, however "
    "large they look. --seeds 5 runs five of them; what is done already is kept."
)
SHOWN_DUELS = 12  # in the words for a matrix


def differences(views: Sequence[View], baseline: str, looks: Mapping[str, Look]) -> Section:
    """The forest plot of the first view, the others folded."""
    first, *others = views
    parts = _forest(first, baseline, looks)
    parts += [Fold(f"Under {view.name} alone", tuple(_forest(view, baseline, looks)))
              for view in others]  # fmt: skip
    return Section("differences", f"Paired differences against {baseline}", tuple(parts))


def _forest(view: View, baseline: str, looks: Mapping[str, Look]) -> list[Part]:
    compared = {
        row.strategy: row.against_baseline for row in view.strategies if row.against_baseline
    }
    absent = [
        row.strategy
        for row in view.strategies
        if not row.against_baseline and row.strategy != baseline
    ]
    parts: list[Part] = []
    if not compared and not absent:
        parts.append(Text(f"{baseline} was evaluated alone; there is nothing to compare it with."))
    elif compared and max(one.test.n for one in compared.values()) < 2:
        parts.append(Text(ONE_SEED, "warning"))
    elif compared:
        parts += [
            _picture(view, compared, baseline, looks),
            _table(view, compared, baseline),
            Text(_legend(corrected(compared.values())), "small"),
            *noise(view, baseline),
        ]
    if absent:
        parts.append(
            Text(
                f"Not compared with {baseline} (failed or unfinished, or {baseline} itself is): "
                f"{', '.join(absent)}.",
                "warning",
            )
        )
    return parts


def _picture(
    view: View, compared: Mapping[str, Comparison], baseline: str, looks: Mapping[str, Look]
) -> Part:
    means = {row.strategy: seed_means(row.runs) for row in view.rows}
    theirs = means[baseline]
    estimates = []
    for name, one in compared.items():
        paired = tuple(mean - theirs[seed] for seed, mean in means[name].items() if seed in theirs)
        estimates.append(
            Estimate(name, one.test.difference, one.test.interval, paired, looks[name])
        )
    spelled = "; ".join(
        f"{one.name} {one.value:+.3f}{spoken(one.interval, signed=True)}" for one in estimates
    )
    return drawn(
        lambda axes: draw_estimates(
            axes, estimates, title=f"macro-F1 minus that of {baseline}, {view.name}", zero=True
        ),
        height=0.9 + 0.36 * len(estimates),
        alt=f"Difference in macro-F1 from {baseline}, seed by seed, {view.name}: {spelled}.",
        caption=f"Right of 0: better than {baseline}. Line: 95 % interval of the mean difference; "
        "ticks: single seeds. An arrow: the interval goes on past the edge.",
    )


def _table(view: View, compared: Mapping[str, Comparison], baseline: str) -> Table:
    spelled = {name: spoken_cells(one) for name, one in compared.items()}
    return console_table(
        f"Each strategy against {baseline} under the same seeds, {view.name}.",
        ("strategy", *next(iter(spelled.values()))),
        [(name, *cells.values()) for name, cells in spelled.items()],
    )


def _legend(comparisons: int) -> str:
    family = (
        f" p is corrected for {comparisons} comparisons (Holm), the interval is not."
        if comparisons > 1
        else ""
    )
    return (
        f"n: purchase seeds complete in both; wins-losses: single runs.{family} Wilcoxon's p "
        "asks less of the scores' distribution, and cannot be below 0.05 with fewer than six "
        "seeds. Pairing: variance "
        "of the difference with unrelated seeds over that with common ones; where pairing does "
        "nothing, nine of ten lie between 0.5x and 81x at n = 2, 0.5x and 10x at n = 3, 0.6x and "
        "3.7x at n = 5. More seeds: until a "
        f"true difference of {POINT:g} shows (p < {1 - CONFIDENCE:.2f}, uncorrected, "
        f"{100 * POWER:g} % power), with its 95 % interval, in one comparison planned beforehand; "
        "under Holm's correction for several it takes more. Fix the number of seeds first: looking "
        "after every seed from 2 to 10 and stopping at p < 0.05 raises a false alarm in 20 of 100 "
        "evaluations."
    )


def penalties(views: Sequence[View], pairs: Sequence[Pair]) -> Section:
    """Every strategy against every other, over all pairs and pipelines."""
    single = views[1:] or views
    failed = {row.strategy for view in single for row in view.strategies if row.failures}
    sound = [row.strategy for row in views[0].strategies if row.strategy not in failed]
    names = [name for name in sound if _seeds_everywhere(single, pairs, name) > 1]
    settings = _settings(single, pairs, names)
    shared = _shared_seeds(settings)
    parts: list[Part] = []
    if len(sound) < 2:
        parts.append(Text("A matrix needs two strategies that did not fail."))
    elif len(names) < 2:
        parts.append(Text(ONE_SEED, "warning"))
    elif not shared:
        parts.append(Text("No two strategies have two purchase seeds in common.", "warning"))
    else:
        parts += _matrix(names, penalty_matrix(settings), len(settings), shared)
    if failed:
        parts.append(Text(f"Left out, for they failed: {listed(sorted(failed))}.", "warning"))
    if 1 < len(names) < len(sound):
        waiting = listed(sorted(set(sound) - set(names)))
        parts.append(Text(f"Left out, for they have not finished two seeds: {waiting}.", "warning"))
    return Section("penalties", "Who beats whom", tuple(parts))


def _seeds_everywhere(views: Sequence[View], pairs: Sequence[Pair], name: str) -> int:
    """Purchase seeds that a strategy has finished, where it has finished fewest."""
    rows = [row for view in views for row in view.rows if row.strategy == name]
    return min((len(by_seed(row, pair)) for row in rows for pair in pairs), default=0)


def _settings(
    views: Sequence[View], pairs: Sequence[Pair], names: Sequence[str]
) -> list[NDArray[np.float64]]:
    """Per pipeline and pair the scores (seeds, S), NaN where a strategy has not finished a seed."""
    settings = []
    for view in views:
        rows = {row.strategy: row for row in view.rows}
        for pair in pairs:
            scores = [by_seed(rows[name], pair) for name in names]
            seeds = sorted({seed for found in scores for seed in found})
            table = [[found.get(seed, np.nan) for found in scores] for seed in seeds]
            if len(table) > 1:
                settings.append(np.array(table, dtype=np.float64))
    return settings


def _shared_seeds(settings: Sequence[NDArray[np.float64]]) -> list[int]:
    """How many seeds any two strategies have in common in a setting, where it is two or more."""
    found = []
    for scores in settings:
        there = (~np.isnan(scores)).astype(int)
        common = there.T @ there
        found += [int(n) for n in common[np.triu_indices(len(common), 1)] if n > 1]
    return found


def _matrix(
    names: Sequence[str], matrix: NDArray[np.float64], settings: int, seeds: Sequence[int]
) -> list[Part]:
    duels_of = (~np.isnan(matrix)).sum(axis=0) - 1  # a strategy does not meet itself
    beaten = np.full(len(names), np.nan)
    np.divide(np.nansum(matrix, axis=0), duels_of, out=beaten, where=duels_of > 0)
    shown = np.vstack([matrix, beaten])
    np.fill_diagonal(shown, np.nan)
    rows = [*names, "mean: how often beaten"]
    duels = sorted(
        ((matrix[i, j], names[i], names[j]) for i, j in np.argwhere(matrix > 0)), reverse=True
    )
    told = "; ".join(f"{a} beats {b} in {part:.0%}" for part, a, b in duels[:SHOWN_DUELS])
    left = len(duels) - SHOWN_DUELS
    finding = (told + (f"; and {left} more" if left > 0 else "")) or "no strategy beats another"
    n = f"{min(seeds)}" if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
    caption = (
        f"Share of {counted(settings, 'setting')} (pair and pipeline, n = {n} seeds in common) in "
        "which the strategy of the row beats that of the column: p < 0.05 in a paired t-test, "
        "uncorrected. The last row is each column's mean over the others: lower is better."
        + (" Few seeds in common settle little, either way." if min(seeds) < max(seeds) else "")
    )
    picture = drawn(
        lambda axes: draw_matrix(axes, rows, names, shown, summary=True),
        width=matrix_width(len(names)),
        height=1.3 + 0.36 * len(rows),
        alt=f"Penalty matrix: {finding}.",
        caption=caption,
    )
    cells = [[NOTHING if np.isnan(value) else f"{value:.2f}" for value in row] for row in shown]
    table = Table(
        "The row's strategy beats the column's in this share of settings.",
        ("strategy", *names),
        tuple((name, *line) for name, line in zip(rows, cells, strict=True)),
    )
    return [picture, Fold("The same as a table", (table,))]
