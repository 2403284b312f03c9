"""What a trial is, what can become of it, and the names it goes by in the journal."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["ok", "timeout", "over_budget", "out_of_memory", "crashed", "bad_output"]
PHASES = ("pre_training", "purchase", "prediction")
# Rows that the evaluator adds: nothing bought, everything bought.
REFERENCES = ("none", "all")
# A row that it used to add. Older journals hold it: `report` leaves it out, and no strategy may
# have its name.
REMOVED_REFERENCE = "oracle"
# What a line of purchases.jsonl or scores.jsonl must have; the other fields came later. The key
# says what the line is about.
PURCHASE_KEY = ("trial",)
PURCHASE_FIELDS = (
    "dataset", "strategy", "budget", "minutes", "seed", "status", "purchased", "seconds"
)  # fmt: skip
SCORE_KEY = ("trial", "pipeline", "training_seed")
SCORE_FIELDS = ("status", "macro_f1", "f1_per_class", "seconds")

LONGEST_NAME = 120  # characters of a trial's name before its digest; it names files
DEFAULT = "default"  # how a submission's own strategy is shown, where none was named


def digest_of(rows: Iterable[int]) -> str:
    """What a set of rows of the pool is known by, in whatever order they were bought."""
    text = " ".join(map(str, sorted(set(rows))))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def is_score_of(score: Mapping[str, Any], purchased: Iterable[int]) -> bool:
    """Whether a record of scores.jsonl is of this purchase, and not of one that was made before."""
    return not score.get("bought") or score["bought"] == digest_of(purchased)


@dataclass(frozen=True, order=True)
class Pair:
    """A purchase budget in labels and a compute budget in minutes."""

    budget: int
    minutes: float

    def __str__(self) -> str:
        short = f"{self.minutes:g}"  # six digits; another number of minutes is another trial
        return f"{self.budget}:{short if float(short) == self.minutes else self.minutes}"


def row_label(strategy: str | None, submission: str = "") -> str:
    """How tables name a submission and its strategy: `entropy`, `default`, `mine/entropy`, `mine`.

    `submission` is given where several are compared.
    """
    if not submission:
        return DEFAULT if strategy is None else strategy
    return submission if strategy is None else f"{submission}/{strategy}"


@dataclass(frozen=True)
class Trial:
    """One purchase run: who buys, on what data, with which budgets, under which seed.

    `strategy` is None where the submission's own default buys. `pair` is None for the evaluator's
    reference rows, which have no budget. `code` is the digest of the submission's files: changed
    code makes another trial. `conditions` are the evaluator's: the memory it allows, which images
    are predicted, how the submission runs. `submission` is a name, where several are compared.
    """

    dataset: str
    fingerprint: str
    strategy: str | None
    pair: Pair | None
    seed: int
    code: str = ""
    conditions: str = ""
    submission: str = ""

    @property
    def label(self) -> str:
        """The row of a table that it belongs to."""
        return row_label(self.strategy, self.submission)

    @property
    def title(self) -> str:
        """For a person: `entropy 621:17 seed 2`."""
        pair = f" {self.pair}" if self.pair else ""
        return f"{self.label}{pair} seed {self.seed}"

    @property
    def identity(self) -> str:
        """Its name in journals and file names; equal for equal trials and for no others.

        What the submission is called is not part of it: the same code makes the same trial.
        """
        strategy = self.strategy or ""
        exact = (
            f"{self.dataset}|{self.fingerprint}|{strategy}|{self.pair}|{self.code}"
            f"|{self.conditions}"
        )
        digest = hashlib.blake2b(exact.encode(), digest_size=4).hexdigest()
        pair = f"-{self.pair.budget}x{self.pair.minutes:g}" if self.pair else ""
        readable = re.sub(r"[^\w.=-]+", "_", f"{strategy or DEFAULT}{pair}-seed{self.seed}")
        return f"{readable[-LONGEST_NAME:]}-{digest}"


@dataclass(frozen=True)
class PurchaseRecord:
    """One line of `purchases.jsonl`. Seconds are the evaluator's; indices are rows of the pool."""

    trial: str
    dataset: str
    strategy: str | None
    budget: int | None
    minutes: float | None
    seed: int
    status: Status
    reason: str
    purchased: list[int]
    seconds: dict[str, float]
    own_macro_f1: float | None
    refused: int = 0
    left_running: int = 0
    warnings: tuple[str, ...] = ()
    peak_memory: int = 0  # bytes
    fingerprint: str = ""  # of the data set
    code: str = ""  # of the submission; see Trial
    conditions: str = ""
    device: str = ""  # of the machine that it was made on: minutes are worth what that can do
    revision: str = ""  # of the submission's folder in git
    versions: dict[str, str] = field(default_factory=dict)
    submission: str = ""  # its name, where several are compared

    @classmethod
    def of(cls, trial: Trial, **outcome: Any) -> "PurchaseRecord":
        """The record of `trial`, which says what was to be bought; `outcome` what became of it."""
        return cls(
            trial=trial.identity,
            dataset=trial.dataset,
            strategy=trial.strategy,
            budget=trial.pair.budget if trial.pair else None,
            minutes=trial.pair.minutes if trial.pair else None,
            seed=trial.seed,
            fingerprint=trial.fingerprint,
            code=trial.code,
            conditions=trial.conditions,
            submission=trial.submission,
            **outcome,
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ScoreRecord:
    """One line of `scores.jsonl`: one post-purchase training of what one trial bought."""

    trial: str
    pipeline: str
    training_seed: int
    status: str
    macro_f1: float | None  # None, like the other metrics, where the training failed
    accuracy: float | None
    hamming_loss: float | None
    f1_per_class: dict[str, float]
    n_training: int
    n_purchased: int
    seconds: float
    configuration: str = ""  # of the trainer: a score made by other code is not this score
    reason: str = ""  # why it failed
    bought: str = ""  # `digest_of` the purchase that was trained on; "" in older journals
    device: str = ""
    revision: str = ""  # of the evaluator's folder in git
    versions: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
