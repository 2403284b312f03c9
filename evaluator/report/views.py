"""Results under each pipeline and, where there are several, under their mean."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evaluator.analysis.comparison import seed_means
from evaluator.analysis.leaderboard import Row, leaderboard
from evaluator.analysis.results import Results, TrialResult
from evaluator.records.journal import Record
from evaluator.records.trial import REFERENCES, Pair


@dataclass(frozen=True)
class View:
    """One leaderboard and the trials behind it; `rows` are best first."""

    name: str
    trials: tuple[TrialResult, ...]
    rows: tuple[Row, ...]

    @property
    def strategies(self) -> tuple[Row, ...]:
        """Without the judge's own rows."""
        return tuple(row for row in self.rows if row.strategy not in REFERENCES)

    @property
    def seeds(self) -> int:
        """The most purchase seeds that any strategy has complete."""
        return max((len(seed_means(row.runs)) for row in self.strategies), default=0)


def pipelines_of(results: Results) -> tuple[str, ...]:
    """In the order met."""
    return tuple(dict.fromkeys(name for trial in results.trials for name, _ in trial.scores))


def views(results: Results, baseline: str) -> tuple[View, ...]:
    """The one to read first, then the others: the mean over pipelines, then each of them."""
    names = pipelines_of(results)
    single = tuple(_view(name, results.trials, baseline) for name in names)
    if len(names) < 2:
        return single
    mean = f"the mean over {len(names)} pipelines"
    averaged = tuple(_averaged(trial, names, mean) for trial in results.trials)
    return (_view(mean, averaged, baseline), *single)


def f1_per_class(view: View) -> dict[str, dict[str, float]]:
    """Per strategy and class, the mean over the purchases of its complete seeds.

    Of each purchase the mean over its trainings, which may be more for one seed than for another.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for row in view.rows:
        complete = set() if row.failures else set(seed_means(row.runs))
        found[row.strategy] = {}
        for trial in view.trials:
            if trial.strategy != row.strategy or trial.seed not in complete:
                continue
            own: dict[str, list[float]] = {}
            for record in _scored(trial, view.name):
                for name, value in record["f1_per_class"].items():
                    own.setdefault(name, []).append(value)
            for name, values in own.items():
                found[row.strategy].setdefault(name, []).append(statistics.fmean(values))
    return {
        strategy: {name: statistics.fmean(values) for name, values in classes.items()}
        for strategy, classes in found.items()
    }


def by_budget(row: Row, pairs: Sequence[Pair]) -> dict[int, dict[int, float]]:
    """Per budget in labels and complete seed, the mean over minutes and training seeds."""
    budget_of = {str(pair): pair.budget for pair in pairs}
    complete = seed_means(row.runs)
    scores: dict[int, dict[int, list[float]]] = {}
    for (pair, seed, _), score in row.runs.items():
        if seed in complete and pair in budget_of:
            scores.setdefault(budget_of[pair], {}).setdefault(seed, []).append(score)
    return {
        budget: {seed: statistics.fmean(found) for seed, found in sorted(by_seed.items())}
        for budget, by_seed in sorted(scores.items())
    }


def by_seed(row: Row, pair: Pair) -> dict[int, float]:
    """Per purchase seed whose trainings under `pair` are all scored, their mean."""
    return seed_means({run: score for run, score in row.runs.items() if run[0] == str(pair)})


def _view(name: str, trials: tuple[TrialResult, ...], baseline: str) -> View:
    rows = [row for row in leaderboard(trials, baseline or None) if row.pipeline == name]
    return View(name, trials, tuple(rows))


def _scored(trial: TrialResult, pipeline: str) -> list[Record]:
    return [
        record
        for (name, _), record in trial.scores.items()
        if name == pipeline and record and record["macro_f1"] is not None
    ]


def _averaged(trial: TrialResult, names: Sequence[str], mean: str) -> TrialResult:
    """The trial as if it had been scored once, by all pipelines together."""
    records = [record for record in trial.scores.values() if record]
    failed = [
        f"{name} {record['status']}"
        for (name, _), record in trial.scores.items()
        if record and record["macro_f1"] is None
    ]
    whole = {name for name, _ in trial.scores} == set(names) and len(records) == len(trial.scores)
    record: Record | None = None
    if failed:
        record = {"macro_f1": None, "status": f"({', '.join(failed)})", "f1_per_class": {}}
    elif whole:
        per_pipeline = [_scored(trial, name) for name in names]
        classes = records[0]["f1_per_class"]
        record = {
            **{
                metric: _mean_of_means(
                    [[r.get(metric, math.nan) for r in own] for own in per_pipeline]
                )
                for metric in ("macro_f1", "accuracy", "hamming_loss")
            },
            "status": "ok",
            "f1_per_class": {
                name: _mean_of_means(
                    [[r["f1_per_class"].get(name, math.nan) for r in own] for own in per_pipeline]
                )
                for name in classes
            },
            "seconds": sum(record["seconds"] for record in records),
        }
    return replace(trial, scores={(mean, trial.seed): record})


def _mean_of_means(groups: Sequence[Sequence[float]]) -> float:
    return statistics.fmean(statistics.fmean(group) for group in groups)
