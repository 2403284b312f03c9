"""Choose images whose expected labels bring the labelled set to a target distribution.

Source: the hosts' suggestion in the ZEW challenge (2022); greedily, a form of herding
(Welling 2009) in the space of label counts.
"""

import torch
from torch import Tensor


def match_distribution(probabilities: Tensor, k: int, target: Tensor, labels: Tensor) -> Tensor:
    """k picks that keep the mean label vector of labelled and bought closest to `target`.

    `probabilities` (N, C) of the pool, `target` (C,) the wanted share of images that show each
    class, `labels` (L, C) those bought earlier. Pick t minimises the squared distance between
    the label counts, expected for what has been picked, and (L + t) * target. Deterministic.
    """
    p = probabilities.float().contiguous()
    target = target.float()
    half_norms = p.square().sum(dim=1) / 2  # (N,)
    missing = labels.shape[0] * target - labels.float().sum(dim=0)  # (C,)
    picks = torch.empty(k, dtype=torch.long, device=p.device)
    for t in range(k):
        missing = missing + target
        gain = torch.addmv(half_norms, p, missing, beta=-1)  # minus half the squared distance
        picks[t] = gain.argmax()
        missing = missing - p[picks[t]]
        half_norms[picks[t]] = torch.inf
    return picks
