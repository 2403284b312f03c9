"""The leaderboard: per pipeline one row per strategy, best first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evaluator.analysis.comparison import Comparison, compare, render_comparisons, seed_means
from evaluator.analysis.results import (
    F1,
    METRICS,
    UNFINISHED,
    class_columns,
    mean_over_pipelines,
    pipelines_of,
)
from evaluator.analysis.statistics import Interval, area_under_budget_curve, mean_interval
from evaluator.records.trial import REFERENCES, Pair
from shared.formatting import (
    Cells,
    format_interval,
    format_score,
    format_seeds,
    format_share,
    text_table,
)

if TYPE_CHECKING:
    from pandas import DataFrame, Series


@dataclass(frozen=True)
class Row:
    """One strategy under one pipeline; `scores` are its rows of the table of results.

    A purchase seed counts once all of its runs are scored, in every pair, so that seeds which
    only one pair has so far do not tilt the mean. No seed of a strategy with a failure counts.
    """

    strategy: str
    pipeline: str
    scores: DataFrame
    gap_closed: float | None = None  # share of the way from `none` up to `all`, where that is up
    against_baseline: Comparison | None = None

    @cached_property
    def failures(self) -> list[str]:
        """`621:17 seed 2: timeout`, each once."""
        failed = self.scores[~self.scores["status"].isin(["ok", UNFINISHED])]
        columns = failed[["pair", "seed", "status"]].itertuples(index=False)
        return list(
            dict.fromkeys(f"{pair} seed {seed}: {status}" for pair, seed, status in columns)
        )

    @cached_property
    def seed_means(self) -> Series[float]:
        """Mean over pairs and trainings, by complete purchase seed."""
        return seed_means(self.scores.iloc[:0] if self.failures else self.scores)

    @cached_property
    def complete(self) -> DataFrame:
        """The scores of complete seeds."""
        return self.scores[self.scores["seed"].isin(self.seed_means.index)]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The purchase seeds behind the mean."""
        return tuple(self.seed_means.index)

    @property
    def mean(self) -> float:
        """Mean over pairs of the mean over seeds: the challenge's score. NaN if a pair failed."""
        return float(self.seed_means.mean())

    @cached_property
    def interval(self) -> Interval | None:
        """95 % interval of the mean over purchase seeds; None below two of them."""
        return mean_interval(self.seed_means)

    @property
    def spread(self) -> float:
        """Standard deviation over (seed, training seed) of the mean over pairs; NaN below two."""
        return float(self.complete.groupby(["seed", "training_seed"])["macro_f1"].mean().std())

    @cached_property
    def by_pair(self) -> dict[str, float | None]:
        """The mean over seeds of the mean over trainings; None where a pair has no score.

        Of complete seeds, as in `mean`; where there is none, of the scores there are.
        """
        by_seed = self._shown.groupby(["pair", "seed"], sort=False)["macro_f1"].mean()
        means = by_seed.groupby("pair", sort=False).mean()
        return {pair: means.get(pair) for pair in self.scores["pair"].unique()}

    @property
    def n(self) -> int:
        """Runs behind each pair's number, where they are fewest."""
        runs = self._shown.groupby("pair").size()
        return int(runs.reindex(self.scores["pair"].unique(), fill_value=0).min())

    @property
    def area_under_budget_curve(self) -> float | None:
        """Mean height of the curve of score against labels; None below two budgets of labels."""
        if not self.seeds or "any" in self.by_pair:
            return None
        known = {pair: mean for pair, mean in self.by_pair.items() if mean is not None}
        budgets = [int(pair.partition(":")[0]) for pair in known]
        return area_under_budget_curve(budgets, list(known.values()))

    @property
    def by_class(self) -> dict[str, float]:
        """F1 per class: of each purchase the mean over its trainings, then over complete ones."""
        columns = class_columns(self.scores)
        means = self.complete.groupby(["pair", "seed"])[columns].mean().mean().dropna()
        return {str(column).removeprefix(F1): float(mean) for column, mean in means.items()}

    @property
    def _shown(self) -> DataFrame:
        return self.complete if self.seeds else self.scores.dropna(subset="macro_f1")

    def metric(self, name: str) -> float:
        """`accuracy`, say, averaged like the mean; NaN where a score lacks it."""
        return float(seed_means(self.complete, name).mean())

    def as_json(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "pipeline": self.pipeline,
            **{metric: _none_if_nan(self.metric(metric)) for metric in METRICS},
            "interval": self.interval,
            "sd": _none_if_nan(self.spread),
            "n": self.n,
            "by_pair": self.by_pair,
            "area_under_budget_curve": self.area_under_budget_curve,
            "gap_closed": self.gap_closed,
            "failures": self.failures,
            "against_baseline": self.against_baseline and self.against_baseline.as_json(),
        }


