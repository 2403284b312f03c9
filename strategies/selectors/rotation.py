"""Clusters taking turns, the smallest first (Citovsky et al. 2021, Cluster-Margin)."""

import torch
from torch import Tensor


def rotate_clusters(assignment: Tensor, k: int, rng: torch.Generator) -> Tensor:
    """k positions: one random member of every cluster, smallest cluster first, then again.

    `assignment` (N,) is each position's cluster; a cluster with no member left is passed over.
    """
    shuffled = torch.randperm(assignment.numel(), generator=rng, device=rng.device)
    shuffled = shuffled.to(assignment.device)
    sizes = torch.bincount(assignment)
    order = shuffled[torch.argsort(assignment[shuffled], stable=True)]  # by cluster, each shuffled
    starts = sizes.cumsum(dim=0) - sizes
    turn = torch.arange(order.numel(), device=order.device) - starts[assignment[order]]
    size = sizes[assignment[order]]
    # Turn first, then size of the cluster; both below 2**31.
    return order[torch.argsort(turn * 2**31 + size, stable=True)[:k]]
