"""What the journals hold of a plan, what is still to do, and what came of it."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluator.analysis.results import TrialResult
from evaluator.experiment.plan import Plan
from evaluator.experiment.run_trial import OWN, Purchase, log_of
from evaluator.records.journal import Journal, Record
from evaluator.records.trial import (
    PURCHASE_FIELDS,
    PURCHASE_KEY,
    REFERENCES,
    SCORE_FIELDS,
    SCORE_KEY,
    PurchaseRecord,
    Trial,
    is_score_of,
)
from evaluator.training.pipelines import Pipeline
from evaluator.training.scoring import Scorer
from evaluator.worker.capped_log import last_lines
from evaluator.worker.runner import Runner
from shared.console import event
from shared.errors import see_also

logger = logging.getLogger(__name__)


@dataclass
class Evaluation:
    """A plan and its journals in the folder `out`."""

    plan: Plan
    out: Path
    scorer: Scorer
    runner: Runner

    def __post_init__(self) -> None:
        self.purchases = Journal(self.out / "purchases.jsonl", PURCHASE_KEY, PURCHASE_FIELDS)
        self.scores = Journal(self.out / "scores.jsonl", SCORE_KEY, SCORE_FIELDS)

    def is_due(self, trial: Trial, pipeline: Pipeline, seed: int) -> bool:
        """Whether this training of a good purchase has not been made."""
        purchase = self.purchase(trial)
        ready = purchase is not None and purchase["status"] == "ok"
        return ready and not self.score(trial, pipeline.name, seed)

    def keep_purchase(self, trial: Trial, purchase: Purchase) -> None:
        """Journal a purchase and log how it went."""
        if purchase.own:
            self.scores.append(purchase.own.as_json())
        self.purchases.append(purchase.record.as_json())
        _log_purchase(trial, purchase.record, log_of(trial, self.out))

    def keep_score(self, trial: Trial, record: Record) -> None:
        """Journal a score and log what it is."""
        self.scores.append(record)
        failed = record["macro_f1"] is None
        result = record["reason"] if failed else f"macro-F1 {record['macro_f1']:.3f}"
        logger.log(
            logging.WARNING if failed else logging.INFO,
            "%s: %s %s (%d + %d images, %.0f s)",
            trial.title,
            record["pipeline"],
            result,
            record["n_training"],
            record["n_purchased"],
            record["seconds"],
            extra=event(
                "score",
                trial=trial.identity,
                pipeline=record["pipeline"],
                training_seed=record["training_seed"],
                status=record["status"],
                macro_f1=record["macro_f1"],
                seconds=record["seconds"],
            ),
        )

    def score_of_equal_purchase(self, trial: Trial, pipeline: Pipeline, seed: int) -> Record | None:
        """The score, if a trial scored before bought the same images, in whatever order.

        So `random` under 621:17 and 621:51 costs one training and not two.
        """
        own = set(self.bought(trial))
        for other in self.plan.trials():
            if other.seed != trial.seed or other == trial:
                continue
            scored = self.score(other, pipeline.name, seed)
            if not scored or scored["macro_f1"] is None:  # a failure is worth another try
                continue
            if set(self.bought(other)) == own:
                return {**scored, "trial": trial.identity, "copied_from": other.identity}
        return None

    def purchase(self, trial: Trial) -> Record | None:
        """What the journal holds of a trial's purchase."""
        return self.purchases.last(trial.identity)

    def bought(self, trial: Trial) -> list[int]:
        """Rows of the pool that the trial has bought, in the order of purchase."""
        purchase = self.purchase(trial)
        return list(purchase["purchased"]) if purchase else []

    def score(self, trial: Trial, pipeline: str, seed: int) -> Record | None:
        """What the journal holds of one post-purchase training, by this code and settings.

        A score of what the trial bought before it was made again is none.
        """
        known = {p.name: p for p in self.plan.pipelines}
        if pipeline not in known:
            return self.scores.last(trial.identity, pipeline, seed)
        for found in reversed(self.scores.all(trial.identity, pipeline, seed)):
            current = found.get("configuration") == self.scorer.configuration(known[pipeline])
            if current and is_score_of(found, self.bought(trial)):
                return found
        return None

    def outdated(self) -> int:
        """How many trainings to do were made before: by other code, settings or threads."""
        return sum(
            self.is_due(trial, pipeline, seed)
            and self.scores.last(trial.identity, pipeline.name, seed) is not None
            for trial in self.plan.trials()
            for pipeline, seed in self.plan.trainings(trial)
        )

    def results(self) -> list[TrialResult]:
        """Every trial of the plan with what the journals hold of it."""
        return [self._result(trial) for trial in self.plan.trials()]

    def _result(self, trial: Trial) -> TrialResult:
        trainings = [(pipeline.name, seed) for pipeline, seed in self.plan.trainings(trial)]
        return TrialResult(
            trial.label,
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
                    f"{trial.title}: {purchase['status']}, {purchase.get('reason')}\n"
                    f"    its output: {log_of(trial, self.out)}; to try again, use another --out "
                    f"or remove its line from {self.purchases.path}\n"
                    f"    {see_also(purchase['status'])}"
                )
            for (pipeline, seed), record in self._result(trial).scores.items():
                if record and record["macro_f1"] is None:
                    yield (
                        f"{trial.title}: training {pipeline} (seed {seed}) failed: "
                        f"{record.get('reason')}\n    to try again, use another --out or remove "
                        f"its line from {self.scores.path}\n    {see_also(record['status'])}"
                    )


def _log_purchase(trial: Trial, record: PurchaseRecord, log: Path) -> None:
    if trial.strategy in REFERENCES or trial.pair is None:
        return
    spent = sum(record.seconds.get(phase, 0.0) for phase in ("pre_training", "purchase"))
    logger.info(
        "%s: %s, %d labels in %.0f s of %.0f s",
        trial.title,
        record.status,
        len(record.purchased),
        spent,
        trial.pair.minutes * 60,
        extra=event(
            "purchase",
            trial=trial.identity,
            status=record.status,
            labels=len(record.purchased),
            seconds=record.seconds,
        ),
    )
    for warning in record.warnings:
        logger.warning("%s: %s", trial.title, warning)
    if record.status != "ok":
        logger.warning(
            "%s: %s\n  the end of %s:\n%s", trial.title, record.reason, log, last_lines(log)
        )
