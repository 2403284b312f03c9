"""Query by committee: the images on which the members of an ensemble disagree.

Scores take `committee` (K, N, C), probabilities of K members, and give (N,) float32, summed over
classes, each a Bernoulli of its own; 0 where all agree.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from strategies.blocks import row_blocks
from strategies.families.uncertainty import binary_entropy
from strategies.pool_view import PoolView
from strategies.registry import register
from strategies.selectors import top_k


@register("bald", source="Houlsby et al. 2011; Gal et al. 2017; per label", members=2)
def select_bald(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Highest mutual information between labels and model, over a committee."""
    return top_k(bald(pool.committee), k)


@register("disagreement", source="Dagan and Engelson 1995 (vote entropy), per label", members=2)
def select_disagreement(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Highest entropy of the committee's votes; mutual information breaks ties and near ties."""
    votes = vote_disagreement(pool.committee, pool.thresholds)
    # Votes of few members differ by more than this; of many, close ones may change places.
    return top_k(votes + 1e-3 * bald(pool.committee), k)


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
