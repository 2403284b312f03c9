"""The submission: buys the labels that are worth their price.

The platform imports this file and calls the three phases of `ZEWDPCBaseRun`. Everything here runs
without the judge (`evaluator/`), on any data set that yields `{"idx", "image", "label"}`.
"""

import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from base_run import RegisterProgress, ZEWDPCBaseRun, ignore_progress
from core.random_streams import stream
from models.configuration import settings_from_table
from models.image_bank import CHUNK, ImageBank, fitting_size
from models.learner import Learner
from models.settings import LearnerSettings
from models.speed import measure_speed
from strategies import registry
from strategies.planner import PlannerSettings, first_epochs
from strategies.pool import PoolView
from strategies.purse import Purse
from strategies.rounds import Rounds, report
from strategies.stock import CostLedger, Labelled, Pool

CONFIG = Path(__file__).with_name("submission.toml")
POOL_READING_SHARE = 0.25  # of the time left goes into reading the pool's images, by plan ...
POOL_READING_OVERRUN = 1.5  # ... and at most this many times as much
SECONDS_IF_NOT_GIVEN = 15 * 60.0  # round 2's shortest compute budget, where no time is named
LATE_FIT_SECONDS = 30.0  # of the prediction phase, whose limit nobody states
UNREAD_BLOCK = 64  # images read together when what was read does not fill the budget


@dataclass(frozen=True)
class Submission:
    """What `submission.toml` may say; the tables become LearnerSettings and PlannerSettings."""

    strategy: str = "winner"
    seed: int = 0
    learner: dict[str, Any] = field(default_factory=dict)
    planner: dict[str, Any] = field(default_factory=dict)


