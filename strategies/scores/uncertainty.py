"""Scores of one image's predicted probabilities, each class a Bernoulli of its own.

All take `probabilities` (N, C) in [0, 1] and give (N,) float32; higher is more informative.
"""

import torch
from torch import Tensor

from strategies.blocks import by_rows


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
