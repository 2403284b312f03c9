"""The journals as a table: one row per strategy, best first, references among them."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluator.analysis.comparison import (
    Comparison,
    Run,
    compare,
    render_comparisons,
    seed_means,
    spoken_interval,
)
from evaluator.analysis.results import TrialResult
from evaluator.analysis.statistics import Interval, area_under_budget_curve, mean_interval
from evaluator.analysis.text_table import Cells, text_table
from evaluator.records.trial import REFERENCES, Pair


@dataclass
class Row:
    """One strategy under one pipeline. Scores are macro-F1, one per run of the plan.

    `accuracies` and `hamming_losses` are of the same runs; the challenge reports them beside
    macro-F1, and they rank nothing.

    A purchase seed counts once all of its runs are scored, in every pair, so that seeds which
    only one pair has seen yet do not tilt the mean.
    """

    strategy: str
    pipeline: str
    runs: dict[Run, float] = field(default_factory=dict)  # NaN: not scored
    accuracies: dict[Run, float] = field(default_factory=dict)
    hamming_losses: dict[Run, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)  # "pair seed: status"
    gap_closed: float | None = None  # share of the way from `none` up to `all`, where that is up
    against_baseline: Comparison | None = None

    @property
    def by_pair(self) -> dict[str, float | None]:
        """The mean over seeds of the mean over trainings; None where a pair has no score.

        Of complete seeds, as in `mean`; where there is none, of the scores there are.
        """
        return {
            pair: statistics.fmean(map(statistics.fmean, by_seed.values())) if by_seed else None
            for pair, by_seed in self._scores().items()
        }

    @property
    def seeds(self) -> tuple[int, ...]:
        """The purchase seeds behind the mean."""
        return () if self.failures else tuple(seed_means(self.runs))

    @property
    def mean(self) -> float:
        """Mean over pairs of the mean over seeds: the challenge's score. NaN if a pair failed."""
        return self._mean_of(self.runs)

    @property
    def accuracy(self) -> float:
        """Share of images with every class right (exact match), averaged as `mean` is."""
        return self._mean_of(self.accuracies)

    @property
    def hamming_loss(self) -> float:
        """Share of single answers that are wrong, averaged as `mean` is."""
        return self._mean_of(self.hamming_losses)

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the mean over purchase seeds; None below two of them."""
        return mean_interval(self._seed_means(self.runs))

    @property
    def spread(self) -> float:
        """Standard deviation over (seed, training seed) of the mean over pairs; NaN below two."""
        if self.failures:
            return math.nan
        complete = seed_means(self.runs)
        groups: dict[tuple[int, int], list[float]] = {}
        for (_, seed, training_seed), score in self.runs.items():
            if seed in complete:
                groups.setdefault((seed, training_seed), []).append(score)
        means = [statistics.fmean(scores) for scores in groups.values()]
        return statistics.stdev(means) if len(means) > 1 else math.nan

    @property
    def n(self) -> int:
        """Runs behind each pair's number."""
        runs = (sum(map(len, by_seed.values())) for by_seed in self._scores().values())
        return min(runs, default=0)

    @property
    def area_under_budget_curve(self) -> float | None:
        """Mean height of the curve of score against labels; None below two budgets of labels."""
        if math.isnan(self.mean) or "any" in self.by_pair:
            return None
        known = {pair: mean for pair, mean in self.by_pair.items() if mean is not None}
        budgets = [int(pair.partition(":")[0]) for pair in known]
        return area_under_budget_curve(budgets, list(known.values()))

    def _scores(self) -> dict[str, dict[int, list[float]]]:
        """By pair and purchase seed, one score per training."""
        complete = {} if self.failures else seed_means(self.runs)
        scores: dict[str, dict[int, list[float]]] = {pair: {} for pair, _, _ in self.runs}
        for (pair, seed, _), score in self.runs.items():
            if seed in complete or (not complete and not math.isnan(score)):
                scores[pair].setdefault(seed, []).append(score)
        return scores

    def _seed_means(self, runs: Mapping[Run, float]) -> list[float]:
        return [] if self.failures else list(seed_means(runs).values())

    def _mean_of(self, runs: Mapping[Run, float]) -> float:
        means = self._seed_means(runs)
        return statistics.fmean(means) if means else math.nan

    def as_json(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "pipeline": self.pipeline,
            "macro_f1": _none_if_nan(self.mean),
            "accuracy": _none_if_nan(self.accuracy),
            "hamming_loss": _none_if_nan(self.hamming_loss),
            "interval": self.interval,
            "sd": _none_if_nan(self.spread),
            "n": self.n,
            "by_pair": self.by_pair,
            "area_under_budget_curve": self.area_under_budget_curve,
            "gap_closed": self.gap_closed,
            "failures": self.failures,
            "against_baseline": self.against_baseline and self.against_baseline.as_json(),
        }