class ZEWDPCRun(ZEWDPCBaseRun):
    """Trains a learner, buys with a strategy in rounds, predicts.

    Parameters
    ----------
    strategy, seed : override `submission.toml`.
    config : another file to read instead of the `submission.toml` beside this one.

    Attributes
    ----------
    drawn : so many of the training set, the first ones, were drawn like the pool, and the others
        chosen; None: all were drawn. Calibration, thresholds and F1 are measured on them.
    looked_at : the views of the pool that the last choice went by.
    chosen : so many of the images bought last the strategy chose itself, having looked; the others
        came without a choice, because there was no time, or nothing to choose among.
    """

    def __init__(
        self,
        strategy: str | None = None,
        seed: int | None = None,
        config: str | Path | None = None,
    ) -> None:
        path = Path(config) if config is not None else CONFIG
        chosen = _read_config(path)
        self.seed = chosen.seed if seed is None else seed
        self.strategy = registry.parse_strategy(chosen.strategy if strategy is None else strategy)
        self.learner_settings = settings_from_table(
            LearnerSettings, chosen.learner, f"{path.name} [learner]"
        )
        if self.learner_settings.members < self.strategy.entry.members:
            raise ValueError(
                f"{self.strategy.name!r} chooses where the learner's nets disagree; it needs "
                f"`members` of at least {self.strategy.entry.members} in {path.name} [learner], "
                f"got {self.learner_settings.members}."
            )
        planner = settings_from_table(PlannerSettings, chosen.planner, f"{path.name} [planner]")
        if not self.learner_settings.warm_start:  # a fresh net needs its full training every time
            planner = replace(planner, refit_epochs=planner.epochs)
        self.planner_settings = planner
        self.looked_at: set[str] = set()
        self.chosen = 0
        self.drawn: int | None = None
        self._purchased = False
        self._start_over()

    def pre_training_phase(
        self,
        training_dataset: Any,
        time_available: float | None = None,
        register_progress: RegisterProgress = ignore_progress,
        *,
        compute_budget: float | None = None,
    ) -> None:
        """Train on what is labelled, in a part of the `time_available` (also `compute_budget`).

        Without either, in the same part of `SECONDS_IF_NOT_GIVEN`.
        """
        seconds = _seconds(time_available, compute_budget)
        started = time.monotonic()
        register_progress(0.0)
        self._prepare(training_dataset, started, seconds)
        register_progress(1.0)

    def purchase_phase(
        self,
        unlabelled_dataset: Any,
        training_dataset: Any,
        budget: int | None = None,
        time_available: float | None = None,
        register_progress: RegisterProgress = ignore_progress,
        *,
        purchase_budget: int | None = None,
        compute_budget: float | None = None,
    ) -> dict[int, Any]:
        """Spend the whole `budget` (also `purchase_budget`) within `time_available` seconds.

        Called again on the same object, it starts from the training set, as a new object would.
        """
        labels = _one_of("budget", budget, "purchase_budget", purchase_budget)
        if labels is None:
            raise TypeError("purchase_phase needs `budget`, the number of labels it may buy.")
        seconds = _seconds(time_available, compute_budget)
        started = time.monotonic()
        ends = started + seconds
        safe_end = ends - self.planner_settings.reserve(seconds)
        register_progress(0.0)
        pre_trained = self._training_source is training_dataset
        if not pre_trained or self._purchased:  # what was bought before is not this purchase's
            self._prepare(training_dataset, started, seconds)
        self._purchased = True
        purse = Purse(unlabelled_dataset, min(int(labels), len(unlabelled_dataset)))
        self.purchase_notes = purse.notes
        if self.strategy.plan == "one":
            self._buy_at_once(purse, unlabelled_dataset)
        rounds = Rounds(
            self.strategy,
            self._learner,
            self.planner_settings,
            self.seed,
            self._ledger,
            progress=register_progress,
        )
        if purse.left:
            pool = self._read_pool(unlabelled_dataset, ends)
            rounds.spend(purse, pool, self._labelled, safe_end)
            self.looked_at, self.chosen = rounds.looked_at, rounds.chosen
        rounds.finish(self._labelled, safe_end)
        register_progress(1.0)
        return {idx: label.to(torch.int64).numpy() for idx, label in purse.bought.items()}

    def prediction_phase(
        self, test_dataset: Any, register_progress: RegisterProgress = ignore_progress
    ) -> np.ndarray:
        """Predict 0/1 labels, uint8 (len(test_dataset), n_classes)."""
        if self._training_source is None:
            raise RuntimeError("prediction_phase was called before pre_training_phase.")
        if not self._labelled.fitted:  # there was no time before; there is no budget now
            epochs = self.planner_settings.refit_epochs
            report("late fit", epochs=epochs, images=len(self._labelled))
            self._learner.fit(
                self._labelled.images,
                self._labelled.labels,
                epochs=epochs,
                deadline=time.monotonic() + LATE_FIT_SECONDS,
                reference=self._labelled.reference,
            )
            self._labelled.fitted = len(self._labelled)
        bank = self._read(test_dataset)
        register_progress(0.5)
        predictions = self._learner.predict(bank.images).numpy()  # (n, C)
        register_progress(1.0)
        return predictions

    @property
    def measured_on(self) -> list[int]:
        """The rows of the training set that the learner is measured on; empty before a fit."""
        return self._learner.measured_rows_.tolist()

    @property
    def validation_f1(self) -> list[float]:
        """The learner's F1 per class, cross-validated on what is labelled; empty before a fit."""
        return self._learner.validation_f1_.tolist() if self._learner.members_ else []

    def _start_over(self) -> None:
        self._learner = Learner(self.learner_settings, self.seed)
        self._ledger = CostLedger(fit=0.0, look=0.0)
        self._training_source: Any = None
        self._purchased = False

    def _read(self, dataset: Any, **how: Any) -> ImageBank:
        return ImageBank.from_dataset(
            dataset, self._size, threads=self.learner_settings.threads, **how
        )

    def _prepare(self, training_dataset: Any, started: float, seconds: float) -> None:
        """Read what is labelled and learn from it, in a part of the `seconds` since `started`."""
        self._read_training(training_dataset)
        if self.strategy.plan != "one":  # who looks at nothing needs no eyes yet
            self._first_fit(started, seconds)

    def _read_training(self, dataset: Any) -> None:
        """Read the labelled images; a learner trained on others starts over."""
        self._start_over()
        self._size = fitting_size(dataset, self._learner.resolved.image_size)
        bank = self._read(dataset, with_labels=True)
        drawn = len(bank) if self.drawn is None else self.drawn
        self._labelled = Labelled(bank.images, cast(Tensor, bank.labels), reference=drawn)
        self._seconds_per_reading = bank.seconds_per_image
        self._training_source = dataset
        speed = measure_speed(self._learner, self._labelled.images, self._labelled.labels)
        self._ledger = CostLedger(fit=speed.fit, look=speed.look)
        report(
            "read",
            images=len(bank),
            pixels=self._size,
            read=bank.seconds_per_image,
            fit=speed.fit,
            look=speed.look,
            device=self._learner.resolved.device,
            backbone=self._learner.resolved.backbone,
            precision=self._learner.resolved.precision,
        )

    def _first_fit(self, started: float, seconds: float) -> None:
        """Train in the time there is, and again for longer where most of it is left over."""
        settings, labelled = self.planner_settings, self._labelled
        rounds = Rounds(self.strategy, self._learner, settings, self.seed, self._ledger)
        deadline = started + (seconds - settings.reserve(seconds)) * settings.pre_training_share
        done = 0
        while (epochs := self._affordable_epochs(deadline)) > done:
            rounds.fit(epochs, labelled, deadline)
            done = epochs

    def _affordable_epochs(self, deadline: float) -> int:
        left = deadline - time.monotonic()
        return first_epochs(self._ledger.costs, len(self._labelled), left, self.planner_settings)

    def _buy_at_once(self, purse: Purse, dataset: Any) -> None:
        """Choose without looking at a single image, and read only those chosen."""
        rng = stream(self.seed, "selection/1")
        view = PoolView(len(dataset), {})
        positions = self.strategy.select(view, purse.left, rng).tolist()
        bank = self._read(dataset, positions=positions)
        labels = [purse.buy(idx) for idx in bank.indices.tolist()]
        if labels:
            self._labelled.add(bank.images, torch.stack(labels))
        for idx in bank.indices.tolist():
            purse.note(idx, 1)
        report("bought", round=1, n=len(labels), labels_left=purse.left)

    def _read_pool(self, dataset: Any, ends: float) -> Pool:
        """Read the pool, or the share of it that there is time to read, drawn at random.

        There is always a deadline: the pool may lie on slower storage than the training set, by
        whose reading the time was estimated. Sorted only inside its chunks, what was read when it
        comes is still a random sample.
        """
        seconds = POOL_READING_SHARE * (ends - time.monotonic())
        affordable = seconds / max(self._seconds_per_reading, 1e-9)
        order = torch.randperm(len(dataset), generator=stream(self.seed, "pool/order")).tolist()
        wanted = order[: max(1, int(min(affordable, len(dataset))))]
        chunks = (sorted(wanted[start : start + CHUNK]) for start in range(0, len(wanted), CHUNK))
        bank = self._read(
            dataset,
            positions=list(chain.from_iterable(chunks)),
            deadline=time.monotonic() + POOL_READING_OVERRUN * seconds,
        )
        report("pool", images=len(dataset), read=len(bank), seconds_each=bank.seconds_per_image)
        return Pool(bank.images, bank.indices, self._unread(dataset, order[len(bank) :]))

    def _unread(self, dataset: Any, positions: list[int]) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, len(positions), UNREAD_BLOCK):
            bank = self._read(dataset, positions=positions[start : start + UNREAD_BLOCK])
            yield from zip(bank.indices.tolist(), bank.images, strict=True)


