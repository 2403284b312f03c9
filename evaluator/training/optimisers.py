"""Optimisers and learning-rate schedules of the pipelines."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from core.max_pool_mil import MaxPoolMIL
from core.muon import Muon
from evaluator.training.pipelines import Pipeline

_WARM_UP = 0.1  # share of the steps


def build_optimisers(network: nn.Module, pipeline: Pipeline) -> list[torch.optim.Optimizer]:
    """The pipeline's optimisers over what learns; norms and biases are spared the weight decay."""
    optimisers: list[torch.optim.Optimizer] = []
    under_muon: set[torch.Tensor] = set()
    if pipeline.optimiser == "muon" and isinstance(network, MaxPoolMIL):
        under_muon = set(network.muon_parameters())
        optimisers.append(Muon(network.muon_parameters(), pipeline.muon_learning_rate))
    rest = [p for p in network.parameters() if p.requires_grad and p not in under_muon]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": pipeline.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if pipeline.optimiser == "adam" else torch.optim.AdamW
    return [*optimisers, kind(groups, lr=pipeline.learning_rate, fused=True)]


def build_schedule(
    optimiser: torch.optim.Optimizer, pipeline: Pipeline, n_steps: int
) -> LambdaLR | ReduceLROnPlateau:
    """`plateau` steps once an epoch on a loss, the others once a batch."""
    if pipeline.schedule == "plateau":
        return ReduceLROnPlateau(optimiser, factor=0.1, patience=3)

    def cosine(step: int) -> float:
        return 0.5 + 0.5 * math.cos(math.pi * step / n_steps)

    def one_cycle(step: int) -> float:
        done = (step + 1) / (n_steps + 1)
        return min(done / _WARM_UP, (1 - done) / (1 - _WARM_UP))

    return LambdaLR(optimiser, cosine if pipeline.schedule == "cosine" else one_cycle)
