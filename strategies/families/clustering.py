"""Clusters of the embedding space: k-means, alone or among the most uncertain images.

Sources: Lloyd 1982, seeded by D² sampling (Arthur and Vassilvitskii 2007); with informativeness as
weights Zhdanov 2019 ("Diverse mini-batch active learning"); clusters taking turns Citovsky et al.
2021 ("Batch active learning at scale", Cluster-Margin).
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from strategies.blocks import row_blocks
from strategies.families.uncertainty import mean_binary_entropy, negative_margin
from strategies.feature_space import EmbeddingPoints
from strategies.parameters import Range
from strategies.pool_view import PoolView
from strategies.registry import register
from strategies.selectors import among_best, d_squared_sample

Iterations = Annotated[int, Range(1)]
Factor = Annotated[float, Range(1, 1e6)]


@register("kmeans", source="Lloyd 1982, seeded by D² sampling (Arthur and Vassilvitskii 2007)")
def select_kmeans(
    pool: PoolView, k: int, rng: torch.Generator, *, iterations: Iterations = 10
) -> Tensor:
    """The image closest to each of k cluster means."""
    points = EmbeddingPoints(pool.embeddings)
    return closest_to_means(k_means(points, k, rng, iterations=iterations), k, rng)


@register("cluster-margin", source="Citovsky et al. 2021, margin per label, k-means clusters")
def select_cluster_margin(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    factor: Factor = 10.0,
    clusters: Annotated[int, Range(1)] = 500,
) -> Tensor:
    """Of the `factor` * k smallest margins, one of each cluster in turn, small clusters first.

    Adaptations: the margin is that of the most doubtful class; clusters are those of k-means
    among the kept images (the paper: average linkage over the pool, N² numbers), at most
    `clusters` and at most k.
    """
    margins = negative_margin(pool.probabilities)

    def choose(kept: Tensor) -> Tensor:
        points = EmbeddingPoints(pool.embeddings[kept.to(pool.embeddings.device)])
        assignment = k_means(points, min(clusters, k), rng).assignment
        return rotate_clusters(assignment, k, rng).to(kept.device)

    return among_best(margins, _kept(factor, k), choose)


@register("entropy-diverse", source="Zhdanov 2019, entropy per label")
def select_entropy_diverse(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    factor: Factor = 10.0,
    iterations: Iterations = 10,
) -> Tensor:
    """Of the `factor` * k highest entropies, the closest to each of k means weighted by entropy."""
    entropies = mean_binary_entropy(pool.probabilities)

    def choose(kept: Tensor) -> Tensor:
        points = EmbeddingPoints(pool.embeddings[kept.to(pool.embeddings.device)])
        weights = entropies[kept].to(points.device)
        clustering = k_means(points, k, rng, weights, iterations)
        return closest_to_means(clustering, k, rng).to(kept.device)

    return among_best(entropies, _kept(factor, k), choose)


def _kept(factor: float, k: int) -> int:
    return max(k, round(factor * k))


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
