"""One temperature for all logits, so that probabilities mean what they say (Guo et al. 2017)."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from strategies.blocks import by_rows

HIGHEST, STEPS = 20.0, 121  # from 1 / HIGHEST; the middle step is 1
PULL = 2.0  # towards 1, as strong as that of the learner's own calibration
EDGE = 1e-6  # probabilities of exactly 0 or 1 have no finite logit


def tempered_uncertainty(probabilities: Tensor, temperature: float) -> Tensor:
    """`total_uncertainty` of probabilities (N, C) whose logits are divided by `temperature`: (N,).

    Summed from sigmoid(-|logit|), since 0.5 - |p - 0.5| is 0 for every p that rounds to 1.
    """
    return by_rows(
        lambda p: torch.sigmoid(-_logits(p).abs() / temperature).sum(dim=1), probabilities
    )


def fitted_temperature(probabilities: Tensor, labels: Tensor) -> float:
    """The temperature, from a geometric grid of 0.05 to 20, with the lowest binary cross-entropy
    of `probabilities` (L, C), out-of-fold, against `labels` (L, C), plus 2 log² of itself.

    Without that pull towards 1 a few easy images, all predicted right, would ask for the lowest
    temperature there is, at which no image of the pool is in doubt. It weighs the less the more
    is labelled; 1 where nothing is.
    """
    if labels.numel() == 0:
        return 1.0
    logits, targets = _logits(probabilities), labels.float()
    grid = torch.logspace(-1, 1, STEPS, base=HIGHEST, dtype=torch.float64)
    misfits = [
        float(binary_cross_entropy_with_logits(logits / t, targets, reduction="sum"))
        for t in grid.tolist()
    ]
    return float(grid[(torch.tensor(misfits) + PULL * grid.log().square()).argmin()])


def _logits(probabilities: Tensor) -> Tensor:
    return probabilities.float().clamp(EDGE, 1 - EDGE).logit()
