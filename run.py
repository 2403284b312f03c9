"""The submission: buys the labels that are worth their price.

The platform calls the three phases of `ZEWDPCBaseRun`; nothing here needs the evaluator.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from base_run import RegisterProgress, ZEWDPCBaseRun, ignore_progress
from core.user_account import ensure_user_and_home
from models.image_bank import Clock, ImageBank
from models.kinds import build_learner
from strategies.acquisition_loop import AcquisitionLoop
from strategies.configuration import SubmissionConfig
from strategies.events import Event, OnEvent, log_event, print_log_unless_configured
from strategies.label_budget import LabelBudget
from strategies.learner_choice import open_fitted
from strategies.registry import describe_strategies as describe_strategies
from strategies.session import NewLearner, Session

CONFIG = Path(__file__).with_name("submission.toml")
SECONDS_IF_NOT_GIVEN = 15 * 60.0  # round 2's shortest compute budget, where no time is named
LATE_FIT_SECONDS = 30.0  # of the prediction phase, whose limit nobody states


class ZEWDPCRun(ZEWDPCBaseRun):
    """Trains a learner, buys with a strategy in rounds, predicts.

    Parameters
    ----------
    strategy, seed : override `submission.toml`.
    config : another file to read instead of the `submission.toml` beside this one.
    clock, on_event, new_learner : see `strategies.session.Session`.
    """

    def __init__(
        self,
        strategy: str | None = None,
        seed: int | None = None,
        config: str | Path | None = None,
        *,
        clock: Clock = time.monotonic,
        on_event: OnEvent = log_event,
        new_learner: NewLearner = build_learner,
    ) -> None:
        ensure_user_and_home()
        print_log_unless_configured()
        self.config = SubmissionConfig.read(Path(config or CONFIG), strategy, seed)
        self.clock, self.on_event, self.new_learner = clock, on_event, new_learner
        self._session: Session  # made in `_prepare`
        self._training_source: Any = None  # what it was trained on
        self._purchased = False  # with it

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
        started, seconds = self.clock(), self._seconds(time_available, compute_budget)
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
        if (labels := _one_of("budget", budget, "purchase_budget", purchase_budget)) is None:
            raise TypeError("purchase_phase needs `budget`, the number of labels it may buy.")
        started, seconds = self.clock(), self._seconds(time_available, compute_budget)
        ends, planner = started + seconds, self.config.planner
        register_progress(0.0)
        if self._purchased or self._training_source is not training_dataset:
            self._prepare(training_dataset, started, seconds)
        session, self._purchased = self._session, True
        session.open_pool(unlabelled_dataset)
        bought = LabelBudget(unlabelled_dataset, min(int(labels), len(unlabelled_dataset)))
        loop = AcquisitionLoop(session, bought, planner, ends - planner.reserve(seconds))
        self.purchase_notes = loop.notes
        if session.strategy.looks and bought.remaining:
            session.read_pool(ends)
        loop.run(register_progress)
        loop.fit_for_prediction()
        register_progress(1.0)
        return {idx: label.numpy().astype(np.int64) for idx, label in bought.labels.items()}

    def prediction_phase(
        self, test_dataset: Any, register_progress: RegisterProgress = ignore_progress
    ) -> np.ndarray:
        """Predict 0/1 labels, uint8 (len(test_dataset), n_classes)."""
        if self._training_source is None:
            raise RuntimeError("prediction_phase was called before pre_training_phase.")
        session = self._session
        if not session.n_fitted:  # there was no time before
            epochs, deadline = self.config.planner.refit_epochs, self.clock() + LATE_FIT_SECONDS
            session.fit(epochs, deadline, skip_if_late=False)
        learner, size, threads = session.learner, session.labelled.size, self.config.learner.threads
        bank = ImageBank.from_dataset(test_dataset, size, threads=threads, encode=learner.encode)
        register_progress(0.5)
        predictions = learner.predict(bank.images).numpy()  # (n, C)
        register_progress(1.0)
        return predictions

    def _prepare(self, training_dataset: Any, started: float, seconds: float) -> None:
        """Read what is labelled and learn from it, in a part of the `seconds` since `started`."""
        config, planner = self.config, self.config.planner
        self._training_source = None  # until all has gone well
        share = (seconds - planner.reserve(seconds)) * planner.pre_training_share
        self._session = open_fitted(
            training_dataset,
            config.learner,
            config.strategy,
            config.seed,
            epochs=planner.epochs,
            ends=started + share,
            clock=self.clock,
            on_event=self.on_event,
            new_learner=self.new_learner,
        )
        self._training_source, self._purchased = training_dataset, False

    def _seconds(self, time_available: float | None, compute_budget: float | None) -> float:
        """The time given under either spelling; a bounded one where none was."""
        given = _one_of("time_available", time_available, "compute_budget", compute_budget)
        if given is None:
            self.on_event(Event("no_time_given", {"seconds_taken": SECONDS_IF_NOT_GIVEN}))
            return SECONDS_IF_NOT_GIVEN
        return float(given)


def _one_of(name: str, value: Any, other_name: str, other: Any) -> Any:
    """One argument under two spellings."""
    if value is not None and other is not None and value != other:
        raise TypeError(f"`{name}` is {value} and `{other_name}` is {other}; they mean the same.")
    return value if value is not None else other


ZEWDPCBaseRun = ZEWDPCRun  # type: ignore[misc]  # the platform does `from run import ZEWDPCBaseRun`