def leaderboard(results: Sequence[TrialResult], baseline: str | None = None) -> list[Row]:
    """Rows of an evaluation's results, by pipeline, then best first; failed ones last.

    With a `baseline`, every other strategy's row that did not fail is compared with its row.
    """
    names = dict.fromkeys(pipeline for result in results for pipeline, _ in result.scores)
    return [row for name in names for row in _rows_of(results, name, baseline)]


def uneven(rows: Sequence[Row]) -> str | None:
    """Words for means that do not compare, because not all strategies have the same seeds yet."""
    seeds = {row.strategy: row.seeds for row in rows if row.strategy not in REFERENCES}
    if len({own for own in seeds.values() if own}) < 2:
        return None
    told = ", ".join(f"{name} {spoken_seeds(own)}" for name, own in seeds.items() if own)
    return f"means are over different seeds and do not compare: {told}"


def spoken_seeds(seeds: Sequence[int]) -> str:
    """`0 to 4`, or `0, 2 and 3` as `0 2 3`."""
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]} to {seeds[-1]}"
    return " ".join(map(str, seeds))


def render(rows: Sequence[Row], pairs: Iterable[Pair], baseline: str | None = None) -> str:
    """The leaderboard as text, per pipeline a table and, with a `baseline`, the comparisons."""
    columns = [str(pair) for pair in pairs]
    tables = []
    for pipeline in dict.fromkeys(row.pipeline for row in rows):
        own = [row for row in rows if row.pipeline == pipeline]
        tables.append("\n".join(filter(None, (text_table(*table_of(own, columns)), uneven(own)))))
        strategies = {
            row.strategy: row.against_baseline for row in own if row.strategy not in REFERENCES
        }
        if baseline is not None and strategies.keys() - {baseline}:
            strategies.pop(baseline, None)
            tables.append(render_comparisons(strategies, baseline))
    return "\n\n".join(tables)


def table_of(rows: Sequence[Row], columns: Sequence[str]) -> Cells:
    """The leaderboard of one pipeline, with a column for each pair of `columns`."""
    known = any(row.interval for row in rows)
    areas = any(row.area_under_budget_curve is not None for row in rows)
    headers = [
        rows[0].pipeline,
        "macro-F1",
        "95 % interval" if known else "sd",
        *columns,
        *(["AUBC"] if areas else []),  # area under the budget curve
        "gap closed",
        "accuracy",
        "Hamming loss",
        "runs",
    ]
    lines = []
    for row in rows:
        failed = f" (failed: {'; '.join(row.failures)})" if row.failures else ""
        line = [
            row.strategy + failed,
            _number(row.mean),
            spoken_interval(row.interval) if known else _number(row.spread),
            *(_number(row.by_pair.get(column)) for column in columns),
            *([_number(row.area_under_budget_curve)] if areas else []),
            "" if row.gap_closed is None else f"{row.gap_closed:.0%}",
            _number(row.accuracy),
            _number(row.hamming_loss),
            str(row.n),
        ]
        lines.append(line)
    return headers, lines


def _rows_of(results: Sequence[TrialResult], pipeline: str, baseline: str | None) -> list[Row]:
    rows: dict[str, Row] = {}
    for result in results:
        row = rows.setdefault(result.strategy, Row(result.strategy, pipeline))
        if result.failure:
            row.failures.append(result.failure)
        for training in result.scores:
            if training[0] == pipeline:
                run = (str(result.pair or "any"), result.seed, training[1])
                row.runs[run] = result.score(training)
                row.accuracies[run] = result.score(training, "accuracy")
                row.hamming_losses[run] = result.score(training, "hamming_loss")
                if failed := result.failed_training(training):
                    row.failures.append(failed)
    _fill_gap(rows)
    if baseline is not None:
        _fill_comparisons(rows, baseline)
    return sorted(rows.values(), key=lambda row: -math.inf if math.isnan(row.mean) else row.mean)[
        ::-1
    ]


def _fill_comparisons(rows: dict[str, Row], baseline: str) -> None:
    compared = {
        name: row.runs for name, row in rows.items() if name not in REFERENCES and not row.failures
    }
    for name, comparison in compare(compared, baseline).items():
        rows[name].against_baseline = comparison


def _fill_gap(rows: dict[str, Row]) -> None:
    none, everything = (rows[name].mean if name in rows else math.nan for name in ("none", "all"))
    for row in rows.values():
        share = (row.mean - none) / (everything - none) if everything > none else math.nan
        row.gap_closed = _none_if_nan(share)


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.3f}"


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
