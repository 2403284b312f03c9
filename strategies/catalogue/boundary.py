"""Images on each class's boundary, the classes taking turns: made for rare classes."""

import torch
from torch import Tensor

from strategies.pool import PoolView
from strategies.registry import register
from strategies.scores.boundary import direct_order, galaxy_order
from strategies.selectors.quotas import class_quotas, round_robin


@register("galaxy", source="Zhang et al. 2022, per label")
def galaxy(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Bisect, class by class, the shortest stretch between labelled images of unlike label."""
    p, labelled, labels = pool.probabilities, pool.labelled_probabilities, pool.labelled_labels
    thresholds = pool.thresholds.tolist()
    wishes = [
        galaxy_order(p[:, c], labelled[:, c], labels[:, c], thresholds[c])[:k]
        for c in range(p.shape[1])
    ]
    return round_robin(wishes, k)


@register("direct", source="Nuggehalli et al. 2023, per label")
def direct(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Both sides of each class's optimal separation threshold, equally for every class."""
    p, labelled, labels = pool.probabilities, pool.labelled_probabilities, pool.labelled_labels
    wishes = [direct_order(p[:, c], labelled[:, c], labels[:, c])[:k] for c in range(p.shape[1])]
    return round_robin(wishes, k)


@register("class-quotas", source="ours; uncertainty with an equal share for every class")
def quotas(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """The images closest to each class's decision threshold, equally for every class."""
    return class_quotas(-(pool.probabilities.float() - pool.thresholds).abs(), k)
