"""The journals as a table: one row per strategy, best first, references among them."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tabulate import tabulate

from evaluator.evaluation import OWN, Evaluation
from evaluator.trial import REFERENCES, Pair


@dataclass
class Row:
    """One strategy under one pipeline. Scores are macro-F1, one per (seed, training seed)."""

    strategy: str
    pipeline: str
    by_pair: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)  # "pair seed: status"
    gap_closed: float | None = None  # share of the way from `none` to `all`

    @property
    def mean(self) -> float:
        """Mean over pairs of the mean over seeds: the challenge's score. NaN if a pair failed."""
        if self.failures or not all(self.by_pair.values()) or not self.by_pair:
            return math.nan
        return statistics.fmean(statistics.fmean(scores) for scores in self.by_pair.values())

    @property
    def spread(self) -> float:
        """Standard deviation over seeds of the mean over pairs; NaN below two seeds."""
        if self.failures or not self.by_pair:
            return math.nan
        per_seed = [statistics.fmean(scores) for scores in zip(*self.by_pair.values(), strict=True)]
        return statistics.stdev(per_seed) if len(per_seed) > 1 else math.nan

    @property
    def n(self) -> int:
        """Runs behind each pair's number."""
        return min((len(scores) for scores in self.by_pair.values()), default=0)

    def as_json(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "pipeline": self.pipeline,
            "macro_f1": _none_if_nan(self.mean),
            "sd": _none_if_nan(self.spread),
            "n": self.n,
            "by_pair": {
                pair: statistics.fmean(scores) if scores else None
                for pair, scores in self.by_pair.items()
            },
            "gap_closed": self.gap_closed,
            "failures": self.failures,
        }


def leaderboard(evaluation: Evaluation) -> list[Row]:
    """Rows of an evaluation, by pipeline, then best first; failed ones last."""
    names = [pipeline.name for pipeline in evaluation.plan.pipelines] or [OWN]
    return [row for name in names for row in _rows_of(evaluation, name)]


def render(rows: Sequence[Row], pairs: Iterable[Pair]) -> str:
    """The leaderboard as text, a table per pipeline."""
    columns = [str(pair) for pair in pairs]
    tables = []
    for pipeline in dict.fromkeys(row.pipeline for row in rows):
        headers = [pipeline, "macro-F1", "sd", *columns, "gap closed", "n"]
        lines = [_line(row, columns) for row in rows if row.pipeline == pipeline]
        alignment = ("left", *["right"] * (len(headers) - 1))
        tables.append(tabulate(lines, headers, disable_numparse=True, colalign=alignment))
    return "\n\n".join(tables)


def _rows_of(evaluation: Evaluation, pipeline: str) -> list[Row]:
    rows: dict[str, Row] = {}
    for trial in evaluation.plan.trials():
        row = rows.setdefault(trial.strategy, Row(trial.strategy, pipeline))
        scores = row.by_pair.setdefault(str(trial.pair or "any"), [])
        purchase = evaluation.purchase(trial)
        if purchase and purchase["status"] != "ok":
            row.failures.append(f"{trial.pair} seed {trial.seed}: {purchase['status']}")
        seeds = [s for p, s in evaluation.plan.trainings(trial) if p.name == pipeline]
        for seed in seeds if pipeline != OWN else [trial.seed]:
            record = evaluation.score(trial, pipeline, seed)
            if record:
                scores.append(record["macro_f1"])
    _fill_gap(rows)
    return sorted(rows.values(), key=lambda row: -math.inf if math.isnan(row.mean) else row.mean)[
        ::-1
    ]


def _fill_gap(rows: dict[str, Row]) -> None:
    none, everything = (rows[name].mean if name in rows else math.nan for name in REFERENCES)
    for row in rows.values():
        share = (row.mean - none) / (everything - none) if everything != none else math.nan
        row.gap_closed = _none_if_nan(share)


def _line(row: Row, columns: Sequence[str]) -> list[str]:
    cells = []
    for column in columns:
        scores = row.by_pair.get(column)
        cells.append(f"{statistics.fmean(scores):.3f}" if scores else "")
    failed = f"{row.strategy} (failed: {'; '.join(row.failures)})" if row.failures else row.strategy
    gap = "" if row.gap_closed is None else f"{row.gap_closed:.0%}"
    return [failed, _number(row.mean), _number(row.spread), *cells, gap, str(row.n)]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
