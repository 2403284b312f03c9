"""Schedules end where they must, weight decay spares norms, Muon's updates are orthogonal."""

from dataclasses import replace

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from core.muon import Muon
from evaluator.training.networks import build_network, set_training
from evaluator.training.optimisers import build_optimisers, build_schedule
from evaluator.training.pipelines import PIPELINES


def rates(name: str, n_steps: int) -> list[float]:
    pipeline = PIPELINES[name]
    weight = torch.zeros(2, requires_grad=True)
    optimiser = torch.optim.SGD([weight], lr=1.0)
    schedule = build_schedule(optimiser, pipeline, n_steps)
    seen = []
    for _ in range(n_steps):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return seen


@pytest.mark.parametrize("n_steps", [1, 2, 10, 200])
def test_one_cycle_warms_up_and_falls_to_near_zero(n_steps):
    seen = rates("quick", n_steps)
    assert 0 < min(seen) <= max(seen) <= 1
    peak = seen.index(max(seen))
    assert peak <= 0.1 * n_steps
    assert seen[:peak] == sorted(seen[:peak])
    assert seen[peak:] == sorted(seen[peak:], reverse=True)
    assert seen[-1] == pytest.approx(1 / (n_steps + 1) / 0.9, abs=0.06)


def test_cosine_falls_to_near_zero():
    seen = rates("cosine", 100)
    assert seen[0] == 1.0
    assert seen[50] == pytest.approx(0.5)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < 0.001


def test_plateau_cuts_the_rate_after_three_epochs_without_gain():
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = build_schedule(optimiser, PIPELINES["organiser"], 100)
    assert isinstance(schedule, ReduceLROnPlateau)
    seen = []
    for loss in (1.0, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6):
        schedule.step(loss)
        seen.append(optimiser.param_groups[0]["lr"])
    assert seen == pytest.approx([1.0] * 5 + [0.1] * 2)


def sizes(optimiser: torch.optim.Optimizer, decayed: bool) -> int:
    return sum(
        p.numel()
        for group in optimiser.param_groups
        for p in group["params"]
        if (group.get("weight_decay", 0) > 0) == decayed
    )


def test_build_optimisers_each_weight_once_and_norms_without_decay():
    quick = replace(PIPELINES["quick"], weight_decay=0.1)
    network = build_network("max_pool_mil", 4)
    muon, adam = build_optimisers(network, quick)
    assert isinstance(muon, Muon)
    assert isinstance(adam, torch.optim.AdamW)
    held = [p for o in (muon, adam) for group in o.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held})
    assert {id(p) for p in held} == {id(p) for p in network.parameters()}
    one_dimensional = sum(p.numel() for p in network.parameters() if p.ndim <= 1)
    assert sizes(adam, decayed=False) == one_dimensional


def test_build_optimisers_leaves_frozen_features_out():
    network = build_network("efficientnet_b0", 4)
    set_training(network, frozen_features=True)
    (adam,) = build_optimisers(network, PIPELINES["organiser"])
    assert type(adam) is torch.optim.Adam
    assert sizes(adam, decayed=False) == 1280 * 4 + 4
