"""The two tasks of an evaluation: one purchase, and one training on what was bought."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from evaluator.experiment.plan import Plan
from evaluator.experiment.submissions import submission_digest
from evaluator.records.journal import Journal, Record
from evaluator.records.provenance import stamp
from evaluator.records.trial import REFERENCES, PurchaseRecord, ScoreRecord, Trial
from evaluator.training.metrics import score
from evaluator.training.pipelines import Pipeline
from evaluator.training.scoring import Scorer
from evaluator.worker.outcome import Notes, Outcome
from evaluator.worker.runner import Runner, TrialInputs
from evaluator.worker.vault import LabelVault
from shared.atomic_io import write_file
from shared.errors import ConfigurationError

N_TEST = 300  # images that the prediction phase sees where its predictions are not the score
OWN = "own-predictions"  # the pipeline's name in round 1, where the submission predicts itself


@dataclass(frozen=True)
class Workspace:
    """What a task needs besides its own arguments. On a cluster, each worker makes its own.

    show : called with what is being done, in words.
    expected : the configuration of each pipeline, where several machines must agree on it.
    """

    plan: Plan
    out: Path
    runner: Runner
    scorer: Scorer
    show: Callable[[str], None] = lambda text: None
    expected: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Purchase:
    """What is to be journalled of a purchase; `own` is the score itself in round 1."""

    record: PurchaseRecord
    own: ScoreRecord | None = None


def purchase(workspace: Workspace, trial: Trial) -> Purchase:
    """Make the purchase of `trial`; its log, notes and sold labels go into folders of `out`.

    Raises ConfigurationError where the submission's code is no longer what was to be evaluated.
    """
    plan = workspace.plan
    if trial.strategy in REFERENCES:
        return Purchase(reference_purchase(trial, len(plan.splits.unlabelled)))
    if trial.pair is None:
        raise ValueError(f"{trial.identity} has no budget to buy with.")
    submission = plan.submission_of(trial)
    if submission_digest(submission.path) != trial.code:
        raise ConfigurationError(
            "changed-while-running",
            f"{submission.path} or a file beside it was changed while the evaluation ran. "
            "Nothing of the new code was evaluated; run the same command again to evaluate it.",
        )
    # Absolute, because a submission that runs in this process may change the working directory.
    out = workspace.out.resolve()
    vault_file = out / "vault" / f"{trial.identity}.jsonl"
    vault_file.unlink(missing_ok=True)  # of a run that was killed: it is bought again
    sold = Journal(vault_file)
    vault = LabelVault(
        plan.splits.unlabelled.labels,
        trial.pair.budget,
        lambda index: sold.append({"index": index, "time": time.time()}),
    )
    inputs = TrialInputs(
        plan.splits,
        trial.pair,
        vault,
        log_of(trial, out),
        arguments={"strategy": trial.strategy, "seed": trial.seed},
        n_test=N_TEST if plan.pipelines else len(plan.splits.validation),
        progress=lambda phase, share: workspace.show(f"{trial.title}: {phase} {share:.0%}"),
    )
    workspace.show(f"{trial.title}: start-up")
    outcome = workspace.runner.run(submission.path, inputs)
    if outcome.notes:
        _write_notes(out / "notes" / f"{trial.identity}.json", outcome.notes)
    own = _own_score(trial, plan, outcome, len(vault.purchased))
    record = PurchaseRecord.of(
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
        **stamp(submission.path.resolve().parent, trusted=workspace.runner.trusted),
    )
    return Purchase(record, own if own and not plan.pipelines else None)


def training(
    workspace: Workspace, trial: Trial, purchased: Sequence[int], pipeline: Pipeline, seed: int
) -> Record:
    """Train `pipeline` on what `trial` has bought, and score it.

    Raises ConfigurationError where this machine would score differently than is expected.
    """
    scorer = workspace.scorer
    expected = workspace.expected.get(pipeline.name)
    if expected and scorer.configuration(pipeline) != expected:
        made = stamp(Path(__file__).parent)
        raise ConfigurationError(
            "cluster-differs",
            f"Two machines of the cluster score differently ({made['device']} at revision "
            f"{made['revision'] or 'unknown'} is one of them): their scores would not compare. "
            "Bring all to the same code, libraries and kind of processor.",
        )
    what = f"{trial.title}: training {pipeline.name}"
    workspace.show(what)
    record = scorer.score(
        trial.identity,
        purchased,
        pipeline,
        seed,
        progress=lambda share: workspace.show(f"{what} {share:.0%}"),
    )
    return record.as_json()


def configurations(workspace: Workspace) -> dict[str, str]:
    """Pipeline -> configuration, as the machine that runs this has it."""
    return {p.name: workspace.scorer.configuration(p) for p in workspace.plan.pipelines}


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


def _write_notes(path: Path, notes: Notes) -> None:
    """Rounds and probabilities as the submission gave them, for the report."""
    rows = [[idx, note["round"], note["probabilities"]] for idx, note in notes.items()]
    write_file(path, json.dumps(rows).encode())


def _own_score(trial: Trial, plan: Plan, outcome: Outcome, n_purchased: int) -> ScoreRecord | None:
    """The submission's own predictions, scored; None where it made none."""
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
