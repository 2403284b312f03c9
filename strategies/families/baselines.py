"""What every other strategy is compared with: chance, and the challenge's first place."""

import torch
from torch import Tensor

from strategies.families.uncertainty import mean_binary_entropy
from strategies.pool_view import PoolView
from strategies.registry import register
from strategies.selectors import random_k, top_k


@register("random", source="baseline", plan="single-batch")
def select_random(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Every set of k images as likely as any other; looks at nothing."""
    return random_k(pool.size, k, rng)


@register("winner", source="first place, ZEW Data Purchasing Challenge 2022", plan="zew-winner")
def select_winner(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """The first-place solution: highest mean binary entropy, its ratio ladder and time model."""
    return top_k(mean_binary_entropy(pool.probabilities), k)
