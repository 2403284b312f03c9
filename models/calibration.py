"""From out-of-fold logits to probabilities and decisions: temperature, bias, thresholds, F1."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

N_PERMUTATIONS, NULL_QUANTILE = 100, 0.95  # random rankings, and the share that must be beaten


@dataclass(frozen=True)
class Calibration:
    """`sigmoid(logits / temperature + bias)`, and where each class's probability becomes a yes.

    temperature : one positive number for all classes; bias : (C,); thresholds : (C,) in [0, 1];
    f1 : (C,), F1 at these thresholds on the images they were fitted to.
    """

    temperature: float
    bias: Tensor
    thresholds: Tensor
    f1: Tensor

    def probabilities(self, logits: Tensor) -> Tensor:
        """(..., C) logits to calibrated probabilities."""
        return torch.sigmoid(logits / self.temperature + self.bias)


def uncalibrated(n_classes: int, positive_weight: float) -> Calibration:
    """What a loss that weights positives `positive_weight` : 1 implies, with nothing measured."""
    bias = torch.full((n_classes,), -float(torch.tensor(positive_weight).log()))
    return Calibration(1.0, bias, torch.full((n_classes,), 0.5), torch.zeros(n_classes))


def calibrate(logits: Tensor, labels: Tensor, positive_weight: float) -> Calibration:
    """Fit the temperature (Guo et al., 2017) and a bias per class, then each class's threshold.

    The bias undoes the loss's weight on positives; it is held near `-log(positive_weight)` as
    strongly as four images would hold it, so that a class without positives stays finite.

    logits, labels : (L, C), out-of-fold; labels of 0/1.
    """
    start = uncalibrated(labels.shape[1], positive_weight)
    log_temperature = torch.zeros((), requires_grad=True)
    bias = start.bias.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [log_temperature, bias], max_iter=100, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        scaled = logits / log_temperature.exp() + bias
        misfit = F.binary_cross_entropy_with_logits(scaled, labels, reduction="sum")
        pull = 2 * (bias - start.bias).square().sum() + 2 * log_temperature.square()
        value: Tensor = misfit + pull
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    temperature, bias = float(log_temperature.detach().exp()), bias.detach()
    thresholds, f1 = best_thresholds(torch.sigmoid(logits / temperature + bias), labels)
    return Calibration(temperature, bias, thresholds, f1)


def best_thresholds(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """For each class the threshold with the highest F1, and that F1; both (C,).

    A threshold lies halfway between two neighbouring probabilities, never between equal ones. A
    class without positives gets 0.5 and an F1 of 0.
    """
    thresholds = torch.full((labels.shape[1],), 0.5)
    f1 = torch.zeros(labels.shape[1])
    for c in range(labels.shape[1]):
        positives = labels[:, c].sum()
        if positives == 0:
            continue
        ranked, order = probabilities[:, c].sort(descending=True)
        hits = labels[order, c].cumsum(0)  # true positives if the first i + 1 are called yes
        scores = 2 * hits / (torch.arange(1, len(order) + 1) + positives)
        scores[:-1][ranked[:-1] == ranked[1:]] = -1  # no threshold parts these
        best = int(scores.argmax())
        below = ranked[best + 1] if best + 1 < len(ranked) else ranked.new_zeros(())
        thresholds[c] = (ranked[best] + below) / 2
        f1[c] = scores[best]
    return thresholds, f1


def is_near_chance(f1: Tensor, labels: Tensor) -> bool:
    """Whether in most classes a random ranking would reach the learner's F1.

    f1 : (C,), out of fold, at the best threshold, which is at least what "yes" to every image
        scores. A random ranking has that, too, most of all in a rare class: so its distribution is
        drawn, and not worked out.
    labels : (N, C) of the images that it was measured on.
    """
    rng = torch.Generator().manual_seed(0)
    null = [
        best_thresholds(torch.rand(labels.shape, generator=rng), labels)[1]
        for _ in range(N_PERMUTATIONS)
    ]
    null_f1 = torch.stack(null).quantile(NULL_QUANTILE, dim=0)  # (C,)
    return bool((f1 <= null_f1).float().mean() > 0.5)