@dataclass(frozen=True)
class Leaderboard:
    """The rows under one pipeline or under the mean over several, best first."""

    name: str
    rows: tuple[Row, ...]

    @property
    def strategies(self) -> tuple[Row, ...]:
        """Without the evaluator's own rows."""
        return tuple(row for row in self.rows if row.strategy not in REFERENCES)

    @property
    def seeds(self) -> int:
        """The most purchase seeds that any strategy has complete."""
        return max((len(row.seeds) for row in self.strategies), default=0)


def leaderboards(table: DataFrame, baseline: str | None = None) -> list[Leaderboard]:
    """The one to read first, then the others: the mean over pipelines, then each of them."""
    names = pipelines_of(table)
    rows = leaderboard(table, baseline)
    if len(names) > 1:
        mean = f"the mean over {len(names)} pipelines"
        rows += leaderboard(mean_over_pipelines(table, mean), baseline)
        names = (mean, *names)
    return [Leaderboard(name, tuple(row for row in rows if row.pipeline == name)) for name in names]


def leaderboard(table: DataFrame, baseline: str | None = None) -> list[Row]:
    """Rows of a table of results, by pipeline, then best first; failed ones last.

    With a `baseline`, every other strategy's row that did not fail is compared with its row.
    """
    return [row for name in pipelines_of(table) for row in _rows_of(table, name, baseline)]


def uneven(rows: Sequence[Row]) -> str | None:
    """A sentence where means do not compare, because strategies have different seeds so far."""
    seeds = {row.strategy: row.seeds for row in rows if row.strategy not in REFERENCES}
    if len({own for own in seeds.values() if own}) < 2:
        return None
    found = ", ".join(f"{name} {format_seeds(own)}" for name, own in seeds.items() if own)
    return f"means are over different seeds and cannot be compared: {found}"


def render(rows: Sequence[Row], pairs: Iterable[Pair], baseline: str | None = None) -> str:
    """The leaderboard as text, per pipeline a table and, with a `baseline`, the comparisons."""
    columns = [str(pair) for pair in pairs]
    tables = []
    for pipeline in dict.fromkeys(row.pipeline for row in rows):
        own = [row for row in rows if row.pipeline == pipeline]
        lines = [text_table(*leaderboard_cells(own, columns)), uneven(own)]
        tables.append("\n".join(filter(None, lines)))
        strategies = {
            row.strategy: row.against_baseline for row in own if row.strategy not in REFERENCES
        }
        if baseline is not None and strategies.keys() - {baseline}:
            strategies.pop(baseline, None)
            tables.append(render_comparisons(strategies, baseline))
    return "\n\n".join(tables)


def leaderboard_cells(rows: Sequence[Row], columns: Sequence[str]) -> Cells:
    """The leaderboard of one pipeline, with a column for each pair of `columns`."""
    known = any(row.interval for row in rows)
    areas = any(row.area_under_budget_curve is not None for row in rows)
    gaps = any(row.gap_closed is not None for row in rows)
    headers = [
        rows[0].pipeline,
        "macro-F1",
        "95 % interval" if known else "sd",
        *columns,
        *(["AUBC"] if areas else []),  # area under the budget curve
        *(["gap closed"] if gaps else []),
        "accuracy",
        "Hamming loss",
        "runs",
    ]
    lines = []
    for row in rows:
        failed = f" (failed: {'; '.join(row.failures)})" if row.failures else ""
        line = [
            row.strategy + failed,
            format_score(row.mean),
            format_interval(row.interval) if known else format_score(row.spread),
            *(format_score(row.by_pair.get(column)) for column in columns),
            *([format_score(row.area_under_budget_curve)] if areas else []),
            *([format_share(row.gap_closed)] if gaps else []),
            format_score(row.metric("accuracy")),
            format_score(row.metric("hamming_loss")),
            str(row.n),
        ]
        lines.append(line)
    return headers, lines


def _rows_of(table: DataFrame, pipeline: str, baseline: str | None) -> list[Row]:
    """A trial of which no training is known yet counts, as unfinished, under every pipeline."""
    own = table[(table["pipeline"] == pipeline) | table["pipeline"].isna()]
    names = own["strategy"].unique()
    rows = {name: Row(name, pipeline, own[own["strategy"] == name]) for name in names}
    comparable = {
        name: row.scores
        for name, row in rows.items()
        if name not in REFERENCES and not row.failures
    }
    compared = {} if baseline is None else compare(comparable, baseline)
    none, everything = (rows[name].mean if name in rows else math.nan for name in ("none", "all"))
    gap = everything - none if everything > none else math.nan
    complete = [
        replace(
            row,
            gap_closed=_none_if_nan((row.mean - none) / gap),
            against_baseline=compared.get(name),
        )
        for name, row in rows.items()
    ]
    return sorted(complete, key=lambda row: (math.isnan(row.mean), -row.mean))


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
