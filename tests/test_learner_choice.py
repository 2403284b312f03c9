"""Of several kinds of learner the one that cross-validates best buys."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import run
from core.pretrained.imagenet_weights import WeightsError
from models import settings as settings_module
from models.frozen_learner import FrozenLearner
from models.image_bank import Clock
from models.kinds import build_learner
from models.learner import Learner
from models.settings import FROZEN, SMALL, LearnerSettings
from strategies.events import Event
from strategies.learner_choice import open_fitted
from strategies.registry import parse_strategy
from strategies.session import Session
from tests.test_run import config, pool, train

SETTINGS = LearnerSettings(device="cpu", batch_size=16, members=2, threads=1)


def opened(
    events: list[Event], strategy: str = "entropy", ends: float = float("inf"), **how: Any
) -> Session:
    strategy_ = parse_strategy(strategy)
    return open_fitted(
        train(), SETTINGS, strategy_, 0, epochs=2, ends=ends, on_event=events.append, **how
    )


def facts(events: list[Event], name: str) -> dict[str, Any]:
    (found,) = [event.facts for event in events if event.name == name]
    return dict(found)


class Clairvoyant(FrozenLearner):
    """Is said to cross-validate at `f1`."""

    f1 = 1.0

    def fit(self, *given: Any, **how: Any) -> "Clairvoyant":
        super().fit(*given, **how)
        self.calibration_ = type(self.calibration_)(
            **{**vars(self.calibration_), "f1": torch.full_like(self.calibration_.f1, self.f1)}
        )
        return self


@pytest.mark.parametrize(("f1", "chosen"), [(1.0, FROZEN), (0.0, SMALL)])
def test_open_fitted_keeps_the_higher_f1(
    f1: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clairvoyant, "f1", f1)

    def new_learner(settings: LearnerSettings, seed: int, clock: Clock) -> Learner:
        if settings.backbone == FROZEN:
            return Clairvoyant(settings, seed, clock)
        return build_learner(settings, seed, clock)

    events: list[Event] = []
    session = opened(events, new_learner=new_learner)
    assert session.learner.settings.backbone == chosen
    assert session.is_fitted
    choice = facts(events, "learner_choice")
    assert choice["chosen"] == chosen
    assert choice["f1_out_of_fold"][FROZEN] == f1
    assert set(choice["f1_out_of_fold"]) == {FROZEN, SMALL}
    assert (FROZEN in choice["at_chance"]) == (f1 == 0)


def test_open_fitted_goes_on_without_damaged_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(self: FrozenLearner, images: Tensor) -> Tensor:
        raise WeightsError("the file is cut short")

    monkeypatch.setattr(FrozenLearner, "encode", damaged)
    events: list[Event] = []
    assert opened(events).learner.settings.backbone == SMALL
    assert facts(events, "learner_left_out") == {
        "learner": FROZEN,
        "why": "the file is cut short",
    }


def test_open_fitted_leaves_out_who_cannot_read_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def slow(self: FrozenLearner, images: Tensor) -> Tensor:
        nonlocal now
        now += 1.0 * len(images)  # 40 labelled images, 60 seconds for two learners
        return torch.zeros(len(images), 8)

    monkeypatch.setattr(FrozenLearner, "encode", slow)
    events: list[Event] = []
    session = opened(events, ends=60.0, clock=lambda: now)
    assert session.learner.settings.backbone == SMALL
    assert session.is_fitted
    reason = facts(events, "learner_left_out")["why"]
    assert reason == "reading 40 images would take 40 of 30 seconds"


def test_open_fitted_loads_no_network_where_seconds_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(self: FrozenLearner, images: Tensor) -> Tensor:
        raise AssertionError("the network was loaded")

    monkeypatch.setattr(FrozenLearner, "encode", loaded)
    events: list[Event] = []
    session = opened(events, ends=time.monotonic() + 30)
    assert session.learner.settings.backbone == SMALL
    assert session.is_fitted
    assert facts(events, "learner_left_out")["why"] == "15 seconds are too few to load a network"


def test_open_fitted_trains_nothing_for_a_strategy_that_does_not_look() -> None:
    events: list[Event] = []
    session = opened(events, strategy="random")
    assert session.learner.settings.backbone == "auto"
    assert session.n_fitted == 0
    assert [event.name for event in events] == ["read"]


@pytest.mark.parametrize(
    ("pretrained", "installed", "kinds"),
    [("auto", True, [FROZEN, SMALL]), ("auto", False, [SMALL]), ("no", True, [SMALL])],
)
def test_candidates_are_what_this_machine_has_weights_of(
    pretrained: str, installed: bool, kinds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "weights_digest", lambda _: "abc" if installed else None)
    settings = LearnerSettings(device="cpu", pretrained=pretrained)
    assert [one.backbone for one in settings.candidates()] == kinds


def test_candidates_say_how_to_get_weights_that_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings_module, "weights_digest", lambda _: None)
    monkeypatch.setattr("models.networks.cached_timm_file", lambda _: None)
    with pytest.raises(ValueError, match="no ImageNet weights of tf_efficientnet_lite0"):
        LearnerSettings(device="cpu", pretrained="yes").candidates()


def test_purchase_with_the_learner_that_was_chosen(tmp_path: Path) -> None:
    path = config(tmp_path)
    path.write_text(path.read_text().replace('"small"', '"auto"'))
    events: list[Event] = []
    submission, unlabelled = run.ZEWDPCRun("entropy", 0, path, on_event=events.append), pool()
    labelled = train()
    submission.pre_training_phase(labelled, 600)
    bought = submission.purchase_phase(unlabelled, labelled, 20, 600)
    assert sorted(bought) == sorted(unlabelled.sold)
    assert len(bought) == 20
    assert submission.prediction_phase(pool()).shape == (80, 3)
    assert facts(events, "learner_choice")["chosen"] in (FROZEN, SMALL)
