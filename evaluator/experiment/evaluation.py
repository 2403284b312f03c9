"""Carry out a plan: buy, journal, train, score, journal; stop anywhere and go on later."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluator.analysis.results import TrialResult
from evaluator.errors import see_also
from evaluator.experiment.plan import Plan
from evaluator.experiment.run_trial import OWN, Purchase, buy, log_of
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
from evaluator.worker.runner import Runner, last_lines


@dataclass
class Evaluation:
    """A plan and the folder that its journals stand in."""

    plan: Plan
    out: Path
    scorer: Scorer
    runner: Runner
    progress: bool = True

    def __post_init__(self) -> None:
        self.purchases = Journal(self.out / "purchases.jsonl", PURCHASE_KEY, PURCHASE_FIELDS)
        self.scores = Journal(self.out / "scores.jsonl", SCORE_KEY, SCORE_FIELDS)

    def run(self) -> None:
        """Do what the journals do not hold yet, one step after the other."""
        with self.bar() as bar:
            for trial in self.plan.trials():
                if not self.purchase(trial):
                    self.keep_purchase(trial, self._buy(trial, bar))
                bar.update()
                for pipeline, seed in self.plan.trainings(trial):
                    if self.is_due(trial, pipeline, seed):
                        self.keep_score(trial, self._train(trial, pipeline, seed, bar))
                    bar.update()

    def bar(self) -> "tqdm[Any]":
        """A progress bar over the steps of the plan, silent where no progress is wanted."""
        steps = sum(1 + len(self.plan.trainings(trial)) for trial in self.plan.trials())
        return tqdm(total=steps, unit="step", disable=None if self.progress else True)

    def is_due(self, trial: Trial, pipeline: Pipeline, seed: int) -> bool:
        """Whether this training of a good purchase has not been made."""
        purchase = self.purchase(trial)
        ready = purchase is not None and purchase["status"] == "ok"
        return ready and not self.score(trial, pipeline.name, seed)

    def keep_purchase(self, trial: Trial, purchase: Purchase) -> None:
        """Journal a purchase and say how it went."""
        if purchase.own:
            self.scores.append(purchase.own.as_json())
        self.purchases.append(purchase.record.as_json())
        _tell(trial, purchase.record, log_of(trial, self.out))

    def keep_score(self, trial: Trial, record: Record) -> None:
        """Journal a score and say what it is."""
        self.scores.append(record)
        failed = record["macro_f1"] is None
        result = record["reason"] if failed else _scores(record)
        say(
            f"{trial.title}: {record['pipeline']} {result} ({record['n_training']} + "
            f"{record['n_purchased']} images, {record['seconds']:.0f} s)"
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

    def _buy(self, trial: Trial, bar: "tqdm[Any]") -> Purchase:
        def show(phase: str, share: float) -> None:
            bar.set_description(f"{trial.title}: {phase} {share:.0%}")

        bar.set_description(f"{trial.title}: buying")
        return buy(trial, self.plan, self.out, self.runner, show)

    def _train(self, trial: Trial, pipeline: Pipeline, seed: int, bar: "tqdm[Any]") -> Record:
        def show(share: float) -> None:
            bar.set_description(f"{trial.title}: training {pipeline.name} {share:.0%}")

        if known := self.score_of_equal_purchase(trial, pipeline, seed):
            return known
        bought = self.bought(trial)
        return self.scorer.score(trial.identity, bought, pipeline, seed, progress=show).as_json()


def say(line: str) -> None:
    """A line beside the progress bar, on stderr. It may hold whatever a submission printed."""
    tqdm.write(line.encode("utf-8", "backslashreplace").decode("utf-8"), file=sys.stderr)


def _scores(record: Record) -> str:
    return (
        f"macro-F1 {record['macro_f1']:.3f}, accuracy {record['accuracy']:.3f}, "
        f"Hamming loss {record['hamming_loss']:.3f}"
    )


def _tell(trial: Trial, record: PurchaseRecord, log: Path) -> None:
    if trial.strategy in REFERENCES or trial.pair is None:
        return
    spent = sum(record.seconds.get(phase, 0.0) for phase in ("pre_training", "purchase"))
    say(
        f"{trial.title}: {record.status}, {len(record.purchased)} labels in {spent:.0f} s "
        f"of {trial.pair.minutes * 60:.0f} s"
    )
    for warning in record.warnings:
        say(f"    warning: {warning}")
    if record.status != "ok":
        say(f"    {record.reason}\n  the end of {log}:\n{last_lines(log)}")
