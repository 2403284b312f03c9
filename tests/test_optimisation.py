"""Schedules end where they must, weight decay spares norms, Muon's updates are orthogonal."""

from dataclasses import replace

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from evaluator.training.muon import Muon, orthogonalised
from evaluator.training.networks import build_network, set_training
from evaluator.training.optimisation import build_optimisers, build_schedule
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
def test_one_cycle_warms_up_over_a_tenth_and_falls_to_near_zero(n_steps):
    seen = rates("quick", n_steps)
    assert 0 < min(seen) <= max(seen) <= 1
    peak = seen.index(max(seen))
    assert peak <= 0.1 * n_steps
    assert seen[:peak] == sorted(seen[:peak])
    assert seen[peak:] == sorted(seen[peak:], reverse=True)
    assert seen[-1] == pytest.approx(1 / (n_steps + 1) / 0.9, abs=0.06)


def test_cosine_starts_at_the_rate_and_falls_to_near_zero():
    seen = rates("cosine", 100)
    assert seen[0] == 1.0
    assert seen[50] == pytest.approx(0.5)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < 0.001


def test_plateau_cuts_the_rate_to_a_tenth_after_more_than_three_epochs_without_gain():
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


def test_every_weight_that_learns_has_one_optimiser_and_norms_do_not_decay():
    quick = replace(PIPELINES["quick"], weight_decay=0.1)
    network = build_network("local_logits", 4)
    muon, adam = build_optimisers(network, quick)
    assert isinstance(muon, Muon)
    assert isinstance(adam, torch.optim.AdamW)
    held = [p for o in (muon, adam) for group in o.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held})
    assert {id(p) for p in held} == {id(p) for p in network.parameters()}
    one_dimensional = sum(p.numel() for p in network.parameters() if p.ndim <= 1)
    assert sizes(adam, decayed=False) == one_dimensional


def test_frozen_features_have_no_optimiser():
    network = build_network("efficientnet_b0", 4)
    set_training(network, frozen_features=True)
    (adam,) = build_optimisers(network, PIPELINES["organiser"])
    assert type(adam) is torch.optim.Adam
    assert sizes(adam, decayed=False) == 1280 * 4 + 4


@pytest.mark.parametrize("shape", [(24, 216), (216, 24), (48, 48)])
def test_orthogonalising_keeps_directions_and_evens_out_their_strength(shape):
    generator = torch.Generator().manual_seed(0)
    u, _, vh = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    strengths = torch.logspace(0, -1, len(vh))
    result = orthogonalised(u @ torch.diag(strengths) @ vh)
    within = u.T @ result @ vh.T  # diagonal where the singular vectors are kept
    evened = within.diagonal()
    assert (within - torch.diag(evened)).abs().max() < 1e-4
    assert evened.min() > 0
    assert evened.max() / evened.min() < 3 < strengths.max() / strengths.min()


def test_a_muon_step_turns_a_filter_bank_by_its_rate_and_keeps_its_norm():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(24, 24, 3, 3, generator=generator, requires_grad=True)
    optimiser = Muon([weight], lr=0.1)
    before = weight.detach() / weight.detach().norm() * 24**0.5
    weight.grad = torch.randn(24, 24, 3, 3, generator=generator)
    optimiser.step()
    share = ((weight - before).norm() / before.norm()).item()
    assert 0.05 < share < 0.15
    assert ((weight - before) * weight.grad).sum() < 0, "it climbs"


def test_muon_lowers_a_loss_it_is_given():
    generator = torch.Generator().manual_seed(0)
    inputs, target = (
        torch.randn(64, 12, generator=generator),
        torch.randn(6, 12, generator=generator),
    )
    target = target / target.norm() * 6**0.5
    weight = torch.randn(6, 12, generator=generator, requires_grad=True)
    optimiser = Muon([weight], lr=0.05)
    losses = []
    for _ in range(60):
        loss = ((inputs @ (weight - target).T) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[1]
