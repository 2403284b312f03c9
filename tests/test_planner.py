"""The submission under a simulated clock: always the whole budget, never too late."""

import random
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.learner import DeadlineReachedError, Predictions
from models.settings import FROZEN, LearnerSettings
from models.speed import Speed
from run import ZEWDPCRun
from strategies.acquisition_loop import AcquisitionLoop
from strategies.image_sets import LabelledSet
from strategies.label_budget import LabelBudget
from strategies.planner import (
    ESTIMATE_ERROR,
    CostModel,
    Costs,
    PlannerSettings,
    PlanningState,
    affordable_epochs,
    affordable_look,
    plan_purchase,
)
from strategies.pool_view import PoolView
from strategies.session import Session

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


SMALL_SETTINGS = LearnerSettings(device="cpu", backbone="small")


@dataclass
class SimulatedLearner:
    """Takes time as a learner would, batch by batch, and predicts noise."""

    clock: Clock
    fit_cost: float
    look_cost: float
    first_fit_factor: float = 1.0
    batch: int = 64
    start_up: float = 0.0  # seconds of the first fit that go into building the networks
    believed: Speed | None = None  # what measuring says; the truth, if None
    settings: LearnerSettings = SMALL_SETTINGS
    encode_cost: float = 0.0  # seconds for an image, when it is read
    trained: bool = False
    log: list[str] = field(default_factory=list)

    reading_share = 0.25
    resolved = LearnerSettings(device="cpu", backbone="small").resolved()
    thresholds_ = torch.full((N_CLASSES,), 0.5)
    validation_f1_ = torch.full((N_CLASSES,), 0.5)
    labelled_probabilities_ = torch.empty(0, N_CLASSES)
    calibration_rows_ = torch.arange(1)
    epochs_ = 0.0

    def encode(self, images: Tensor) -> Tensor:
        self.clock.work(self.encode_cost * len(images))
        return images

    def measure_speed(self, images: Tensor, labels: Tensor) -> Speed:
        return self.believed or Speed(self.fit_cost, self.look_cost)

    def fit(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        epochs: int,
        deadline: float | None = None,
        n_calibration: int | None = None,
    ) -> None:
        cost, self.first_fit_factor = self.fit_cost * self.first_fit_factor, 1.0
        seen, total = 0, epochs * len(images)
        self.clock.work(self.start_up)
        self.start_up = 0.0
        while seen < total and not (deadline is not None and self.clock() >= deadline):
            self.clock.work(cost * min(self.batch, total - seen))
            seen += min(self.batch, total - seen)
        self.clock.work(self.look_cost * len(images))  # what a lone member held out, and the rest
        self.epochs_ = seen / len(images)
        self.trained |= seen > 0
        self.log.append(f"fit {self.epochs_:.1f} of {epochs}")

    def infer(self, images: Tensor, deadline: float | None = None) -> Predictions:
        assert self.trained, "it has never been trained"
        for start in range(0, len(images), 4 * self.batch):
            if deadline is not None and self.clock() >= deadline:
                raise DeadlineReachedError(f"{start} of {len(images)}")
            self.clock.work(self.look_cost * len(images[start : start + 4 * self.batch]))
        self.log.append(f"look {len(images)}")
        n = len(images)
        rng = torch.Generator().manual_seed(n)
        p = torch.rand(n, N_CLASSES, generator=rng)
        return Predictions(p, torch.zeros(n, 2), p[None])

    @property
    def looks(self) -> int:
        return sum(line.startswith("look") for line in self.log)


