"""Where the noise in a comparison comes from: other images bought, or another training of them.

More trainings per purchase (`--training-seeds`) reduce the second part only, more purchase seeds
(`--seeds`) reduce both and cost more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evaluator.analysis.comparison import paired_differences
from evaluator.analysis.leaderboard import Row
from evaluator.records.trial import PHASES, REFERENCES
from shared.formatting import Cells, format_score, format_seconds, text_table

if TYPE_CHECKING:
    from pandas import DataFrame

FEW_PURCHASES = 5  # seeds; below, the two parts are hardly known
CAVEAT = (
    f"Below {FEW_PURCHASES} purchase seeds the split into two parts is unreliable: with equal "
    "parts, that of purchases is estimated as 0 in 26 of 100 evaluations of 3 seeds x 2 trainings."
)


@dataclass(frozen=True)
class Components:
    """Variance of the paired difference from the baseline in two parts, and what each costs.

    purchases : of the mean difference that a purchase seed would have over endless trainings;
        trainings : of one training's difference around it. Seconds are for the strategy and the
        baseline together, over all pairs.
    """

    n_purchases: int
    purchases: float
    trainings: float
    purchase_seconds: float
    training_seconds: float


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


def components(rows: Sequence[Row], baseline: str) -> dict[str, Components]:
    """Per strategy of one pipeline, against the baseline, over the seeds that both have finished.

    Only where both have two purchase seeds and two trainings of each: with fewer the two parts
    cannot be separated.
    """
    known = {
        row.strategy: row.scores
        for row in rows
        if row.strategy not in REFERENCES and not row.failures
    }
    found = {}
    for strategy in known if baseline in known else ():
        differences = paired_differences(known[strategy], known[baseline])
        by_training = differences.groupby(["seed", "training_seed"]).mean()
        trainings = [own.to_numpy() for _, own in by_training.groupby("seed")]
        if strategy == baseline or len(trainings) < 2 or len({len(own) for own in trainings}) > 1:
            continue
        if len(trainings[0]) > 1:
            seconds = [_seconds(known[name]) for name in (strategy, baseline)]
            purchase, training = (sum(parts) for parts in zip(*seconds, strict=True))
            parts = variance_components(np.array(trainings))
            found[strategy] = Components(len(trainings), *parts, purchase, training)
    return found


def component_cells(found: Mapping[str, Components], baseline: str) -> Cells:
    """A line per strategy: standard deviation and seconds of each part."""
    headers = [
        f"compared with {baseline}",
        "sd of purchases",
        "sd of trainings",
        "per purchase",
        "per training",
        "n",
    ]
    return headers, [
        [
            name,
            format_score(math.sqrt(one.purchases)),
            format_score(math.sqrt(one.trainings)),
            format_seconds(one.purchase_seconds),
            format_seconds(one.training_seconds),
            str(one.n_purchases),
        ]
        for name, one in found.items()
    ]


def caveat(found: Mapping[str, Components]) -> str:
    """A sentence on how little is known of the two parts; empty where seeds are enough."""
    few = any(one.n_purchases < FEW_PURCHASES for one in found.values())
    return CAVEAT if few else ""


def render_components(found: Mapping[str, Components], baseline: str) -> str:
    """As text."""
    return "\n".join(filter(None, (text_table(*component_cells(found, baseline)), caveat(found))))


def _seconds(scores: DataFrame) -> tuple[float, float]:
    """Mean seconds of one purchase and of one training, summed over pairs."""
    phases = [f"{phase}_seconds" for phase in PHASES]
    bought = scores[scores["trial"] != ""].drop_duplicates("trial")
    purchases = bought.set_index("pair")[phases].sum(axis=1)
    trainings = scores.groupby("pair")["training_seconds"].mean()
    return float(purchases.groupby("pair").mean().sum()), float(trainings.sum())
