"""Weighted k-means, and the point closest to each mean.

Sources: Lloyd 1982, seeded by D² sampling (Arthur and Vassilvitskii 2007); as a batch selector
with informativeness as weights, Zhdanov 2019 ("Diverse mini-batch active learning").
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from strategies.blocks import row_blocks
from strategies.selectors.dsquared import d_squared_sample
from strategies.selectors.points import EmbeddingPoints


@dataclass(frozen=True)
class Clustering:
    """Means (K, D) in the points' centred coordinates; each point's cluster (N,) and its squared
    distance (N,) to that cluster's mean."""

    means: Tensor
    assignment: Tensor
    distances: Tensor


def k_means(
    points: EmbeddingPoints,
    clusters: int,
    rng: torch.Generator,
    weights: Tensor | None = None,
    iterations: int = 10,
) -> Clustering:
    """Lloyd's iterations from D²-sampled seeds, until nothing moves or `iterations` are over.

    `weights` (N,), not negative; points of weight 0 are assigned but pull no mean. A cluster
    that loses all weight keeps its mean. One pass over the pool an iteration.
    """
    weights = _usable_weights(weights, points)
    clusters = max(1, min(clusters, points.size))
    means = points.coordinates(d_squared_sample(points, clusters, rng)).clone()
    assignment, distances, sums, mass = _assign(points, means, weights)
    for _ in range(iterations - 1):
        heavy = mass > 0
        means[heavy] = sums[heavy] / mass[heavy].unsqueeze(1)
        old = assignment
        assignment, distances, sums, mass = _assign(points, means, weights)
        if torch.equal(old, assignment):
            break
    return Clustering(means, assignment, distances)


def closest_to_means(clustering: Clustering, k: int, rng: torch.Generator) -> Tensor:
    """The point closest to each mean (up to k of them), `rng` choosing among equals.

    Where clusters are empty and fewer than k are found, further points, those farthest from
    their mean first.
    """
    distances, assignment = clustering.distances, clustering.assignment
    size, device = distances.numel(), distances.device
    shuffled = torch.randperm(size, generator=rng, device=rng.device).to(device)
    order = shuffled[torch.argsort(distances[shuffled], stable=True)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(size, device=device)
    best = torch.full((clustering.means.shape[0],), size, device=device)
    best.scatter_reduce_(0, assignment, rank, "amin")
    picks = order[best[best < size]][:k]
    spare = distances.clone()
    spare[picks] = -1
    return torch.cat([picks, spare.topk(k - picks.numel()).indices])


def _assign(
    points: EmbeddingPoints, means: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Closest mean and squared distance (N,) of each point; weighted sums (K, D), mass (K,)."""
    norms = means.square().sum(dim=1)  # (K,)
    assignment = torch.empty(points.size, dtype=torch.long, device=points.device)
    distances = torch.empty(points.size, device=points.device)
    sums, mass = torch.zeros_like(means), torch.zeros_like(norms)
    for rows in row_blocks(points.size, points.width + means.shape[0]):
        x = points.coordinates(rows)
        partial, assignment[rows] = torch.addmm(norms, x, means.T, alpha=-2).min(dim=1)
        distances[rows] = (partial + x.square().sum(dim=1)).clamp_(min=0)
        sums.index_add_(0, assignment[rows], x * weights[rows].unsqueeze(1))
        mass.index_add_(0, assignment[rows], weights[rows])
    return assignment, distances, sums, mass


def _usable_weights(weights: Tensor | None, points: EmbeddingPoints) -> Tensor:
    """Ones where there are no weights, or where all of them are 0."""
    if weights is None or not float(weights.sum()) > 0:
        return torch.ones(points.size, device=points.device)
    if float(weights.min()) < 0:
        raise ValueError(f"Weights must not be negative; the lowest is {float(weights.min()):.4g}.")
    return weights.float()
