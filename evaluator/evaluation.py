"""Carry out a plan: buy, journal, train, score, journal; stop anywhere and go on later."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluator.answers import Notes
from evaluator.errors import ConfigurationError
from evaluator.isolation import last_lines, run_submission
from evaluator.journal import Journal, Record
from evaluator.metrics import score
from evaluator.pipelines import Pipeline
from evaluator.plan import Plan, submission_fingerprint
from evaluator.provenance import git_revision, library_versions
from evaluator.references import reference_purchase
from evaluator.results import TrialResult
from evaluator.scoring import Scorer
from evaluator.trial import REFERENCES, PurchaseRecord, ScoreRecord, Trial
from evaluator.vault import LabelVault
from evaluator.watch import Limits, Outcome

N_TEST = 300  # images that the prediction phase sees where its predictions are not the score
OWN = "own-predictions"  # the pipeline's name in round 1, where the submission predicts itself


@dataclass
class Evaluation:
    """A plan and the folder that its journals stand in."""

    plan: Plan
    out: Path
    scorer: Scorer
    limits: Limits
    progress: bool = True

    def __post_init__(self) -> None:
        self.purchases = Journal(self.out / "purchases.jsonl")
        self.scores = Journal(self.out / "scores.jsonl")

    def run(self) -> None:
        """Do what the journals do not hold yet."""
        trials = self.plan.trials()
        steps = sum(1 + len(self.plan.trainings(trial)) for trial in trials)
        with tqdm(total=steps, unit="step", disable=None if self.progress else True) as bar:
            for trial in trials:
                self._buy(trial, bar)
                for pipeline, seed in self.plan.trainings(trial):
                    self._train(trial, pipeline, seed, bar)

    def purchase(self, trial: Trial) -> Record | None:
        """What the journal holds of a trial's purchase."""
        return _last(self.purchases, trial=trial.identity)

    def score(self, trial: Trial, pipeline: str, seed: int) -> Record | None:
        """What the journal holds of one post-purchase training, by this code and settings."""
        found = _last(self.scores, trial=trial.identity, pipeline=pipeline, training_seed=seed)
        known = {p.name: p for p in self.plan.pipelines}
        if found and pipeline in known:
            current = found["configuration"] == self.scorer.configuration(known[pipeline])
            return found if current else None
        return found

    def results(self) -> list[TrialResult]:
        """Every trial of the plan with what the journals hold of it."""
        return [self._result(trial) for trial in self.plan.trials()]

    def _result(self, trial: Trial) -> TrialResult:
        trainings = [(pipeline.name, seed) for pipeline, seed in self.plan.trainings(trial)]
        return TrialResult(
            trial.strategy,
            trial.pair,
            trial.seed,
            self.purchase(trial),
            {one: self.score(trial, *one) for one in trainings or [(OWN, trial.seed)]},
        )

    def missing(self) -> Iterator[tuple[Trial, Pipeline | None]]:
        """What is still to do: (trial, None) is a purchase, (trial, pipeline) a training."""
        for trial in self.plan.trials():
            purchase = self.purchase(trial)
            if not purchase:
                yield trial, None
            elif purchase["status"] != "ok":
                continue
            for pipeline, seed in self.plan.trainings(trial):
                if not self.score(trial, pipeline.name, seed):
                    yield trial, pipeline

    def failures(self) -> Iterator[str]:
        """What went wrong in the plan's trials, in words, with where to read more."""
        for trial in self.plan.trials():
            purchase = self.purchase(trial)
            if purchase and purchase["status"] != "ok":
                yield (
                    f"{_title(trial)}: {purchase['status']}, {purchase['reason']}\n"
                    f"    its output: {self.log_of(trial)}; to try again, use another --out or "
                    f"remove its line from {self.purchases.path}"
                )
            for (pipeline, seed), record in self._result(trial).scores.items():
                if record and record["macro_f1"] is None:
                    yield (
                        f"{_title(trial)}: training {pipeline} (seed {seed}) failed: "
                        f"{record['reason']}\n    to try again, use another --out or remove its "
                        f"line from {self.scores.path}"
                    )

    def _buy(self, trial: Trial, bar: "tqdm[Any]") -> None:
        bar.set_description(f"{_title(trial)}: buying")
        if not self.purchase(trial):
            if trial.strategy in REFERENCES:
                record = reference_purchase(trial, self.plan.splits)
            else:
                record = self._isolated_purchase(trial, bar)
            self.purchases.append(record.as_json())
            _tell(trial, record, self.log_of(trial))
        bar.update()

    def _isolated_purchase(self, trial: Trial, bar: "tqdm[Any]") -> PurchaseRecord:
        if submission_fingerprint(self.plan.submission) != trial.code:
            raise ConfigurationError(
                f"{self.plan.submission} or a file beside it was changed while the evaluation ran. "
                "Nothing of the new code was judged; start the same command again to judge it."
            )
        pair = trial.pair
        if pair is None:
            raise ValueError(f"{trial.identity} has no budget to buy with.")
        splits = self.plan.splits
        sold = Journal(self.out / "vault" / f"{trial.identity}.jsonl")
        sold.path.unlink(missing_ok=True)  # of a run that was killed: it is bought anew
        vault = LabelVault(
            splits.unlabelled.labels,
            pair.budget,
            lambda index: sold.append({"index": index, "time": time.time()}),
        )

        def show(phase: str, share: float) -> None:
            bar.set_description(f"{_title(trial)}: {phase} {share:.0%}")

        outcome = run_submission(
            self.plan.submission,
            splits,
            pair,
            vault,
            self.log_of(trial),
            arguments={
                "strategy": None if trial.strategy == "submission" else trial.strategy,
                "seed": trial.seed,
            },
            n_test=N_TEST if self.plan.pipelines else len(splits.validation),
            limits=self.limits,
            progress=show,
        )
        if outcome.notes:
            self._keep_notes(trial, outcome.notes)
        own = self._score_own(trial, outcome, len(vault.purchased))
        revision = git_revision(self.plan.submission.resolve().parent)
        return _purchase_record(trial, outcome, vault, own, revision)

    def _keep_notes(self, trial: Trial, notes: Notes) -> None:
        """Rounds and probabilities as the submission told them, for the report."""
        path = self.out / "notes" / f"{trial.identity}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {
            "idx": list(notes),
            "round": [note["round"] for note in notes.values()],
            "probabilities": [note["probabilities"] for note in notes.values()],
        }
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps(columns))
        beside.replace(path)

    def _score_own(self, trial: Trial, outcome: Outcome, n_purchased: int) -> float | None:
        """Macro-F1 of the submission's own predictions; in round 1 it is the score."""
        if outcome.predictions is None:
            return None
        splits = self.plan.splits
        labels = splits.validation.labels[: len(outcome.predictions)]
        own = score(labels, outcome.predictions, splits.class_names)
        if not self.plan.pipelines:
            record = ScoreRecord(
                trial=trial.identity,
                pipeline=OWN,
                training_seed=trial.seed,
                status="ok",
                **asdict(own),
                n_training=len(splits.training),
                n_purchased=n_purchased,
                seconds=outcome.seconds["prediction"],
                revision=git_revision(Path(__file__).parent),
                versions=library_versions(),
            )
            self.scores.append(record.as_json())
        return own.macro_f1

    def _train(self, trial: Trial, pipeline: Pipeline, seed: int, bar: "tqdm[Any]") -> None:
        purchase = self.purchase(trial)
        if purchase and purchase["status"] == "ok" and not self.score(trial, pipeline.name, seed):
            title = f"{_title(trial)}: training {pipeline.name}"

            def show(share: float) -> None:
                bar.set_description(f"{title} {share:.0%}")

            record = self._score_of_equal_purchase(trial, purchase, pipeline, seed)
            if not record:
                record = self.scorer.score(
                    trial.identity, purchase["purchased"], pipeline, seed, progress=show
                ).as_json()
            self.scores.append(record)
            failed = record["macro_f1"] is None
            result = record["reason"] if failed else f"macro-F1 {record['macro_f1']:.3f}"
            _say(
                f"{_title(trial)}: {pipeline.name} {result} "
                f"({record['n_training']} + {record['n_purchased']} images, "
                f"{record['seconds']:.0f} s)"
            )
        bar.update()

    def _score_of_equal_purchase(
        self, trial: Trial, purchase: Record, pipeline: Pipeline, seed: int
    ) -> Record | None:
        """The score, if a trial scored before bought the same images, in whatever order.

        So `random` under 621:17 and 621:51 costs one training and not two.
        """
        for other in self.plan.trials():
            if other.seed != trial.seed or other == trial:
                continue
            bought, scored = self.purchase(other), self.score(other, pipeline.name, seed)
            if bought and scored and set(bought["purchased"]) == set(purchase["purchased"]):
                return {**scored, "trial": trial.identity, "copied_from": other.identity}
        return None

    def log_of(self, trial: Trial) -> Path:
        """Where the output of the trial's submission is kept."""
        return self.out / "logs" / f"{trial.identity}.log"


