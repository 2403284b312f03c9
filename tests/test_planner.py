"""The planner and the rounds, under a simulated clock: always the whole budget, never too late."""

import random
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.learner import Sight
from models.training import DeadlineReached
from strategies.planner import (
    ESTIMATE_ERROR,
    Costs,
    PlannerSettings,
    Situation,
    first_epochs,
    plan_purchase,
)
from strategies.pool import PoolView
from strategies.purse import Purse
from strategies.rounds import Rounds
from strategies.stock import CostLedger, Labelled, Pool

N_CLASSES = 3
T4_FIT, T4_LOOK = 3 / 500, 3 / 1500  # seconds an image on the machine at speed 1, three members


class Clock:
    """Time that passes only where work is done; each piece of work with jitter."""

    def __init__(self, jitter: float, seed: int) -> None:
        self.now = 1000.0
        self.jitter = jitter
        self.stalls: list[tuple[float, float]] = []  # (when, how long)
        self._random = random.Random(seed)

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds * self._random.uniform(1 - self.jitter, 1 + self.jitter)
        while self.stalls and self.now >= self.stalls[0][0]:
            self.now += self.stalls.pop(0)[1]


@dataclass
class SimulatedLearner:
    """Takes time as a learner would, batch by batch, and sees noise."""

    clock: Clock
    fit_cost: float
    look_cost: float
    first_fit_factor: float = 1.0
    batch: int = 64
    waking: float = 0.0  # seconds of the first fit that go into making the nets
    trained: bool = False
    log: list[str] = field(default_factory=list)

    thresholds_ = torch.full((N_CLASSES,), 0.5)
    validation_f1_ = torch.full((N_CLASSES,), 0.5)
    labelled_probabilities_ = torch.empty(0, N_CLASSES)
    epochs_ = 0.0

    def fit(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        epochs: int,
        deadline: float | None = None,
        reference: int | None = None,
    ) -> None:
        cost, self.first_fit_factor = self.fit_cost * self.first_fit_factor, 1.0
        seen, total = 0, epochs * len(images)
        self.clock.work(self.waking)
        self.waking = 0.0
        while seen < total and not (deadline is not None and self.clock() >= deadline):
            self.clock.work(cost * min(self.batch, total - seen))
            seen += min(self.batch, total - seen)
        self.clock.work(self.look_cost * len(images))  # what a lone member held out, and the rest
        self.epochs_ = seen / len(images)
        self.trained |= seen > 0
        self.log.append(f"fit {self.epochs_:.1f} of {epochs}")

    def look(self, images: Tensor, deadline: float | None = None) -> Sight:
        assert self.trained, "it has never been trained"
        for start in range(0, len(images), 4 * self.batch):
            if deadline is not None and self.clock() >= deadline:
                raise DeadlineReached(f"{start} of {len(images)}")
            self.clock.work(self.look_cost * len(images[start : start + 4 * self.batch]))
        self.log.append(f"look {len(images)}")
        n = len(images)
        rng = torch.Generator().manual_seed(n)
        p = torch.rand(n, N_CLASSES, generator=rng)
        return Sight(p, torch.zeros(n, 2), p[None])


