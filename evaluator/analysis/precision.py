"""Where the noise in a comparison comes from, and how to spend computing time against it.

A difference between two strategies varies because another seed buys other images, and because
another training of the same images ends elsewhere. More trainings per purchase (`--training-seeds`)
shrink the second part only, more purchase seeds (`--seeds`) shrink both and cost more. What another
pipeline does for precision, `quick-averaged` say, its own table tells, beside that of `quick`.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluator.analysis.comparison import Run, seed_means
from evaluator.analysis.leaderboard import Row
from evaluator.analysis.results import TrialResult
from evaluator.analysis.text_table import Cells, text_table
from evaluator.records.trial import REFERENCES

MOST_TRAININGS = 10  # of one purchase: as far as the best number is looked for
FEW_PURCHASES = 5  # seeds; below, the two parts of the spread are hardly known
INTERVAL = (
    "At a standard error of 0.005 the 95 % interval is about ±0.01, and wider below ten seeds."
)


@dataclass(frozen=True)
class Components:
    """Variance of the paired difference to the baseline, in two parts, and what a part costs.

    purchases : of the mean difference that a purchase seed would have over endless trainings;
        trainings : of one training's difference around it. With one training of each purchase the
        two cannot be told apart: all is in `purchases`, and `trainings` is None. Seconds are for
        the strategy and the baseline together, over all pairs.
    """

    n_purchases: int
    purchases: float
    trainings: float | None
    purchase_seconds: float
    training_seconds: float

    def variance(self, trainings: int) -> float:
        """Of a difference from one purchase seed with so many trainings."""
        return self.purchases + (self.trainings or 0.0) / trainings

    def seconds(self, trainings: int) -> float:
        return self.purchase_seconds + trainings * self.training_seconds

    def hours_to_settle(self, trainings: int) -> float:
        """Computing time until the difference is known to half a point, one standard error.

        Of whole purchase seeds, and of two or more: one has no standard error.
        """
        seeds = max(2, math.ceil(round(self.variance(trainings) / 0.005**2, 6)))
        return seeds * self.seconds(trainings) / 3600

    @property
    def best_trainings(self) -> int | None:
        """Trainings per purchase, up to MOST_TRAININGS, that settle it soonest; None: not known.

        The optimum of two-stage sampling (Cochran 1977, Sampling Techniques, 10.6), found by
        trying: its formula knows nothing of whole seeds, nor that there are two or more.
        """
        if self.trainings is None:
            return None
        return min(range(1, MOST_TRAININGS + 1), key=self.hours_to_settle)


def variance_components(scores: np.ndarray) -> tuple[float, float]:
    """Variance between rows and within rows of (n, m), both at least 2, by analysis of variance.

    The between part is (MS_between - MS_within) / m, and 0 where that is negative (Searle,
    Casella and McCulloch 1992, Variance Components, 3.5).
    """
    n, m = scores.shape
    if n < 2 or m < 2:
        raise ValueError(f"Variance in two parts needs 2 x 2 scores or more, got {n} x {m}.")
    within = float(scores.var(axis=1, ddof=1).mean())
    between = float(scores.mean(axis=1).var(ddof=1)) - within / m
    return max(0.0, between), within


def components(
    results: Sequence[TrialResult], rows: Sequence[Row], pipeline: str, baseline: str
) -> dict[str, Components]:
    """Per strategy, against the baseline; only seeds that both have finished.

    Empty where there are fewer than two purchase seeds.
    """
    runs = {
        row.strategy: row.runs
        for row in rows
        if row.pipeline == pipeline and row.strategy not in REFERENCES and not row.failures
    }
    if baseline not in runs:
        return {}
    found = {}
    for strategy in runs.keys() - {baseline}:
        differences = _differences(runs[strategy], runs[baseline])
        n, m = differences.shape
        if n < 2 or m < 1:
            continue
        costs = [_costs(results, name, pipeline) for name in (strategy, baseline)]
        purchase, training = (sum(seconds) for seconds in zip(*costs, strict=True))
        if training > 0:
            between, within = float(differences.var(ddof=1)), None
            if m > 1:
                between, within = variance_components(differences)
            found[strategy] = Components(n, between, within, purchase, training)
    return {name: found[name] for name in runs if name in found}


def render_precision(found: Mapping[str, Components], baseline: str) -> str:
    """As text: where the spread comes from, what a step costs, and what precision costs."""
    return "\n".join((text_table(*table_of(found, baseline)), INTERVAL, *caveats(found)))


def table_of(found: Mapping[str, Components], baseline: str) -> Cells:
    """A row per strategy: its two parts, what each costs, and what precision costs."""
    headers = [
        f"against {baseline}",
        "sd of purchases",
        "sd of trainings",
        "purchase",
        "training",
        "best trainings",
        "hours to a standard error of 0.005: one training",
        "the best",
    ]
    return headers, [[name, *_cells(one)] for name, one in found.items()]


def caveats(found: Mapping[str, Components]) -> list[str]:
    """Sentences on how little is known of the two parts; none where seeds are enough."""
    split = [one.n_purchases for one in found.values() if one.trainings is not None]
    if not split or min(split) >= FEW_PURCHASES:
        return []
    return [
        f"Below {FEW_PURCHASES} purchase seeds the two parts, and the best number with them, are "
        "hardly known: of equal parts, that of purchases is not seen in 26 of 100 evaluations of 3 "
        "seeds x 2 trainings."
    ]


def _cells(one: Components) -> tuple[str, ...]:
    costs = f"{one.purchase_seconds:,.0f} s", f"{one.training_seconds:,.0f} s"
    best = one.best_trainings
    if one.trainings is None or best is None:
        return "", "", *costs, "", f"{one.hours_to_settle(1):.1f}", ""
    return (
        f"{math.sqrt(one.purchases):.3f}" if one.purchases > 0 else "not seen",
        f"{math.sqrt(one.trainings):.3f}",
        *costs,
        f"{best} or more" if best == MOST_TRAININGS else str(best),
        f"{one.hours_to_settle(1):.1f}",
        f"{one.hours_to_settle(best):.1f}",
    )


def _differences(ours: Mapping[Run, float], theirs: Mapping[Run, float]) -> np.ndarray:
    """(purchase seeds, trainings) of mean differences over pairs; empty where trainings differ."""
    seeds = [seed for seed in seed_means(ours) if seed in seed_means(theirs)]
    table = []
    for seed in seeds:
        by_training: dict[int, list[float]] = {}
        for run, score in ours.items():
            if run[1] == seed:
                by_training.setdefault(run[2], []).append(score - theirs[run])
        table.append([statistics.fmean(own) for _, own in sorted(by_training.items())])
    if not table or len({len(row) for row in table}) > 1:
        return np.empty((0, 0))
    return np.array(table)


def _costs(results: Sequence[TrialResult], strategy: str, pipeline: str) -> tuple[float, float]:
    """Mean seconds of one purchase and of one training, summed over pairs."""
    purchases: dict[object, list[float]] = {}
    trainings: dict[object, list[float]] = {}
    for result in results:
        if result.strategy != strategy:
            continue
        if result.purchase and result.purchase["seconds"]:
            purchases.setdefault(result.pair, []).append(sum(result.purchase["seconds"].values()))
        for (name, _), record in result.scores.items():
            if name == pipeline and record and not record.get("copied_from"):
                trainings.setdefault(result.pair, []).append(record["seconds"])
    return (
        sum(map(statistics.fmean, purchases.values())),
        sum(map(statistics.fmean, trainings.values())),
    )
