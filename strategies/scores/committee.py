"""Scores of a committee's disagreement: `committee` (K, N, C), probabilities of K members.

All give (N,) float32, summed over classes, each a Bernoulli of its own; 0 where all agree.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from strategies.blocks import row_blocks
from strategies.scores.uncertainty import binary_entropy


def bald(committee: Tensor) -> Tensor:
    """Mutual information between label and model, in nats: H(mean p) - mean H(p).

    Houlsby et al. 2011, Gal et al. 2017. With classes independent given the model, this is the
    sum of each class's own information, not that of the joint label vector.
    """
    return _by_images(
        committee, lambda p: binary_entropy(p.mean(dim=0)) - binary_entropy(p).mean(dim=0)
    )


def vote_disagreement(committee: Tensor, thresholds: Tensor) -> Tensor:
    """Entropy of the members' votes p_c >= threshold_c, in nats: query by committee.

    Dagan and Engelson 1995 (vote entropy), per class. `thresholds` (C,).
    """
    return _by_images(committee, lambda p: binary_entropy((p >= thresholds).float().mean(dim=0)))


def _by_images(committee: Tensor, per_class: Callable[[Tensor], Tensor]) -> Tensor:
    members, images, classes = committee.shape
    scores = torch.empty(images, device=committee.device)
    for rows in row_blocks(images, members * classes):
        information = per_class(committee[:, rows].float())  # (rows, C)
        scores[rows] = information.sum(dim=1).clamp(min=0)
    return scores
