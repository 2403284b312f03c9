"""One trial's purchase: by a reference row, or by the submission in a process of its own."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluator.atomic_io import write_file
from evaluator.errors import ConfigurationError
from evaluator.experiment.plan import Plan, submission_fingerprint
from evaluator.records.journal import Journal
from evaluator.records.provenance import stamp
from evaluator.records.trial import REFERENCES, PurchaseRecord, ScoreRecord, Trial
from evaluator.training.metrics import score
from evaluator.worker.outcome import Notes, Outcome
from evaluator.worker.runner import Runner, TrialInputs
from evaluator.worker.vault import LabelVault

N_TEST = 300  # images that the prediction phase sees where its predictions are not the score
OWN = "own-predictions"  # the pipeline's name in round 1, where the submission predicts itself

Show = Callable[[str, float], None]  # is told the phase and the share of it that is done


@dataclass(frozen=True)
class Purchase:
    """What is to be journalled of a purchase; `own` is the score itself in round 1."""

    record: PurchaseRecord
    own: ScoreRecord | None = None


def buy(trial: Trial, plan: Plan, out: Path, runner: Runner, show: Show) -> Purchase:
    """Make the purchase of `trial`; its log, notes and sold labels go into folders of `out`.

    Raises ConfigurationError where the submission is no longer what was to be judged.
    """
    if trial.strategy in REFERENCES:
        return Purchase(reference_purchase(trial, len(plan.splits.unlabelled)))
    if submission_fingerprint(plan.submission) != trial.code:
        raise ConfigurationError(
            "changed-while-running",
            f"{plan.submission} or a file beside it was changed while the evaluation ran. "
            "Nothing of the new code was judged; start the same command again to judge it.",
        )
    if trial.pair is None:
        raise ValueError(f"{trial.identity} has no budget to buy with.")
    splits = plan.splits
    # Absolute, because a submission that runs in this process may change the working directory.
    vault_file = out.resolve() / "vault" / f"{trial.identity}.jsonl"
    vault_file.unlink(missing_ok=True)  # of a run that was killed: it is bought again
    sold = Journal(vault_file)
    vault = LabelVault(
        splits.unlabelled.labels,
        trial.pair.budget,
        lambda index: sold.append({"index": index, "time": time.time()}),
    )
    inputs = TrialInputs(
        splits,
        trial.pair,
        vault,
        log_of(trial, out).resolve(),
        arguments={
            "strategy": None if trial.strategy == "submission" else trial.strategy,
            "seed": trial.seed,
        },
        n_test=N_TEST if plan.pipelines else len(splits.validation),
        progress=show,
    )
    outcome = runner.run(plan.submission, inputs)
    if outcome.notes:
        _keep_notes(out / "notes" / f"{trial.identity}.json", outcome.notes)
    own = _own_score(trial, plan, outcome, len(vault.purchased))
    return Purchase(
        _record(trial, plan, outcome, vault, own, trusted=runner.trusted),
        own if own and not plan.pipelines else None,
    )


def reference_purchase(trial: Trial, n_pool: int) -> PurchaseRecord:
    """What a reference row buys of a pool of `n_pool` images: nothing, or all of it."""
    return PurchaseRecord.of(
        trial,
        status="ok",
        reason="",
        purchased=list(range(n_pool)) if trial.strategy == "all" else [],
        seconds={},
        own_macro_f1=None,
        **stamp(Path(__file__).parent),
    )


def log_of(trial: Trial, out: Path) -> Path:
    """Where the output of the trial's submission is kept."""
    return out / "logs" / f"{trial.identity}.log"


def _keep_notes(path: Path, notes: Notes) -> None:
    """Rounds and probabilities as the submission told them, for the report."""
    rows = [[idx, note["round"], note["probabilities"]] for idx, note in notes.items()]
    write_file(path, json.dumps(rows).encode())


def _own_score(trial: Trial, plan: Plan, outcome: Outcome, n_purchased: int) -> ScoreRecord | None:
    """The submission's own predictions, scored; None where it came to none."""
    if outcome.predictions is None:
        return None
    splits = plan.splits
    labels = splits.validation.labels[: len(outcome.predictions)]
    return ScoreRecord(
        trial=trial.identity,
        pipeline=OWN,
        training_seed=trial.seed,
        status="ok",
        **asdict(score(labels, outcome.predictions, splits.class_names)),
        n_training=len(splits.training),
        n_purchased=n_purchased,
        seconds=outcome.seconds["prediction"],
        **stamp(Path(__file__).parent),
    )


def _record(
    trial: Trial,
    plan: Plan,
    outcome: Outcome,
    vault: LabelVault,
    own: ScoreRecord | None,
    *,
    trusted: bool,
) -> PurchaseRecord:
    return PurchaseRecord.of(
        trial,
        status=outcome.status,
        reason=outcome.reason,
        purchased=list(vault.purchased),
        seconds=outcome.seconds,
        own_macro_f1=own.macro_f1 if own else None,
        refused=vault.refused,
        left_running=outcome.left_running,
        warnings=tuple(outcome.warnings),
        peak_memory=outcome.peak_memory,
        **stamp(plan.submission.resolve().parent, trusted=trusted),
    )
