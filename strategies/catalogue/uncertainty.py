"""The k images with the highest score of their own: no thought for the set."""

import torch
from torch import Tensor

from strategies.pool import PoolView
from strategies.registry import register
from strategies.scores import uncertainty as scores
from strategies.selectors.topk import top_k


@register("entropy", source="first place, ZEW Data Purchasing Challenge 2022")
def entropy(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Highest mean over classes of the binary entropy."""
    return top_k(scores.mean_binary_entropy(pool.probabilities), k)


@register("uncertainty", source="leading team, ZEW Data Purchasing Challenge 2022")
def uncertainty(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Highest sum over classes of 0.5 - |p - 0.5|: expected wrong labels."""
    return top_k(scores.total_uncertainty(pool.probabilities), k)


@register("margin", source="Scheffer et al. 2001, per label")
def margin(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Smallest margin |2p - 1| of any class."""
    return top_k(scores.negative_margin(pool.probabilities), k)


@register("least-confidence", source="Lewis and Gale 1994, joint label")
def least_confidence(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Least probable likeliest label vector."""
    return top_k(scores.least_confidence(pool.probabilities), k)


@register("hard-classes", source="leading team, ZEW Data Purchasing Challenge 2022")
def hard_classes(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Likely to show the classes with the lowest validated F1: sum of p (1 - F1)."""
    return top_k(scores.hard_classes(pool.probabilities, pool.validation_f1), k)


@register("rare-positives", source="ours; inverse-frequency weighting")
def rare_positives(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Most expected positives, each weighted by how rare its class is among the labelled."""
    return top_k(scores.rare_positives(pool.probabilities, pool.labelled_labels), k)
