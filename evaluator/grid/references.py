"""What the judge buys itself, for the leaderboard's reference rows."""

from collections.abc import Callable
from pathlib import Path

from evaluator.grid.oracle import oracle
from evaluator.grid.provenance import git_revision, library_versions, machine_name
from evaluator.grid.trial import PurchaseRecord, Status, Trial
from evaluator.training.scoring import Scorer


def reference_purchase(
    trial: Trial, scorer: Scorer, tell: Callable[[float], None] = lambda share: None
) -> PurchaseRecord:
    """What a reference row buys. Nobody is judged here, so there is no clock and no process.

    `tell` is told the share that is done of what must be trained first.
    """
    status: Status = "ok"
    bought, reason = [], ""
    try:
        bought = _bought(trial, scorer, tell)
    except FloatingPointError as error:
        status, reason = "crashed", str(error)
    return PurchaseRecord.of(
        trial,
        status=status,
        reason=reason,
        purchased=bought,
        seconds={},
        own_macro_f1=None,
        device=machine_name(),
        revision=git_revision(Path(__file__).parent),
        versions=library_versions(),
    )


def _bought(trial: Trial, scorer: Scorer, tell: Callable[[float], None]) -> list[int]:
    """Rows of the pool: of `none`, `all`, or `oracle` within its budget."""
    if trial.strategy == "none":
        return []
    if trial.strategy == "all":
        return list(range(len(scorer.splits.unlabelled)))
    if trial.strategy == "oracle" and trial.pair:
        return oracle(scorer, trial.pair.budget, trial.seed, tell)
    raise ValueError(f"{trial.identity} is no reference row.")