def describe_strategies() -> list[dict[str, str]]:
    """Every strategy that can be named: name, one line on it, where it comes from, parameters."""
    return [
        {
            "name": entry.name,
            "summary": entry.summary,
            "source": entry.source,
            "parameters": entry.defaults,
        }
        for entry in registry.load().values()
    ]


def _one_of(name: str, value: Any, other_name: str, other: Any) -> Any:
    """One argument under two spellings."""
    if value is not None and other is not None and value != other:
        raise TypeError(
            f"`{name}` and `{other_name}` mean the same, but came as {value} and {other}."
        )
    return value if value is not None else other


def _seconds(time_available: float | None, compute_budget: float | None) -> float:
    """The time given under either spelling; a bounded one where none was."""
    given = _one_of("time_available", time_available, "compute_budget", compute_budget)
    if given is not None:
        return float(given)
    report("no time given", seconds_taken=SECONDS_IF_NOT_GIVEN)
    return SECONDS_IF_NOT_GIVEN


def _read_config(path: Path) -> Submission:
    if not path.exists():
        raise FileNotFoundError(
            f"There is no {path}. It says which strategy buys; take submission.toml from the "
            "repository, or pass `config=` with the path of your own."
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    return settings_from_table(Submission, table, path.name)


ZEWDPCBaseRun = ZEWDPCRun  # type: ignore[misc]  # the platform does `from run import ZEWDPCBaseRun`
