"""TypiClust: the most typical image of each cluster that holds no labelled one yet.

Source: Hacohen et al. 2022, "Active learning on a budget: opposite strategies suit high and low
budgets". Clusters: k-means into as many as there are labels and picks, at most 500, as the
authors do. Typicality: one over the mean distance to the 20 nearest of the same cluster. Clusters
with fewest labelled images come first, larger before smaller; those of fewer than 5 images come
last. Adaptations: images chosen count as labelled when clusters are visited again; a cluster of
more than 4,096 images measures typicality against a sample of 4,096; typicality is not computed
again when a cluster is visited again.
"""

from typing import Annotated

import torch
from torch import Tensor

from strategies.families.clustering import Iterations, k_means
from strategies.feature_space import EmbeddingPoints
from strategies.parameters import Range
from strategies.pool_view import PoolView
from strategies.registry import register

MOST_CLUSTERS = 500
SMALL_CLUSTER = 5
NEIGHBOURS = 20
SAMPLE = 4096


@register("typiclust", source="Hacohen et al. 2022")
def select_typiclust(
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


def typical_of_clusters(
    points: EmbeddingPoints,
    labelled: int,
    k: int,
    rng: torch.Generator,
    clusters: int = MOST_CLUSTERS,
    iterations: int = 10,
) -> Tensor:
    """k picks among `points` (labelled + N, D), of which the first `labelled` are labelled.

    Answers with positions counted from the first unlabelled point. Seeds of the clusters are
    drawn from `rng`; the distribution does not depend on the order of the pool.
    """
    count = max(1, min(labelled + k, clusters, points.size))
    assignment = k_means(points, count, rng, iterations=iterations).assignment
    # Shuffled, for the two halves of a pair are equally typical.
    shuffled = torch.randperm(points.size, generator=rng, device=rng.device).to(points.device)
    order = shuffled[torch.argsort(assignment[shuffled], stable=True)]
    sizes = torch.bincount(assignment, minlength=count)
    taken = torch.bincount(assignment[:labelled], minlength=count)
    free, visits = [], []  # by cluster, most typical first; labelled or visited how often before
    for cluster, members in enumerate(torch.split(order, sizes.tolist())):
        members = members[members >= labelled]  # as the authors: typical of what is unlabelled
        if members.numel() == 0:
            continue
        ranked = members[typicality(points, members, rng).argsort(descending=True, stable=True)]
        free.append(ranked[:k])
        visits.append(torch.arange(len(free[-1]), device=points.device) + taken[cluster])
    candidates, visit = torch.cat(free), torch.cat(visits)
    size = sizes[assignment[candidates]]
    # Small clusters last, then by visit, then larger before smaller; size and visit below 2**31.
    key = (size < SMALL_CLUSTER) * 2**62 + visit * 2**31 - size
    return candidates[torch.argsort(key, stable=True)[:k]] - labelled


def typicality(points: EmbeddingPoints, members: Tensor, rng: torch.Generator) -> Tensor:
    """One over the mean distance to the nearest others of `members` (M,): (M,).

    Neighbours: 20, or half of the members where these are fewer than 40, as the authors do.
    Identical images have infinite typicality.
    """
    others = members
    if members.numel() > SAMPLE:
        shuffled = torch.randperm(members.numel(), generator=rng, device=rng.device)
        others = members[shuffled[:SAMPLE].to(members.device)]
    neighbours = max(1, min(NEIGHBOURS, members.numel() // 2))
    sample = points.take(others)
    means = []
    for block in torch.split(members, SAMPLE):
        squared = points.take(block).squared_distances(sample)  # (block, sample)
        squared[block.unsqueeze(1) == others] = torch.inf  # no image is its own neighbour
        nearest = squared.topk(min(neighbours, others.numel()), largest=False).values
        nearest = nearest.where(nearest.isfinite(), nearest.new_zeros(()))
        means.append(nearest.sqrt().mean(dim=1))
    return 1 / torch.cat(means)