@dataclass
class SimulatedStrategy:
    clock: Clock
    plan: str = "adaptive"
    rounds: int | str = "auto"
    seconds: float = 1.0
    name: str = "simulated"
    spec: str = "simulated"
    looks: bool = True

    def select(self, pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
        self.clock.work(self.seconds)
        return pool.probabilities.mean(1).topk(k).indices


class SimulatedDataset:
    """Images of one pixel that cost nothing to read, and labels that take `seconds` to buy."""

    def __init__(self, n: int, clock: Clock, seconds: float = 0.0) -> None:
        self.images = np.zeros((n, 1, 1, 3), np.uint8)
        self.clock, self.seconds = clock, seconds
        self.sold: set[int] = set()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> dict[str, object]:
        return {"idx": position, "image": self.images[position], "label": [0, 0, 1]}

    def purchase_label(self, idx: int) -> list[int]:
        assert idx not in self.sold
        self.sold.add(idx)
        self.clock.work(self.seconds)
        return [idx % 2, 0, 1]


@pytest.mark.parametrize("label", [[0.5, 1], [float("nan"), 0], [-1, 1]])
def test_label_budget_refuses_a_label_that_is_not_0_or_1(label: list[float]) -> None:
    class Source:
        def purchase_label(self, idx: int) -> list[float]:
            return label

    with pytest.raises(ValueError, match=r"purchase_label\(0\) .* expected one 0 or 1"):
        LabelBudget(Source(), 3).purchase(0)


@dataclass
class Outcome:
    bought: int
    left: float  # seconds left at the end
    spare: float  # seconds left then before the safe end
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
    encode: float | None = None,
) -> Outcome:
    """The submission's phases, on a simulated machine of `speed` times that of a T4.

    encode : seconds to show an image to a frozen network, which then competes with the small one.
    """
    clock = Clock(jitter, seed)
    ends = clock() + seconds
    if stall:
        clock.stalls.append((clock() + stall_at * seconds, stall))
    learner = SimulatedLearner(clock, T4_FIT / speed, T4_LOOK / speed, first_fit_factor, batch)

    def new_learner(settings: LearnerSettings, *_: object) -> SimulatedLearner:
        if settings.backbone != FROZEN:
            return learner
        return SimulatedLearner(clock, 1e-5, 1e-6, settings=settings, encode_cost=encode)

    submission = ZEWDPCRun(seed=seed, clock=clock, on_event=lambda _: None, new_learner=new_learner)
    strategy = SimulatedStrategy(clock, kind, seconds=choose)
    submission.config = replace(
        submission.config,
        strategy=strategy,
        planner=PlannerSettings(),
        learner=LearnerSettings(device="cpu", backbone="small" if encode is None else "auto"),
    )
    training, pool = SimulatedDataset(n_labelled, clock), SimulatedDataset(n_pool, clock, buy)
    submission.pre_training_phase(training, seconds)
    left = ends - clock()
    safe_end = ends - submission.config.planner.reserve(left)
    bought = submission.purchase_phase(pool, training, budget, left)
    assert bought.keys() == pool.sold
    return Outcome(len(pool.sold), ends - clock(), safe_end - clock(), learner)


def session_of(
    learner: SimulatedLearner, n_labelled: int, n_pool: int = 0, kind: str = "adaptive"
) -> Session:
    labelled = LabelledSet(
        torch.zeros(n_labelled, 3, 1, 1, dtype=torch.uint8),
        torch.zeros(n_labelled, N_CLASSES),
        n_calibration=n_labelled,
        size=1,
    )
    strategy = SimulatedStrategy(learner.clock, kind)
    session = Session(
        labelled, None, learner, strategy, 0, clock=learner.clock, on_event=lambda _: None
    )
    session.open_pool(SimulatedDataset(n_pool, learner.clock))
    return session


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
    "a frozen network beside it": {"encode": 0.015},
    "a slow frozen network beside it": {"encode": 0.15},
    "a frozen network too slow to be tried": {"encode": 5.0},
}


@pytest.mark.parametrize("kind", ["adaptive", "zew-winner"])
@pytest.mark.parametrize("budget", [500, 2000])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_purchase_phase_spends_the_budget_in_time_in_every_corner_of_the_challenge(
    trouble: str, budget: int, kind: str
) -> None:
    for minutes in (15, 60):
        for speed in (0.05, 0.3, 1.0, 20.0):
            outcome = simulate(budget, 60 * minutes, speed, kind=kind, **TROUBLES[trouble])
            assert outcome.bought == budget
            assert outcome.left > 0, (minutes, speed)


@pytest.mark.parametrize("kind", ["adaptive", "zew-winner"])
@pytest.mark.parametrize("start_up", [0.0, 3.0])
def test_loop_never_infers_with_an_untrained_learner_however_little_time_there_is(
    kind: str, start_up: float
) -> None:
    for tenths in range(120):
        clock = Clock(0.0, 0)
        learner = SimulatedLearner(clock, fit_cost=0.001, look_cost=0.001, start_up=start_up)
        session = session_of(learner, 100, 400, kind)
        budget = LabelBudget(SimulatedDataset(400, clock), 50)
        AcquisitionLoop(session, budget, PlannerSettings(), clock() + tenths / 10).run()
        assert len(budget.labels) == 50


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    budget=st.integers(500, 2000),
    minutes=st.floats(15, 60),
    log_speed=st.floats(-3.0, 3.0),  # 0.05x to 20x
    kind=st.sampled_from(["adaptive", "zew-winner"]),
    jitter=st.floats(0, 0.9),
    stall=st.sampled_from([0.0, 60.0]),
    stall_at=st.floats(0, 1),
    first_fit_factor=st.floats(0.5, 3.0),
    seed=st.integers(0, 99),
)
def test_purchase_phase_spends_the_budget_in_time_whatever_goes_wrong(
    budget: int, minutes: float, log_speed: float, **trouble: object
) -> None:
    outcome = simulate(budget, 60 * minutes, 2.718281828**log_speed, **trouble)
    assert outcome.bought == budget
    assert outcome.left > 0


