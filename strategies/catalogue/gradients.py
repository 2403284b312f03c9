"""Sets chosen by what they would do to the learner's last layer."""

from typing import Annotated

import torch
from torch import Tensor

from strategies.blocks import row_blocks
from strategies.parameters import Range
from strategies.pool import PoolView
from strategies.registry import register
from strategies.selectors import bait as fisher
from strategies.selectors.dsquared import d_squared_sample
from strategies.selectors.points import GradientPoints
from strategies.selectors.topk import random_k


@register("badge", source="Ash et al. 2020; multi-label gradient, factorised")
def badge(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """D² sampling of the gradients the last layer would see, at the learner's own guesses.

    The first pick has the largest gradient, as in the authors' code. Adaptation: the gradient of
    the sum of C binary cross-entropies, (p - guess) ⊗ h, in place of the softmax's. h is the
    pooled embedding, so the last layer is one that stood on it.
    """
    points = GradientPoints(pool.probabilities, pool.embeddings)
    return d_squared_sample(points, k, rng, first=int(points.squared_norms().argmax()))


@register("bait", source="Ash et al. 2021; Bernoulli outputs, bounded rank")
def bait(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    rank: Annotated[int, Range(1, 512)] = 64,
    oversample: Annotated[float, Range(1, 1e6)] = 2.0,
    ridge: Annotated[float, Range(1e-6)] = 1.0,
    candidates: Annotated[int, Range(1)] = 50_000,
) -> Tensor:
    """Greedy batch whose Fisher information best covers that of the whole pool.

    Information is of the whole pool; the picks come from up to `candidates` images, all where
    there are no more, else a random sample (at least twice k). `rank`: principal components of
    the embeddings kept, plus a constant for the bias. `ridge`: the paper's lambda, where
    embeddings have a mean square of 1 and information is a sum.
    """
    mean, axes = fisher.principal_axes(pool.embeddings, rank)
    h, labelled = (
        _project(pool.embeddings, mean, axes),
        _project(pool.labelled_embeddings, mean, axes),
    )
    spread = h.square().mean().sqrt().clamp(min=1e-6)  # so that `ridge` has no unit
    h, labelled = _with_bias(h / spread), _with_bias(labelled / spread)
    variances = pool.probabilities.float() * (1 - pool.probabilities.float())
    known = pool.labelled_probabilities.float() * (1 - pool.labelled_probabilities.float())
    start = fisher.fisher_blocks(labelled, known)  # (C, R, R)
    target = start + fisher.fisher_blocks(h, variances)
    start = start + ridge * torch.eye(h.shape[1], dtype=start.dtype, device=start.device)
    count = min(pool.size, max(candidates, 2 * k))
    if count == pool.size:
        return fisher.bait(h, variances, k, target, start, oversample)
    sample = random_k(pool.size, count, rng, h.device)
    return sample[fisher.bait(h[sample], variances[sample], k, target, start, oversample)]


def _project(embeddings: Tensor, mean: Tensor, axes: Tensor) -> Tensor:
    projected = torch.empty(embeddings.shape[0], axes.shape[1], device=axes.device)
    for rows in row_blocks(*embeddings.shape):
        projected[rows] = (embeddings[rows].to(axes) - mean) @ axes
    return projected


def _with_bias(h: Tensor) -> Tensor:
    return torch.cat([h, h.new_ones(h.shape[0], 1)], dim=1)
