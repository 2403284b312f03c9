"""How far a chosen image speaks for its neighbours: radii read off the data."""

import torch

from strategies.selectors.kmeans import k_means
from strategies.selectors.points import EmbeddingPoints
from strategies.selectors.topk import random_k

SAMPLE = 4096


def closest_pair(labelled: EmbeddingPoints) -> float:
    """Smallest distance between two points that are not the same (Bae et al. 2025).

    1 where there is no such pair: on unit vectors, the radius of MaxHerding.
    """
    smallest = torch.inf
    for block in torch.split(torch.arange(labelled.size, device=labelled.device), SAMPLE):
        squared = labelled.take(block).squared_distances(labelled)  # (block, L)
        squared[squared <= 0] = torch.inf
        if squared.numel():
            smallest = min(smallest, float(squared.min()))
    return smallest**0.5 if smallest < torch.inf else 1.0


def pure_radius(
    points: EmbeddingPoints, clusters: int, purity: float, rng: torch.Generator
) -> float:
    """The largest radius at which a share `purity` of balls is pure (Yehuda et al. 2022).

    A ball is pure when all points in it share the cluster of its centre, i.e. as long as its
    radius is below the distance to the nearest point of another cluster: the radius sought is a
    quantile of that distance. Measured on a sample of at most 4,096 points.
    """
    sample = points.take(random_k(points.size, min(points.size, SAMPLE), rng, points.device))
    assignment = k_means(sample, clusters, rng).assignment
    squared = sample.squared_distances(sample)
    squared[assignment.unsqueeze(1) == assignment] = torch.inf
    impure_from = squared.amin(dim=1).sqrt()
    impure_from = impure_from[impure_from.isfinite()]
    if impure_from.numel() == 0:  # one cluster: identical images
        return 1.0
    radius = float(impure_from.quantile(1 - purity))
    return radius if radius > 0 else 1e-3
