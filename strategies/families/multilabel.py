"""Strategies made for multi-label data: they look at the whole label vector of an image.

Scores take `probabilities` (N, C) and give (N,) float32; higher is more informative.
"""

from typing import Annotated

import torch
from torch import Tensor

from strategies.blocks import by_rows, row_blocks
from strategies.parameters import Range
from strategies.pool_view import PoolView
from strategies.registry import register
from strategies.selectors import top_k


@register("cvirs", source="Reyes et al. 2018")
def select_cvirs(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Small margins in many classes, times a label vector unlike those labelled."""
    return top_k(cvirs(pool.probabilities, pool.thresholds, pool.labelled_labels), k)


@register("lci", source="Li and Guo 2013")
def select_lci(
    pool: PoolView, k: int, rng: torch.Generator, *, beta: Annotated[float, Range(0, 1)] = 0.5
) -> Tensor:
    """An unusual number of predicted labels, times max-margin uncertainty: lci^(1-b) mmu^b.

    The authors choose `beta` each round from a set by an approximate generalisation error; here
    it is a setting. beta=0 is label cardinality inconsistency alone, in which ties abound.
    """
    inconsistency = cardinality_inconsistency(
        pool.probabilities, pool.thresholds, pool.labelled_labels
    )
    uncertainty = max_margin_uncertainty(pool.probabilities, pool.thresholds)
    return top_k(inconsistency ** (1 - beta) * uncertainty**beta, k)


@register("max-loss", source="Yang et al. 2009")
def select_max_loss(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Largest expected loss against the likeliest label vector of the expected size."""
    return top_k(max_loss_reduction(pool.probabilities), k)


@register("match-distribution", source="the hosts' suggestion, ZEW Challenge 2022; Welling 2009")
def select_match_distribution(
    pool: PoolView, k: int, rng: torch.Generator, *, balanced: bool = True
) -> Tensor:
    """Expected labels, with those bought, as close as can be to a target distribution.

    `balanced`: every class equally often, at the mean rate of the labelled images; otherwise the
    distribution of the labelled images themselves.
    """
    labels = pool.labelled_labels.float()
    # With nothing labelled yet, the learner's own mean is all there is to go by.
    known = labels if labels.shape[0] else pool.probabilities.float()
    share = known.mean(dim=0)  # (C,)
    target = share.mean().expand_as(share) if balanced else share
    return match_distribution(pool.probabilities, k, target, labels)


def cardinality_inconsistency(probabilities: Tensor, thresholds: Tensor, labels: Tensor) -> Tensor:
    """|number of predicted labels - mean number of labels per labelled image|.

    Label cardinality inconsistency, Li and Guo 2013. `thresholds` (C,), `labels` (L, C); with
    nothing labelled the mean is 0.
    """
    expected = labels.float().sum() / max(1, labels.shape[0])
    return by_rows(lambda p: ((p >= thresholds).sum(dim=1) - expected).abs(), probabilities)


def max_margin_uncertainty(probabilities: Tensor, thresholds: Tensor) -> Tensor:
    """1 / (mean signed confidence of predicted positives - that of predicted negatives).

    Max-margin prediction uncertainty, Li and Guo 2013, who use a support vector machine's
    outputs; here the signed confidence runs from -1 at p = 0 over 0 at the threshold to 1 at p = 1
    (2p - 1 where the threshold is 0.5), and the distance is floored at 1e-3. Where all or none of
    the classes are predicted, the missing side counts as 0, the decision boundary.
    """

    def score(p: Tensor) -> Tensor:
        positive = p >= thresholds
        room = torch.where(positive, 1 - thresholds, thresholds)
        confidence = (p - thresholds) / room.clamp(min=1e-6)
        high = (confidence * positive).sum(dim=1) / positive.sum(dim=1).clamp(min=1)
        low = (confidence * ~positive).sum(dim=1) / (~positive).sum(dim=1).clamp(min=1)
        return 1 / (high - low).clamp(min=1e-3)

    return by_rows(score, probabilities)


def max_loss_reduction(probabilities: Tensor) -> Tensor:
    """Expected loss reduction with maximal confidence, Yang et al. 2009.

    Sum over classes of (1 - y_c f_c) / 2, where f = 2p - 1 and y = +1 for the m likeliest
    classes, -1 for the others. The authors predict m with a regression of its own; here m is the
    expected number of labels, sum_c p_c, rounded.
    """

    def score(p: Tensor) -> Tensor:
        count = p.sum(dim=1, keepdim=True).round()  # (rows, 1)
        rank = p.argsort(dim=1, descending=True).argsort(dim=1)
        sign = torch.where(rank < count, 1.0, -1.0)
        return ((1 - sign * (2 * p - 1)) / 2).sum(dim=1)

    return by_rows(score, probabilities)


def cvirs(probabilities: Tensor, thresholds: Tensor, labels: Tensor) -> Tensor:
    """Category vector inconsistency and ranking of scores, Reyes et al. 2018.

    Product of (a) the Borda count of the image's margins |2p_c - 1|, smallest margin ranked
    highest in each class, as a share of the highest count possible, and (b) the mean distance
    between its predicted label vector and those of the labelled images `labels` (L, C): the
    normalised entropy distance of the two vectors, or 1 where they differ in every class. With
    nothing labelled, (b) is 1.
    """
    images, classes = probabilities.shape
    ranks = torch.zeros(images, device=probabilities.device)
    for c in range(classes):
        margin = (2 * probabilities[:, c].float() - 1).abs()
        ranks += _votes(margin)
    borda = ranks / (classes * max(1, images - 1))
    return borda * _inconsistency(probabilities, thresholds, labels)


def _votes(margin: Tensor) -> Tensor:
    """For each image, how many have a larger margin; ties share their mean."""
    values, inverse, counts = torch.unique(margin, return_inverse=True, return_counts=True)
    above = counts.sum() - counts.cumsum(dim=0)
    return (above + (counts - 1) / 2)[inverse].float() if values.numel() else margin


def _inconsistency(probabilities: Tensor, thresholds: Tensor, labels: Tensor) -> Tensor:
    if labels.shape[0] == 0:
        return torch.ones(probabilities.shape[0], device=probabilities.device)
    # Distances are computed once for each pair of distinct label vectors.
    seen, counts = torch.unique(labels > 0.5, dim=0, return_counts=True)
    weights = counts.float() / labels.shape[0]
    scores = torch.empty(probabilities.shape[0], device=probabilities.device)
    for rows in row_blocks(*probabilities.shape):
        predicted = probabilities[rows].float() >= thresholds
        distinct, inverse = torch.unique(predicted, dim=0, return_inverse=True)
        means = [
            entropy_distance(distinct[block], seen) @ weights
            for block in row_blocks(distinct.shape[0], seen.numel())
        ]
        scores[rows] = torch.cat(means)[inverse]
    return scores


def entropy_distance(a: Tensor, b: Tensor) -> Tensor:
    """(A, B) distances in [0, 1] between 0/1 vectors `a` (A, C) and `b` (B, C).

    (2 H(x, y) - H(x) - H(y)) / H(x, y), the entropies taken over classes: 0 for equal vectors,
    1 for independent ones. Vectors that differ in every class would be at 0, each being a
    function of the other; they are at 1 by definition (Reyes et al. 2018).
    """
    x, y = a.float(), b.float()
    classes = x.shape[1]
    both, only_x, only_y = x @ y.T, x @ (1 - y).T, (1 - x) @ y.T  # (A, B)
    shares = torch.stack([both, only_x, only_y, classes - both - only_x - only_y]) / classes
    joint = -torch.xlogy(shares, shares).sum(dim=0)
    h_x, h_y = _entropy(x.mean(dim=1)).unsqueeze(1), _entropy(y.mean(dim=1))
    distance = (2 * joint - h_x - h_y) / joint.clamp(min=1e-12)
    distance = torch.where(joint > 1e-12, distance, torch.zeros(()).to(joint)).clamp(0, 1)
    return torch.where(only_x + only_y == classes, torch.ones(()).to(joint), distance)


def _entropy(p: Tensor) -> Tensor:
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))


def match_distribution(probabilities: Tensor, k: int, target: Tensor, labels: Tensor) -> Tensor:
    """k picks that keep the mean label vector of labelled and bought closest to `target`.

    `probabilities` (N, C) of the pool, `target` (C,) the wanted share of images that show each
    class, `labels` (L, C) those bought earlier. Greedy; a form of herding
    (Welling 2009) in the space of label counts. Pick t minimises the squared distance between
    the label counts, expected for what has been picked, and (L + t) * target. Deterministic.
    """
    p = probabilities.float().contiguous()
    target = target.float()
    half_norms = p.square().sum(dim=1) / 2  # (N,)
    missing = labels.shape[0] * target - labels.float().sum(dim=0)  # (C,)
    picks = torch.empty(k, dtype=torch.long, device=p.device)
    for t in range(k):
        missing = missing + target
        gain = torch.addmv(half_norms, p, missing, beta=-1)  # minus half the squared distance
        picks[t] = gain.argmax()
        missing = missing - p[picks[t]]
        half_norms[picks[t]] = torch.inf
    return picks
