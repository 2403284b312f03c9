"""Sets whose neighbourhoods cover the pool: ProbCover, MaxHerding, UHerding.

All embeddings are scaled to unit length first, as the authors do. Up to `anchors` images of the
pool are to be covered, all of them where there are no more, else a random sample; every image
is a candidate. Labelled images cover from the start.
"""

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from strategies.blocks import row_blocks
from strategies.parameters import Range
from strategies.pool import PoolView
from strategies.registry import register
from strategies.scores.calibration import fitted_temperature, tempered_uncertainty
from strategies.selectors.coverage import GreedyCoverage, ball, gaussian
from strategies.selectors.dsquared import fill_up
from strategies.selectors.kcenter import k_center
from strategies.selectors.points import EmbeddingPoints, most_central
from strategies.selectors.radius import closest_pair, pure_radius
from strategies.selectors.topk import random_k

Anchors = Annotated[int, Range(1)]
Positive = Annotated[float, Range(1e-9)]
ANCHORS = 10_000


@register("maxherding", source="Bae et al. 2024")
def maxherding(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    radius: Positive = 1.0,
    anchors: Anchors = ANCHORS,
) -> Tensor:
    """Greedy coverage of the pool under a Gaussian kernel of fixed radius."""
    points, labelled = _unit_points(pool)
    where = _anchors(pool.size, anchors, rng, points)
    weights = torch.ones(where.numel(), device=points.device)
    coverage = GreedyCoverage(points, points.take(where), weights, gaussian(radius))
    coverage.cover(labelled)
    return fill_up(coverage.pick(k, rng), k, pool.size, rng)


@register("uherding", source="Bae et al. 2025; uncertainty per label")
def uherding(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    radius: Positive | Literal["auto"] = "auto",
    temperature: Positive | Literal["auto"] = "auto",
    anchors: Anchors = ANCHORS,
) -> Tensor:
    """Greedy coverage weighted by uncertainty; kernel radius and temperature adapt to the labels.

    Weight of an image: mean over classes of 1 - |2p - 1|, the multi-label form of the paper's
    margin. `radius=auto`: the smallest distance between two labelled images that are not the
    same, so that it shrinks as labels grow and the method turns from covering to uncertainty.
    `temperature=auto`: fitted to the labelled images' out-of-fold probabilities by cross-entropy
    and pulled towards 1, so that few and easy labels do not take away all doubt (the paper: by
    calibration error, without a pull). Where the pool has more images than `anchors`, one half of
    them are the most uncertain and the other half random.
    """
    points, labelled = _unit_points(pool)
    if temperature == "auto":
        temperature = fitted_temperature(pool.labelled_probabilities, pool.labelled_labels)
    if radius == "auto":
        radius = closest_pair(labelled)
    doubt = tempered_uncertainty(pool.probabilities, temperature).to(points.device)  # (N,)
    where = _doubtful_anchors(doubt, anchors, rng)
    coverage = GreedyCoverage(points, points.take(where), doubt[where], gaussian(radius))
    coverage.cover(labelled)
    return fill_up(coverage.pick(k, rng), k, pool.size, rng)


@register("probcover", source="Yehuda et al. 2022")
def probcover(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    radius: Positive | Literal["auto"] = "auto",
    purity: Annotated[float, Range(0, 1)] = 0.95,
    anchors: Anchors = ANCHORS,
) -> Tensor:
    """Most images newly within a radius of a chosen one; the radius keeps such balls pure.

    `radius=auto`: the largest at which a share `purity` of the balls hold images of one cluster
    only, of as many k-means clusters as there are distinct label vectors among the labelled
    (the paper: as classes). Once all is covered, the picks left go to the images farthest from
    any labelled or chosen one, as if the radius shrank (the paper stops at full coverage).
    """
    points, labelled = _unit_points(pool)
    where = _anchors(pool.size, anchors, rng, points)
    if radius == "auto":
        vectors = torch.unique(pool.labelled_labels > 0.5, dim=0).shape[0]
        radius = pure_radius(points, max(2, vectors), purity, rng)
    weights = torch.ones(where.numel(), device=points.device)
    coverage = GreedyCoverage(points, points.take(where), weights, ball(radius))
    coverage.cover(labelled)
    picks = coverage.pick(k, rng, shuffle=True)
    if picks.numel() == k:
        return picks
    rest = k_center(points, k - picks.numel(), labelled, most_central(points), taken=picks)
    return torch.cat([picks, rest])


def _unit_points(pool: PoolView) -> tuple[EmbeddingPoints, EmbeddingPoints]:
    """The pool's and the labelled embeddings at unit length, in the type they came in."""
    points = EmbeddingPoints(_unit(pool.embeddings))
    return points, points.like(_unit(pool.labelled_embeddings))


def _unit(embeddings: Tensor) -> Tensor:
    unit = torch.empty_like(embeddings)
    for rows in row_blocks(*embeddings.shape):
        unit[rows] = normalize(embeddings[rows].float(), dim=1).to(unit.dtype)
    return unit


def _anchors(size: int, anchors: int, rng: torch.Generator, points: EmbeddingPoints) -> Tensor:
    if size <= anchors:
        return torch.arange(size, device=points.device)
    return random_k(size, anchors, rng, points.device)


def _doubtful_anchors(doubt: Tensor, anchors: int, rng: torch.Generator) -> Tensor:
    # Of random anchors alone few would be uncertain, and with a small radius only anchors gain.
    if doubt.numel() <= anchors:
        return torch.arange(doubt.numel(), device=doubt.device)
    return fill_up(doubt.topk((anchors + 1) // 2).indices, anchors, doubt.numel(), rng)