@pytest.mark.parametrize("minutes", [1, 2, 3, 6])
@pytest.mark.parametrize("speed", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("first_fit_factor", [1.0, 3.0])
def test_purchase_phase_spends_the_budget_on_a_slow_machine_with_minutes(
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
        ("zew-winner", 621, 17, 1.0, 3),
        ("zew-winner", 1889, 51, 1.0, 5),
        ("zew-winner", 621, 6, 1.0, 1),
    ],
)
def test_purchase_phase_takes_as_many_rounds_as_there_is_time_for(
    kind: str, budget: int, minutes: int, speed: float, least: int
) -> None:
    outcome = simulate(budget, 60 * minutes, speed, kind=kind)
    assert outcome.learner.looks >= least, outcome.learner.log


@pytest.mark.parametrize(
    ("kind", "speed", "buy", "rounds"),
    [("zew-winner", 3.0, 0.15, 7), ("adaptive", 1.0, 0.15, 4), ("adaptive", 3.0, 0.2, 4)],
)
def test_purchase_phase_reserves_the_seconds_of_slow_purchases_once(
    kind: str, speed: float, buy: float, rounds: int
) -> None:
    outcome = simulate(2000, 900, speed, kind=kind, buy=buy, choose=0.0)
    assert outcome.learner.looks == rounds, outcome.learner.log
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
def test_affordable_epochs_are_the_most_that_time_allows(
    asked: int, affordable: float, given: int
) -> None:
    seconds = affordable * 100 * ESTIMATE_ERROR
    assert affordable_epochs(Costs(fit=1.0, look=1.0), 100, seconds, asked) == given


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(float("inf"), 1000), (13.5, 1000), (6.0, 501), (2.0, 0), (0.0, 0), (-5.0, 0)],
)
def test_affordable_look_is_more_than_k_images_or_none(seconds: float, expected: int) -> None:
    costs = Costs(fit=1.0, look=0.01, choose=0.001)
    assert affordable_look(costs, 1000, 200, seconds) == expected


@pytest.mark.parametrize(("seconds", "epochs"), [(300, 4.6), (90, 1.1), (20, 0.0)])
def test_fit_has_measured_itself_by_its_deadline(seconds: float, epochs: float) -> None:
    clock = Clock(0.0, 0)
    learner = SimulatedLearner(clock, fit_cost=0.06, look_cost=0.02, batch=16)
    learner.believed = Speed(fit=0.02, look=0.02)  # a fit takes three times as long
    session = session_of(learner, 1000)
    safe_end = clock() + seconds
    session.fit(10, safe_end)
    assert clock() <= safe_end
    assert learner.epochs_ == pytest.approx(epochs, abs=0.1)
    assert bool(session.n_fitted) == (epochs > 0)


def test_cost_model_believes_what_it_observed_and_not_what_it_was_told() -> None:
    model = CostModel(fit=1.3, look=0.016)
    assert model.costs == Costs(fit=1.3, look=0.016)
    for seconds in (16.0, 8.0, 70.0):
        model.observe("fit", seconds, 1000)
    model.observe("look", 10.0, 10_000)
    model.observe("choose", 0.5, 0)
    assert model.costs == Costs(fit=0.016, look=0.001)


def test_purchase_phase_leaves_time_to_buy_when_a_look_never_ends() -> None:
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
def test_plan_purchase_shrinks_with_the_time_left(
    seconds: float, fitted: bool, expected: list[tuple[int, int, int]]
) -> None:
    costs = Costs(fit=0.01, look=0.01, choose=0.0, buy=0.00123)
    now = PlanningState(100, 1000, 200, fitted=fitted)
    plan = plan_purchase("adaptive", costs, now, seconds, PlannerSettings())
    assert [(step.epochs, step.look, step.buy) for step in plan.steps] == expected


@pytest.mark.parametrize("kind", ["single-batch", "adaptive", "zew-winner"])
@pytest.mark.parametrize("rounds", [None, 1, 3, 50])
@pytest.mark.parametrize("budget", [1, 2, 7, 621, 1889])
@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1.0, 60.0, 3600.0])
def test_plan_purchase_spends_the_whole_budget(
    kind: str, rounds: int | None, budget: int, seconds: float
) -> None:
    costs = Costs(fit=0.006, look=0.002)
    for pool in (budget, 10_000):
        now = PlanningState(1000, pool, budget, rounds, fitted=True)
        plan = plan_purchase(kind, costs, now, seconds, PlannerSettings())
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
def test_planner_settings_refuse_what_makes_no_sense(change: dict[str, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        PlannerSettings(**change)
