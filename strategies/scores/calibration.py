"""One temperature for all logits, so that probabilities mean what they say (Guo et al. 2017)."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

HIGHEST, STEPS = 20.0, 121  # from 1 / HIGHEST; the middle step is 1
EDGE = 1e-6  # probabilities of exactly 0 or 1 have no finite logit


def temper(probabilities: Tensor, temperature: float) -> Tensor:
    """Probabilities whose logits are divided by `temperature`; above 1 they grow less certain."""
    return torch.sigmoid(_logits(probabilities) / temperature)


def fitted_temperature(probabilities: Tensor, labels: Tensor) -> float:
    """The temperature, from a geometric grid of 0.05 to 20, with the lowest mean binary
    cross-entropy of `probabilities` (L, C), out-of-fold, against `labels` (L, C).

    1 where nothing is labelled. With so few labels that they are fitted perfectly, or not at all,
    the grid's ends bound the answer.
    """
    if labels.numel() == 0:
        return 1.0
    logits, targets = _logits(probabilities), labels.float()
    grid = torch.logspace(-1, 1, STEPS, base=HIGHEST).tolist()
    losses = [float(binary_cross_entropy_with_logits(logits / t, targets)) for t in grid]
    best = min(range(STEPS), key=lambda i: (losses[i], abs(i - STEPS // 2)))
    return float(grid[best])


def _logits(probabilities: Tensor) -> Tensor:
    return probabilities.float().clamp(EDGE, 1 - EDGE).logit()