def _last(journal: Journal, **key: object) -> Record | None:
    for record in reversed(journal.records):
        if all(record.get(name) == value for name, value in key.items()):
            return record
    return None


def _purchase_record(
    trial: Trial, outcome: Outcome, vault: LabelVault, own: float | None, revision: str
) -> PurchaseRecord:
    return PurchaseRecord(
        trial=trial.identity,
        dataset=trial.dataset,
        strategy=trial.strategy,
        budget=trial.pair.budget if trial.pair else None,
        minutes=trial.pair.minutes if trial.pair else None,
        seed=trial.seed,
        status=outcome.status,
        reason=outcome.reason,
        purchased=list(vault.purchased),
        seconds=outcome.seconds,
        own_macro_f1=own,
        refused=vault.refused,
        left_running=outcome.left_running,
        warnings=tuple(outcome.warnings),
        peak_memory=outcome.peak_memory,
        fingerprint=trial.fingerprint,
        code=trial.code,
        conditions=trial.conditions,
        revision=revision,
        versions=library_versions(),
    )


def _title(trial: Trial) -> str:
    pair = f" {trial.pair}" if trial.pair else ""
    return f"{trial.strategy}{pair} seed {trial.seed}"


def _say(line: str) -> None:
    """A line beside the progress bar, on stderr. It may hold whatever a submission printed."""
    tqdm.write(line.encode("utf-8", "backslashreplace").decode("utf-8"), file=sys.stderr)


def _tell(trial: Trial, record: PurchaseRecord, log: Path) -> None:
    if trial.strategy in REFERENCES or trial.pair is None:
        return
    spent = sum(record.seconds.get(phase, 0.0) for phase in ("pre_training", "purchase"))
    _say(
        f"{_title(trial)}: {record.status}, {len(record.purchased)} labels in {spent:.0f} s "
        f"of {trial.pair.minutes * 60:.0f} s"
    )
    for warning in record.warnings:
        _say(f"    warning: {warning}")
    if record.status != "ok":
        _say(f"    {record.reason}\n  the end of {log}:\n{last_lines(log)}")
