"""Doubt and diversity together: noisy rankings, and clusters among the most doubtful."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from strategies.parameters import Range
from strategies.pool import PoolView
from strategies.registry import register
from strategies.scores.uncertainty import mean_binary_entropy, negative_margin
from strategies.selectors.kmeans import closest_to_means, k_means
from strategies.selectors.points import EmbeddingPoints
from strategies.selectors.prefilter import among_best
from strategies.selectors.rotation import rotate_clusters
from strategies.selectors.stochastic import stochastic_top_k

Factor = Annotated[float, Range(1, 1e6)]


@register("stochastic-entropy", source="Kirsch et al. 2023")
def stochastic_entropy(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    form: Literal["power", "softmax", "softrank"] = "power",
    beta: Annotated[float, Range(0)] = 1.0,
) -> Tensor:
    """Mean binary entropy with noise on the ranking, against batches of look-alikes."""
    return stochastic_top_k(mean_binary_entropy(pool.probabilities), k, rng, form, beta)


@register("cluster-margin", source="Citovsky et al. 2021, margin per label, k-means clusters")
def cluster_margin(
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
def entropy_diverse(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    factor: Factor = 10.0,
    iterations: Annotated[int, Range(1)] = 10,
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
