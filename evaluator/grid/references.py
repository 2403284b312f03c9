"""What the judge buys itself, with every label in hand, for the leaderboard's reference rows."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.datasets.dataset import Splits
from evaluator.grid.provenance import git_revision, library_versions
from evaluator.grid.trial import PurchaseRecord, Trial
from evaluator.randomness import stream_seed


def reference_purchase(trial: Trial, splits: Splits) -> PurchaseRecord:
    """What a reference row buys. Nobody is judged here, so there is no clock and no process."""
    return PurchaseRecord.of(
        trial,
        status="ok",
        reason="",
        purchased=_bought(trial, splits),
        seconds={},
        own_macro_f1=None,
        revision=git_revision(Path(__file__).parent),
        versions=library_versions(),
    )


def _bought(trial: Trial, splits: Splits) -> list[int]:
    """Rows of the pool: of `none`, `all`, or `oracle` within its budget."""
    pool = splits.unlabelled
    if trial.strategy == "none":
        return []
    if trial.strategy == "all":
        return list(range(len(pool)))
    if trial.strategy == "oracle" and trial.pair:
        dice = np.random.default_rng(stream_seed(trial.seed, "oracle"))
        return oracle(splits.training.labels, pool.labels, trial.pair.budget, dice)
    raise ValueError(f"{trial.identity} is no reference row.")


def oracle(
    labelled: NDArray[np.integer],
    pool: NDArray[np.integer],
    budget: int,
    dice: np.random.Generator,
) -> list[int]:
    """The `budget` rows of `pool` (N, C) that best fill up the rare classes of `labelled` (L, C).

    Greedy for the sum over classes of log(1 + positives in hand), which grows most where
    positives are few, as macro-F1 weighs all classes alike; the sum is submodular, so greedy
    reaches 1 - 1/e of the best (Nemhauser, Wolsey and Fisher 1978). Images with equal labels are
    drawn at random. It knows labels and no pictures: a yardstick for what knowing the labels is
    worth, not the best that any purchase could reach.
    """
    order = dice.permutation(len(pool))
    kinds, kind_of = np.unique(pool[order], axis=0, return_inverse=True)
    waiting = [list(order[kind_of.reshape(-1) == kind]) for kind in range(len(kinds))]
    positives = labelled.sum(axis=0).astype(np.float64)  # (C,)
    bought: list[int] = []
    for _ in range(min(budget, len(pool))):
        gains = np.log1p(positives + kinds).sum(axis=1)  # (kinds,), up to a constant
        gains[[not rows for rows in waiting]] = -np.inf
        best = int(gains.argmax())
        bought.append(int(waiting[best].pop()))
        positives += kinds[best]
    return bought