@dataclass
class SimulatedStrategy:
    clock: Clock
    plan: str = "adaptive"
    rounds: int | str = "auto"
    seconds: float = 1.0
    name: str = "simulated"

    def select(self, pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
        self.clock.work(self.seconds)
        return pool.probabilities.mean(1).topk(k).indices


class Seller:
    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds, self.sold = clock, seconds, set()

    def purchase_label(self, idx: int) -> list[int]:
        assert idx not in self.sold
        self.sold.add(idx)
        self.clock.work(self.seconds)
        return [idx % 2, 0, 1]


@pytest.mark.parametrize("label", [[0.5, 1], [float("nan"), 0], [-1, 1]])
def test_a_label_that_is_none_is_refused(label: list[float]) -> None:
    class Clerk:
        def purchase_label(self, idx: int) -> list[float]:
            return label

    with pytest.raises(ValueError, match="expected 0 or 1 per class"):
        Purse(Clerk(), 3).buy(0)


@dataclass
class Outcome:
    bought: int
    left: float  # seconds left at the end
    spare: float  # seconds left then before the safe end
    rounds: int
    learner: SimulatedLearner


def simulate(
    budget: int,
    seconds: float,
    speed: float,
    *,
    kind: str = "adaptive",
    jitter: float = 0.3,
    stall: float = 0.0,
    stall_at: float = 0.5,
    first_fit_factor: float = 1.0,
    n_pool: int = 10_000,
    n_labelled: int = 1000,
    choose: float = 1.0,
    buy: float = 0.004,
    batch: int = 64,
    seed: int = 0,
) -> Outcome:
    """Pre-training, purchase and final fit as `run.py` does them, on a simulated machine."""
    clock = Clock(jitter, seed)
    began, settings = clock(), PlannerSettings()
    ends = began + seconds
    if stall:
        clock.stalls.append((began + stall_at * seconds, stall))
    learner = SimulatedLearner(clock, T4_FIT / speed, T4_LOOK / speed, first_fit_factor, batch)
    strategy = SimulatedStrategy(clock, kind, seconds=choose)
    ledger = CostLedger(fit=T4_FIT / speed, look=T4_LOOK / speed)
    rounds = Rounds(strategy, learner, settings, seed, ledger, clock=clock)
    labelled = Labelled(
        torch.zeros(n_labelled, 3, 1, 1, dtype=torch.uint8), torch.zeros(n_labelled, 3), n_labelled
    )
    safe = (seconds - settings.reserve(seconds)) * settings.pre_training_share
    epochs = first_epochs(ledger.costs, n_labelled, safe, settings)
    rounds.fit(epochs, labelled, began + safe)

    seller = Seller(clock, buy)
    purse = Purse(seller, budget)
    pool = Pool(torch.zeros(n_pool, 3, 1, 1, dtype=torch.uint8), torch.arange(n_pool), iter(()))
    safe_end = ends - settings.reserve(ends - clock())
    rounds.spend(purse, pool, labelled, safe_end)
    rounds.finish(labelled, safe_end)
    assert len(labelled) == n_labelled + budget
    return Outcome(
        len(seller.sold), ends - clock(), safe_end - clock(), strategy_rounds(learner), learner
    )


def strategy_rounds(learner: SimulatedLearner) -> int:
    return sum(line.startswith("look") for line in learner.log)


TROUBLES = {
    "none": {},
    "jitter": {"jitter": 0.9},
    "a stall of a minute early": {"stall": 60.0, "stall_at": 0.1},
    "a stall of a minute in the middle": {"stall": 60.0, "stall_at": 0.5},
    "a stall of a minute late": {"stall": 60.0, "stall_at": 0.8},
    "a stall of a minute near the end": {"stall": 60.0, "stall_at": 0.9},
    "a first fit three times as long": {"first_fit_factor": 3.0},
    "slow purchases": {"buy": 0.05},
    "a slow strategy": {"choose": 15.0},
}


@pytest.mark.parametrize("kind", ["adaptive", "ladder"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_every_corner_of_the_challenge_is_bought_out_in_time(kind: str, trouble: str) -> None:
    for budget in (500, 2000):
        for minutes in (15, 60):
            for speed in (0.05, 0.3, 1.0, 20.0):
                outcome = simulate(budget, 60 * minutes, speed, kind=kind, **TROUBLES[trouble])
                assert outcome.bought == budget
                assert outcome.left > 0, (budget, minutes, speed)


@pytest.mark.parametrize("kind", ["adaptive", "ladder"])
@pytest.mark.parametrize("waking", [0.0, 3.0])
def test_however_little_time_there_is_it_never_looks_with_untrained_eyes(
    kind: str, waking: float
) -> None:
    for tenths in range(120):
        clock = Clock(0.0, 0)
        learner = SimulatedLearner(clock, fit_cost=0.001, look_cost=0.001, waking=waking)
        ledger = CostLedger(fit=0.001, look=0.001)
        strategy = SimulatedStrategy(clock, kind)
        rounds = Rounds(strategy, learner, PlannerSettings(), 0, ledger, clock=clock)
        labelled = Labelled(
            torch.zeros(100, 3, 1, 1, dtype=torch.uint8), torch.zeros(100, 3), reference=100
        )
        pool = Pool(torch.zeros(400, 3, 1, 1, dtype=torch.uint8), torch.arange(400), iter(()))
        purse = Purse(Seller(clock, 0.0), 50)
        rounds.spend(purse, pool, labelled, clock() + tenths / 10)
        assert len(purse.bought) == 50


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    budget=st.integers(500, 2000),
    minutes=st.floats(15, 60),
    log_speed=st.floats(-3.0, 3.0),  # 0.05x to 20x
    kind=st.sampled_from(["adaptive", "ladder"]),
    jitter=st.floats(0, 0.9),
    stall=st.sampled_from([0.0, 60.0]),
    stall_at=st.floats(0, 1),
    first_fit_factor=st.floats(0.5, 3.0),
    seed=st.integers(0, 99),
)
def test_anywhere_in_the_challenge_and_whatever_goes_wrong(
    budget: int, minutes: float, log_speed: float, **trouble: object
) -> None:
    outcome = simulate(budget, 60 * minutes, 2.718281828**log_speed, **trouble)
    assert outcome.bought == budget
    assert outcome.left > 0


@pytest.mark.parametrize("minutes", [1, 2, 3, 6])
@pytest.mark.parametrize("speed", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("first_fit_factor", [1.0, 3.0])
def test_a_processor_with_minutes_still_buys_everything(
    minutes: int, speed: float, first_fit_factor: float
) -> None:
    outcome = simulate(621, 60 * minutes, speed, first_fit_factor=first_fit_factor)
    assert outcome.bought == 621
    assert outcome.left > 0


@pytest.mark.parametrize(
    ("kind", "budget", "minutes", "speed", "least"),
    [
        ("adaptive", 621, 17, 1.0, 4),
        ("adaptive", 1889, 51, 1.0, 4),
        ("adaptive", 621, 6, 1.0, 3),
        ("adaptive", 621, 17, 0.05, 1),
        ("ladder", 621, 17, 1.0, 3),
        ("ladder", 1889, 51, 1.0, 5),
        ("ladder", 621, 6, 1.0, 1),
    ],
)
def test_time_is_used_where_there_is_some(
    kind: str, budget: int, minutes: int, speed: float, least: int
) -> None:
    outcome = simulate(budget, 60 * minutes, speed, kind=kind)
    assert outcome.rounds >= least, outcome.learner.log


@pytest.mark.parametrize(
    ("kind", "speed", "buy", "rounds"),
    [("ladder", 3.0, 0.15, 7), ("adaptive", 1.0, 0.15, 4), ("adaptive", 3.0, 0.2, 4)],
)
def test_the_time_a_slow_seller_takes_is_kept_for_it_once(
    kind: str, speed: float, buy: float, rounds: int
) -> None:
    outcome = simulate(2000, 900, speed, kind=kind, buy=buy, choose=0.0)
    assert outcome.rounds == rounds, outcome.learner.log
    assert 0 <= outcome.spare < 120


@pytest.mark.parametrize(
    ("asked", "affordable", "given"),
    [
        (30, 29.9, 25),
        (30, 31, 30),
        (200, 199, 160),
        (1000, 700, 640),
        (1000, 1001, 1000),
        (5, 0, 1),
    ],
)
def test_of_the_epochs_asked_for_most_are_done_that_time_allows(
    asked: int, affordable: float, given: int
):
    settings = PlannerSettings(epochs=asked)
    seconds = affordable * 100 * ESTIMATE_ERROR
    assert first_epochs(Costs(fit=1.0, look=1.0), 100, seconds, settings) == given


@pytest.mark.parametrize(("seconds", "epochs"), [(300, 4.6), (90, 1.1), (20, 0.0)])
def test_a_fit_that_meets_its_deadline_has_measured_itself_by_then(
    seconds: float, epochs: float
) -> None:
    clock = Clock(0.0, 0)
    learner = SimulatedLearner(clock, fit_cost=0.06, look_cost=0.02, batch=16)
    ledger = CostLedger(fit=0.02, look=0.02)  # a fit takes three times as long as was measured
    strategy = SimulatedStrategy(clock)
    rounds = Rounds(strategy, learner, PlannerSettings(), 0, ledger, clock=clock)
    images = torch.zeros(1000, 3, 1, 1, dtype=torch.uint8)
    labelled = Labelled(images, torch.zeros(1000, 3), reference=1000)
    safe_end = clock() + seconds
    rounds.fit(10, labelled, safe_end)
    assert clock() <= safe_end
    assert learner.epochs_ == pytest.approx(epochs, abs=0.1)
    assert bool(labelled.fitted) == (epochs > 0)


def test_what_was_seen_at_work_stands_and_not_what_was_tried_before() -> None:
    ledger = CostLedger(fit=1.3, look=0.016)
    assert ledger.costs == Costs(fit=1.3, look=0.016)
    for seconds in (16.0, 8.0, 70.0):
        ledger.saw("fit", seconds, 1000)
    ledger.saw("look", 10.0, 10_000)
    ledger.saw("choose", 0.5, 0)
    assert ledger.costs == Costs(fit=0.016, look=0.001)


def test_a_look_that_never_ends_still_leaves_time_to_buy_by_lot() -> None:
    outcome = simulate(500, 60, 0.01, batch=8)
    assert outcome.bought == 500
    assert outcome.left > 0


@pytest.mark.parametrize(
    ("seconds", "fitted", "expected"),
    [
        (1e9, True, [(0, 1000, 50), (10, 1000, 50), (10, 1000, 50), (10, 1000, 50)]),
        (1e9, False, [(10, 1000, 50), (10, 1000, 50), (10, 1000, 50), (10, 1000, 50)]),
        (13.5, True, [(0, 1000, 200)]),
        (6.0, True, [(0, 497, 200)]),
        (2.0, True, [(0, 0, 200)]),
        (-5.0, True, [(0, 0, 200)]),
    ],
)
def test_plans_shrink_with_the_time_left(
    seconds: float, fitted: bool, expected: list[tuple[int, int, int]]
) -> None:
    costs = Costs(fit=0.01, look=0.01, choose=0.0, buy=0.00123)
    plan = plan_purchase(
        "adaptive", costs, Situation(100, 1000, 200), seconds, PlannerSettings(), fitted
    )
    assert [(step.epochs, step.look, step.buy) for step in plan.steps] == expected


@pytest.mark.parametrize("kind", ["one", "adaptive", "ladder"])
@pytest.mark.parametrize("rounds", [None, 1, 3, 50])
@pytest.mark.parametrize("budget", [1, 2, 7, 621, 1889])
@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1.0, 60.0, 3600.0])
def test_every_plan_spends_the_whole_budget(
    kind: str, rounds: int | None, budget: int, seconds: float
) -> None:
    costs = Costs(fit=0.006, look=0.002)
    for pool in (budget, 10_000):
        now = Situation(1000, pool, budget, rounds)
        plan = plan_purchase(kind, costs, now, seconds, PlannerSettings(), True)
        assert sum(step.buy for step in plan.steps) == budget
        assert all(step.buy > 0 and 0 <= step.look <= pool for step in plan.steps)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"epochs": 0}, "epochs"),
        ({"max_rounds": 101}, "max_rounds"),
        ({"pre_training_share": 1.0}, "pre_training_share"),
        ({"reserve_share": 0.0}, "reserve_share"),
        ({"reserve_seconds": -1.0}, "reserve_seconds"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        PlannerSettings(**change)
