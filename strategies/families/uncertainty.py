"""Uncertainty sampling: the k images with the highest score of their own.

Scores take `probabilities` (N, C) in [0, 1], each class a Bernoulli of its own, and give (N,)
float32; higher is more informative.
"""

import torch
from torch import Tensor

from strategies.blocks import by_rows
from strategies.pool_view import PoolView
from strategies.registry import register
from strategies.selectors import top_k


@register("entropy", source="first place, ZEW Data Purchasing Challenge 2022")
def select_entropy(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Highest mean over classes of the binary entropy."""
    return top_k(mean_binary_entropy(pool.probabilities), k)


@register("uncertainty", source="leading team, ZEW Data Purchasing Challenge 2022")
def select_uncertainty(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Highest sum over classes of 0.5 - |p - 0.5|: expected wrong labels."""
    return top_k(total_uncertainty(pool.probabilities), k)


@register("margin", source="Scheffer et al. 2001, per label")
def select_margin(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Smallest margin |2p - 1| of any class."""
    return top_k(negative_margin(pool.probabilities), k)


@register("least-confidence", source="Lewis and Gale 1994, joint label")
def select_least_confidence(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Least probable likeliest label vector."""
    return top_k(least_confidence(pool.probabilities), k)


@register("hard-classes", source="leading team, ZEW Data Purchasing Challenge 2022")
def select_hard_classes(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Likely to show the classes with the lowest validated F1: sum of p (1 - F1)."""
    return top_k(hard_classes(pool.probabilities, pool.validation_f1), k)


@register("rare-positives", source="ours; inverse-frequency weighting")
def select_rare_positives(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Most expected positives, each weighted by how rare its class is among the labelled."""
    return top_k(rare_positives(pool.probabilities, pool.labelled_labels), k)


def binary_entropy(probabilities: Tensor) -> Tensor:
    """Entropy in nats of a Bernoulli(p), elementwise; exactly 0 at p of 0 and 1."""
    p = probabilities
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))


def mean_binary_entropy(probabilities: Tensor) -> Tensor:
    """Mean over classes of the binary entropy, in nats.

    The score of the first place of the ZEW challenge (2022). With independent classes the
    entropy of the whole label vector is C times this.
    """
    return by_rows(lambda p: binary_entropy(p).mean(dim=1), probabilities)


def total_uncertainty(probabilities: Tensor) -> Tensor:
    """Sum over classes of 0.5 - |p - 0.5|: the expected number of wrong labels at threshold 0.5.

    The score of another leading team of the ZEW challenge (2022).
    """
    return by_rows(lambda p: (0.5 - (p - 0.5).abs()).sum(dim=1), probabilities)


def negative_margin(probabilities: Tensor) -> Tensor:
    """Minus the smallest margin |p - (1 - p)| over classes: the class closest to a coin toss.

    Margin sampling (Scheffer et al. 2001) takes the two likeliest of C exclusive classes; here
    each class has its own two outcomes, and the image is as doubtful as its most doubtful class.
    """
    return by_rows(lambda p: -(2 * p - 1).abs().amin(dim=1), probabilities)


def least_confidence(probabilities: Tensor) -> Tensor:
    """Minus the log-probability of the likeliest label vector, -sum_c log max(p_c, 1 - p_c).

    Least confidence (Lewis and Gale 1994) on the joint label of independent classes; the
    logarithm keeps the ranking of 1 - prod_c max(p_c, 1 - p_c) and does not round to 1.
    """
    return by_rows(lambda p: -torch.maximum(p, 1 - p).log().sum(dim=1), probabilities)


def hard_classes(probabilities: Tensor, f1: Tensor) -> Tensor:
    """Sum over classes of p_c (1 - F1_c): likely to show what the learner cannot yet do.

    `f1` (C,) is the learner's validated F1. From a leading team of the ZEW challenge (2022).
    """
    weight = 1 - f1.float()
    return by_rows(lambda p: p @ weight, probabilities)


def rare_positives(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Expected positives, each weighted by the rarity of its class in `labels` (L, C).

    Weight: one over the class's prevalence among the labelled images, smoothed by one positive
    and one negative (Laplace), so that a class never seen weighs L + 2 and not infinity.
    """
    prevalence = (labels.float().sum(dim=0) + 1) / (labels.shape[0] + 2)  # (C,)
    return by_rows(lambda p: p @ (1 / prevalence), probabilities)
