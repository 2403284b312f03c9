"""Sets that spread over the embedding space; the learner's doubt plays no part."""

from typing import Annotated

import torch
from torch import Tensor

from strategies.parameters import Range
from strategies.pool import PoolView
from strategies.registry import register
from strategies.selectors.kcenter import k_center
from strategies.selectors.kmeans import closest_to_means, k_means
from strategies.selectors.points import EmbeddingPoints, most_central
from strategies.selectors.typical import MOST_CLUSTERS, typical_of_clusters

Iterations = Annotated[int, Range(1)]


@register("coreset", source="Sener and Savarese 2018, greedy k-center")
def coreset(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Greedy k-center: each image the farthest from all labelled and chosen ones."""
    points = EmbeddingPoints(pool.embeddings)
    labelled = points.like(pool.labelled_embeddings)
    return k_center(points, k, labelled, first=most_central(points))


@register("kmeans", source="Lloyd 1982, seeded by D² sampling (Arthur and Vassilvitskii 2007)")
def kmeans(pool: PoolView, k: int, rng: torch.Generator, *, iterations: Iterations = 10) -> Tensor:
    """The image closest to each of k cluster means."""
    points = EmbeddingPoints(pool.embeddings)
    return closest_to_means(k_means(points, k, rng, iterations=iterations), k, rng)


@register("typiclust", source="Hacohen et al. 2022")
def typiclust(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    clusters: Annotated[int, Range(1)] = MOST_CLUSTERS,
    iterations: Iterations = 10,
) -> Tensor:
    """The most typical image of each cluster, clusters without a labelled image first."""
    labelled = pool.labelled_embeddings.to(pool.embeddings)
    points = EmbeddingPoints(torch.cat([labelled, pool.embeddings]))
    return typical_of_clusters(points, labelled.shape[0], k, rng, clusters, iterations)
