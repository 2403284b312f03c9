"""Which kind of learner to buy with: the one that cross-validates best on what is labelled."""

import time
from functools import partial
from typing import Any

from core.pretrained.imagenet_weights import WeightsError
from models.calibration import is_near_chance
from models.image_bank import Clock, ImageBank, fitting_size
from models.kinds import build_learner
from models.learner import Learner
from models.networks import SMALL
from models.settings import LearnerSettings
from strategies.events import Event, OnEvent, log_event
from strategies.registry import ConfiguredStrategy
from strategies.session import NewLearner, Session

PROBED = 8  # images read to see how long reading takes
LOADING_SECONDS = 20.0  # loading a large network takes some, and no deadline can interrupt it
READING_SHARE = 0.5  # of a learner's time; one that needs more to read what is labelled is left out


def open_fitted(
    labelled: Any,
    settings: LearnerSettings,
    strategy: ConfiguredStrategy,
    seed: int,
    *,
    epochs: int,
    ends: float,
    n_calibration: int | None = None,
    clock: Clock = time.monotonic,
    on_event: OnEvent = log_event,
    new_learner: NewLearner = build_learner,
) -> Session:
    """A session without a pool, its learner trained on `labelled` for at most `epochs`.

    Of several kinds of learner (`LearnerSettings.candidates`), each is trained in an equal share of
    the time until `ends`, on the clock, and the one of the highest mean F1 out of fold is kept. All
    have the same folds. A kind that cannot be loaded and read what is labelled in its share, or
    whose weights are damaged, is left out. A strategy that does not look at the pool needs no
    learner to choose: it gets the small network, untrained. Other arguments are those of
    `Session.open`.
    """
    candidates = settings.candidates()
    open_session = partial(
        Session.open,
        labelled,
        None,
        strategy=strategy,
        seed=seed,
        n_calibration=n_calibration,
        clock=clock,
        on_event=on_event,
        new_learner=new_learner,
    )
    if not strategy.looks or len(candidates) == 1:
        session = open_session(settings)
        if strategy.looks:
            session.fit_in_time(epochs, ends)
        return session
    best: Session | None = None
    scores: dict[str, float] = {}
    at_chance: list[str] = []
    for number, candidate in enumerate(candidates):
        now = clock()
        until = now + (ends - now) / (len(candidates) - number)
        try:
            if candidate.backbone != SMALL and until - now < LOADING_SECONDS:
                reason = f"{until - now:.0f} seconds are too few to load a network"
            else:
                reason = _too_slow(new_learner(candidate, seed, clock), labelled, until - now)
            if reason:
                on_event(Event("learner_left_out", {"learner": candidate.backbone, "why": reason}))
                continue
            session = open_session(candidate)
        except WeightsError as error:
            on_event(Event("learner_left_out", {"learner": candidate.backbone, "why": str(error)}))
            continue
        session.fit_in_time(epochs, until)
        if not session.n_fitted:
            best = best or session
            continue
        f1, rows = session.learner.validation_f1_, session.learner.calibration_rows_
        scores[candidate.backbone] = float(f1.mean())
        if is_near_chance(f1, session.labelled.labels[rows]):
            at_chance.append(candidate.backbone)
        if best is None or not best.n_fitted or f1.mean() > best.learner.validation_f1_.mean():
            best = session
    if best is None:  # not even the small network could read its images in time
        best = open_session(candidates[-1])
    on_event(
        Event(
            "learner_choice",
            {
                "chosen": best.learner.settings.backbone,
                "f1_out_of_fold": {name: round(score, 3) for name, score in scores.items()},
                "at_chance": at_chance,
            },
        )
    )
    return best


def _too_slow(learner: Learner, labelled: Any, seconds: float) -> str:
    """Why `learner` cannot read `labelled` in its share of the `seconds`; "" where it can."""
    positions = range(min(PROBED, len(labelled)))
    read = partial(
        ImageBank.from_dataset,
        labelled,
        fitting_size(labelled, learner.resolved.image_size),
        positions=positions,
        threads=learner.settings.threads,
        clock=learner.clock,
        encode=learner.encode,
    )
    read()  # what is done once, such as loading weights
    needed = read().seconds_per_image * len(labelled)
    if needed <= READING_SHARE * seconds:
        return ""
    return f"reading {len(labelled)} images would take {needed:.0f} of {seconds:.0f} seconds"
