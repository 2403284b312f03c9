"""Stochastic top-k: the ranking with noise, so that a batch holds fewer look-alikes.

Source: Kirsch et al. 2021/2023, "Stochastic batch acquisition: a simple baseline for deep active
learning". Adding Gumbel noise to log-weights and taking the top k draws k images without
replacement with probabilities proportional to the weights (Kool et al. 2019).
"""

from typing import Annotated, Literal

import torch
from torch import Tensor

from strategies.families.uncertainty import mean_binary_entropy
from strategies.parameters import Range
from strategies.pool_view import PoolView
from strategies.registry import register

Form = Literal["power", "softmax", "softrank"]


@register("stochastic-entropy", source="Kirsch et al. 2023")
def select_stochastic_entropy(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    form: Form = "power",
    beta: Annotated[float, Range(0)] = 1.0,
) -> Tensor:
    """Mean binary entropy with noise on the ranking, against batches of look-alikes."""
    return stochastic_top_k(mean_binary_entropy(pool.probabilities), k, rng, form, beta)


def stochastic_top_k(
    scores: Tensor, k: int, rng: torch.Generator, form: Form = "power", beta: float = 1.0
) -> Tensor:
    """k positions drawn without replacement, best of the noisy ranking first.

    Weights: `power`, score ** beta (scores not negative; those of 0 come last); `softmax`,
    exp(beta * score); `softrank`, rank ** -beta with rank 1 the best. The larger beta, the closer
    to top-k. The distribution does not depend on the order of the pool (softrank: up to ties).
    """
    scores = scores.double()
    if form == "power":
        if scores.numel() and float(scores.min()) < 0:
            raise ValueError(
                f"Power acquisition needs scores from 0; the lowest is {float(scores.min()):.4g}. "
                "Use form=softmax or form=softrank."
            )
        # The smallest float and not 0: minus infinity would make all of them tie.
        logits = beta * scores.clamp(min=torch.finfo(torch.float64).tiny).log()
    elif form == "softmax":
        logits = beta * scores
    else:
        ranks = torch.empty_like(scores)
        ranks[scores.argsort(descending=True)] = torch.arange(
            1, scores.numel() + 1, dtype=torch.float64, device=scores.device
        )
        logits = -beta * ranks.log()
    uniform = torch.rand(scores.numel(), generator=rng, dtype=torch.float64, device=rng.device)
    tiny = torch.finfo(torch.float64).tiny
    gumbel = -(-uniform.clamp(min=tiny).log()).clamp(min=tiny).log()
    return (logits + gumbel.to(scores.device)).topk(k).indices
