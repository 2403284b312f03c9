"""Carry out a plan: buy, journal, train, score, journal; stop anywhere and go on later."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluator.dataset import Splits
from evaluator.errors import ConfigurationError
from evaluator.isolation import last_lines, run_submission
from evaluator.journal import Journal, Record
from evaluator.metrics import score
from evaluator.pipelines import Pipeline
from evaluator.plan import Plan, submission_fingerprint
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
        """What went wrong in the plan's purchases, in words, with where to read more."""
        for trial in self.plan.trials():
            purchase = self.purchase(trial)
            if purchase and purchase["status"] != "ok":
                yield (
                    f"{_title(trial)}: {purchase['status']}, {purchase['reason']}\n"
                    f"    its output: {self.log_of(trial)}; to try again, use another --out or "
                    f"remove its line from {self.purchases.path}"
                )

    def _buy(self, trial: Trial, bar: "tqdm[Any]") -> None:
        bar.set_description(f"{_title(trial)}: buying")
        if not self.purchase(trial):
            if trial.strategy in REFERENCES:
                record = _reference_purchase(trial, self.plan.splits)
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
        own = self._score_own(trial, outcome, len(vault.purchased))
        return _purchase_record(trial, outcome, vault, own)

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
            )
            self.scores.append(record.as_json())
        return own.macro_f1

    def _train(self, trial: Trial, pipeline: Pipeline, seed: int, bar: "tqdm[Any]") -> None:
        purchase = self.purchase(trial)
        if purchase and purchase["status"] == "ok" and not self.score(trial, pipeline.name, seed):
            title = f"{_title(trial)}: training {pipeline.name}"

            def show(share: float) -> None:
                bar.set_description(f"{title} {share:.0%}")

            record = self.scorer.score(
                trial.identity, purchase["purchased"], pipeline, seed, progress=show
            )
            self.scores.append(record.as_json())
            _say(
                f"{_title(trial)}: {pipeline.name} macro-F1 {record.macro_f1:.3f} "
                f"({record.n_training} + {record.n_purchased} images, {record.seconds:.0f} s)"
            )
        bar.update()

    def log_of(self, trial: Trial) -> Path:
        """Where the output of the trial's submission is kept."""
        return self.out / "logs" / f"{trial.identity}.log"


def _last(journal: Journal, **key: object) -> Record | None:
    for record in reversed(journal.records):
        if all(record.get(name) == value for name, value in key.items()):
            return record
    return None


def _reference_purchase(trial: Trial, splits: Splits) -> PurchaseRecord:
    everything = list(range(len(splits.unlabelled)))
    return PurchaseRecord(
        trial=trial.identity,
        dataset=trial.dataset,
        strategy=trial.strategy,
        budget=None,
        minutes=None,
        seed=trial.seed,
        status="ok",
        reason="",
        purchased=everything if trial.strategy == "all" else [],
        seconds={},
        own_macro_f1=None,
    )


def _purchase_record(
    trial: Trial, outcome: Outcome, vault: LabelVault, own: float | None
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
    )


def _title(trial: Trial) -> str:
    pair = f" {trial.pair}" if trial.pair else ""
    return f"{trial.strategy}{pair} seed {trial.seed}"


def _say(line: str) -> None:
    """A line beside the progress bar, on stderr. It may hold whatever a submission printed."""
    tqdm.write(line.encode("utf-8", "backslashreplace").decode("utf-8"), file=sys.stderr)


def _tell(trial: Trial, record: PurchaseRecord, log: Path) -> None:
    if trial.pair is None:
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
