"""How many rounds, of what size, after how much training: decided from measured seconds.

Pure functions of times and counts; whoever buys reads the clock (`run.py`). It asks for a plan
before every round, follows its first step, and asks again with what that step really took. So no
step has to be right: it only has to leave enough time to spend what is left.
"""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from annotated_types import Interval
from pydantic.dataclasses import dataclass as pydantic_dataclass

from models.validation import STRICT

Kind = Literal["single-batch", "adaptive", "zew-winner"]

# The first chunk of the challenge's first place, as shares of the budget, or of FIRST_CHUNK_LABELS
# where that is less.
FIRST_CHUNK_SHARES = (0.30, 0.40, 0.50, 0.60, 0.70, 0.80, 0.90, 0.95)
FIRST_CHUNK_LABELS = 1000
# Few, so that small changes of the measured speed seldom change the plan.
EPOCHS = (640, 480, 320, 240, 160, 120, 80, 60, 40, 30, 25, 20, 15, 12, 10, 8, 6, 5, 4, 3, 2, 1)
ESTIMATE_ERROR = 1.15  # what is planned may take this much longer than measured
OVERRUN = 2.0  # a fit may take this much longer than planned ...
SLACK_SHARE = 0.25  # ... and this share of the time that nothing is planned for
MOST_ROUNDS = 100  # a plan takes time with its square
GUESSED = 0.005  # seconds to choose a label and to buy one, until the first were measured


@pydantic_dataclass(frozen=True, config=STRICT)
class PlannerSettings:
    """What the planner may do.

    epochs : of the first fit, at most. refit_epochs : of every later one, at most.
    max_rounds : rounds of buying, at most, where the strategy says "auto".
    pre_training_share : of the safe time, spent before the first purchase at most.
    reserve_share, reserve_seconds : the last part of the time left that is never planned with:
        this share of it, but no more than this many seconds.
    final_fit : train on everything bought for the prediction phase, if time permits.
    """

    epochs: Annotated[int, Interval(ge=1)] = 30
    refit_epochs: Annotated[int, Interval(ge=1)] = 10
    max_rounds: Annotated[int, Interval(ge=1, le=MOST_ROUNDS)] = 4
    pre_training_share: Annotated[float, Interval(gt=0, lt=1)] = 0.4
    reserve_share: Annotated[float, Interval(gt=0, lt=1)] = 0.15
    reserve_seconds: Annotated[float, Interval(ge=0)] = 120.0
    final_fit: bool = True

    def reserve(self, seconds: float) -> float:
        """Seconds of `seconds` that stay unplanned: for stalls, and for what was not foreseen."""
        return min(self.reserve_share * seconds, self.reserve_seconds)


@dataclass(frozen=True)
class Costs:
    """What things take here, in seconds: per labelled image and epoch of a fit, per pool image
    looked at, per label chosen, per label bought."""

    fit: float
    look: float
    choose: float = GUESSED
    buy: float = GUESSED


class CostModel:
    """Seconds per unit of work: medians of what was observed, so that one stall does not rule.

    fit, look : what they are believed to take until the first was observed.
    """

    def __init__(self, fit: float, look: float) -> None:
        self._prior = Costs(fit, look)
        self._observed: dict[str, list[float]] = {}

    def observe(self, what: str, seconds: float, units: float) -> None:
        """Record that `units` of work took `seconds`; the prior belief about it is dropped.

        what : "fit", "look", "choose" or "buy"; a unit is that of the same field of `Costs`.
        """
        if units > 0:
            self._observed.setdefault(what, []).append(seconds / units)

    @property
    def costs(self) -> Costs:
        """The costs as they are believed to be now."""
        observed = {what: statistics.median(values) for what, values in self._observed.items()}
        return replace(self._prior, **observed)


@dataclass(frozen=True)
class PlanningState:
    """Where a purchase stands.

    labelled, pool, budget : images labelled, images that can be looked at, labels that remain.
    rounds : of the whole purchase, as the strategy asks; None: as many as the clock allows.
    done, spent : rounds and labels before now.
    fitted : the learner has been trained on all that is labelled.
    """

    labelled: int
    pool: int
    budget: int
    rounds: int | None = None
    done: int = 0
    spent: int = 0
    fitted: bool = False


@dataclass(frozen=True)
class Step:
    """Train for `epochs` (0: keep the learner as it is), look at `look` images (0: keep the last
    look), buy `buy` of them."""

    epochs: int
    look: int
    buy: int


@dataclass(frozen=True)
class Plan:
    """Steps that spend the whole budget, and the seconds they should take, buying left out."""

    steps: tuple[Step, ...]
    seconds: float


