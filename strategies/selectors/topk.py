"""The k best by score, and k at random."""

import torch
from torch import Tensor


def top_k(scores: Tensor, k: int) -> Tensor:
    """Positions of the k highest of `scores` (N,), best first; ties in no promised order."""
    return scores.topk(k).indices


def random_k(size: int, k: int, rng: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
    """k of `size` positions, every set of k as likely as any other."""
    return torch.randperm(size, generator=rng, device=rng.device)[:k].to(device)
