"""What journals hold of each trial, whether one judge wrote them by a plan or several did."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from evaluator.records.journal import Record
from evaluator.records.trial import REFERENCES, Pair

Training = tuple[str, int]  # pipeline, training seed
Metric = Literal["macro_f1", "accuracy", "hamming_loss"]  # the first ranks


@dataclass(frozen=True)
class TrialResult:
    """One purchase and what became of it; None: not in the journals (yet)."""

    strategy: str
    pair: Pair | None  # None: of `none` and `all`, which know no budget
    seed: int
    purchase: Record | None
    scores: Mapping[Training, Record | None]

    @property
    def failure(self) -> str | None:
        """Pair, seed and status of a purchase that did not end well."""
        if self.purchase is None or self.purchase["status"] == "ok":
            return None
        return f"{self.pair} seed {self.seed}: {self.purchase['status']}"

    def score(self, training: Training, metric: Metric = "macro_f1") -> float:
        """NaN where there is no score: not trained yet, or the training failed."""
        value = (self.scores[training] or {}).get(metric)
        return math.nan if value is None else value

    def failed_training(self, training: Training) -> str | None:
        """Words for a training that was made and has no score."""
        record = self.scores[training]
        if record is None or record["macro_f1"] is not None:
            return None
        return f"{self.pair or 'any'} seed {self.seed}: training {training[0]} {record['status']}"


@dataclass(frozen=True)
class Results:
    """Trials of one data set; `notices` say what was left out on the way."""

    dataset: str
    trials: tuple[TrialResult, ...]
    notices: tuple[str, ...] = ()

    @property
    def strategies(self) -> tuple[str, ...]:
        """Without the judge's own rows, in the order met."""
        names = dict.fromkeys(trial.strategy for trial in self.trials)
        return tuple(name for name in names if name not in REFERENCES)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return tuple(sorted({trial.pair for trial in self.trials if trial.pair}))