def affordable_epochs(costs: Costs, labelled: int, seconds: float, most: int) -> int:
    """Epochs over `labelled` images that fit in `seconds`: at most `most`, at least one."""
    affordable = seconds / max(costs.fit * labelled * ESTIMATE_ERROR, 1e-9)
    return _epochs(most, affordable)


def affordable_look(costs: Costs, pool: int, k: int, seconds: float) -> int:
    """Of `pool` images, those that can be looked at in `seconds`, with a choice of `k` after it.

    All, or 0 where they would be fewer than `k`: then there is nothing to choose among.
    """
    spare = seconds / ESTIMATE_ERROR - costs.choose * k
    look = math.floor(min(pool, spare / max(costs.look, 1e-9)))
    return look if look >= min(k, pool) else 0


def final_epochs(
    costs: Costs, labelled: int, seconds: float, settings: PlannerSettings, fitted: bool
) -> int:
    """Epochs of the fit after the last purchase; 0 where there is no time for two.

    `fitted`: the learner has been trained before, if not on all of it.
    """
    affordable = seconds / max(costs.fit * labelled * ESTIMATE_ERROR, 1e-9)
    most = settings.refit_epochs if fitted else settings.epochs
    return 0 if affordable < 2 else _epochs(most, affordable)


def fit_deadline(planned: float, now: float, latest: float) -> float:
    """When to cut off a fit that should take `planned` seconds and must end by `latest`.

    Where time is plentiful this lies far off, so that the clock, which no two runs share, does
    not reach into what is learned.
    """
    slack = max(0.0, latest - now - OVERRUN * planned)
    return min(latest, now + OVERRUN * planned + SLACK_SHARE * slack)


def plan_purchase(
    kind: Kind, costs: Costs, now: PlanningState, seconds: float, settings: PlannerSettings
) -> Plan:
    """The first of the candidate plans that takes no more than `seconds`, buying included.

    Where not even one look at the pool fits, it looks at as much of the pool as it can; where that
    is less than the budget, at nothing, and labels go by the last look, or at random.
    """
    seconds -= costs.buy * now.budget * ESTIMATE_ERROR
    for steps in _candidate_plans(kind, now, settings):
        plan = Plan(steps, _seconds(steps, costs, now.labelled))
        if plan.seconds <= seconds:
            return plan
    steps = (Step(0, affordable_look(costs, now.pool, now.budget, seconds), now.budget),)
    return Plan(steps, _seconds(steps, costs, now.labelled))


def _candidate_plans(
    kind: Kind, now: PlanningState, settings: PlannerSettings
) -> Iterator[tuple[Step, ...]]:
    """Plans worth having, best first."""
    full = settings.refit_epochs
    one_round = _steps([now.budget], full, now)
    if kind == "zew-winner" and now.rounds is None:
        scale = min(now.budget + now.spent, FIRST_CHUNK_LABELS)
        for share in FIRST_CHUNK_SHARES:
            yield _steps(_chunks(now.budget, math.ceil(share * scale)), full, now)
        yield one_round
        return
    most = now.rounds or (1 if kind == "single-batch" else settings.max_rounds)
    most = max(1, min(most - now.done, now.budget))
    shares = (1.0, 0.6, 0.3)
    for rounds in range(most, 1, -1):
        for share in shares[: 1 if rounds > 3 else 3]:
            yield _steps(_even(now.budget, rounds), _epochs(full, share * full), now)
    yield one_round


def _steps(sizes: list[int], epochs: int, now: PlanningState) -> tuple[Step, ...]:
    """Rounds of `sizes`, each after a fit of `epochs`; the first without, if it is fitted."""
    return tuple(
        Step(0 if now.fitted and number == 0 else epochs, now.pool, size)
        for number, size in enumerate(sizes)
    )


def _seconds(steps: tuple[Step, ...], costs: Costs, labelled: int) -> float:
    total = 0.0
    for step in steps:
        total += step.epochs * labelled * costs.fit + step.look * costs.look
        total += step.buy * costs.choose
        labelled += step.buy
    return total * ESTIMATE_ERROR


def _even(budget: int, rounds: int) -> list[int]:
    return [budget * (i + 1) // rounds - budget * i // rounds for i in range(rounds)]


def _chunks(budget: int, size: int) -> list[int]:
    """Chunks of `size`, the last one smaller; a rest under a tenth of one goes to the last."""
    count = max(1, math.ceil(budget / size - 0.1))
    return [size] * (count - 1) + [budget - size * (count - 1)]


def _epochs(most: int, affordable: float) -> int:
    if affordable >= most:
        return most
    return next((step for step in EPOCHS if step <= affordable), 1)
