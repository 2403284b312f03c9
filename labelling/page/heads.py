"""Heads on kept features: one logistic regression for each class, cross-fitted.

The one place that knows how the page's learner learns; whatever else learns from features and
labels could stand here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

PENALTIES = (3e-5, 3e-4, 3e-3, 3e-2)  # on the squared weights, beside the mean loss
RANK_TOLERANCE = 1e-6  # share of the largest eigenvalue below which a direction is rounding
ITERATIONS = 60  # of L-BFGS: all heads of all folds at once
SMALLEST_SPREAD = 1e-3  # standard deviation below which a feature says nothing


@dataclass(frozen=True)
class Standardise:
    """Features to mean 0 and standard deviation 1, scaled so that a row has a norm of about 1."""

    mean: Tensor  # (D,)
    scale: Tensor  # (D,)

    @classmethod
    def of(cls, features: Tensor) -> "Standardise":
        """By the statistics of `features` (N, D), labelled or not."""
        spread = features.std(dim=0, correction=0)
        scale = (spread > SMALLEST_SPREAD) / spread.clamp_min(SMALLEST_SPREAD)
        return cls(features.mean(dim=0), scale / features.shape[1] ** 0.5)

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean) * self.scale


@dataclass(frozen=True)
class Heads:
    """Fitted heads, one set for each fold; set k has not seen fold k.

    weights : (K, D, C); biases : (K, 1, C).
    out_of_fold : (L, C), logits of the labelled images, each by the set that has not seen it.
    penalty : of PENALTIES, that they were fitted with.
    """

    weights: Tensor
    biases: Tensor
    out_of_fold: Tensor
    penalty: float

    def logits(self, features: Tensor) -> Tensor:
        """(K, N, C) of standardised `features` (N, D)."""
        return features @ self.weights + self.biases


class HeadFitter:
    """Fits heads on standardised `features` (L, D), any number of times.

    A penalised head is a combination of the images that it was fitted to, so that it is looked for
    among these, in at most L dimensions, and not among D: with 100 labels, forty times fewer.
    """

    def __init__(self, features: Tensor) -> None:
        values, vectors = torch.linalg.eigh(features @ features.T)  # (L,), (L, L)
        kept = values > values[-1] * RANK_TOLERANCE
        roots = values[kept].sqrt()
        self._coordinates = vectors[:, kept] * roots  # (L, R)
        self._basis = features.T @ (vectors[:, kept] / roots)  # (D, R), orthonormal

    def fit(
        self,
        labels: Tensor,
        folds: Tensor,
        trained: Tensor | None = None,
        penalties: Sequence[float] = PENALTIES,
    ) -> Heads:
        """Heads for `labels` (L, C) of 0/1; the best of `penalties` by the loss out of fold.

        folds : (L,) in 0..K-1, what each set of heads does not see.
        trained : (L,), which images are learned from at all; None for all. All are predicted.
        """
        seen = torch.stack([folds != fold for fold in range(int(folds.max()) + 1)])  # (K, L)
        if trained is not None:
            seen &= trained
        tried = [self._fit(labels, folds, seen, penalty) for penalty in penalties]
        counted = slice(None) if trained is None else trained
        losses = [
            float(F.binary_cross_entropy_with_logits(one.out_of_fold[counted], labels[counted]))
            for one in tried
        ]
        return tried[losses.index(min(losses))]

    def _fit(self, labels: Tensor, folds: Tensor, seen: Tensor, penalty: float) -> Heads:
        n_folds, n_classes = seen.shape[0], labels.shape[1]
        n_seen = seen.sum(dim=1).clamp_min(1).view(-1, 1, 1)  # (K, 1, 1)
        share = seen.unsqueeze(2) / n_seen  # (K, L, 1), each image's weight in the mean
        positives = (seen.unsqueeze(2) * labels).sum(dim=1, keepdim=True)  # (K, 1, C)
        x = self._coordinates
        weights = torch.zeros(n_folds, x.shape[1], n_classes, requires_grad=True)
        biases = ((positives + 0.5) / (n_seen - positives + 0.5)).log().requires_grad_()
        optimiser = torch.optim.LBFGS(
            [weights, biases], max_iter=ITERATIONS, history_size=8, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimiser.zero_grad()
            logits = x @ weights + biases  # (K, L, C)
            each = F.binary_cross_entropy_with_logits(
                logits, labels.expand_as(logits), reduction="none"
            )
            value: Tensor = (each * share).sum() + penalty * weights.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        with torch.enable_grad():
            optimiser.step(loss)  # type: ignore[no-untyped-call]
        weights, biases = weights.detach(), biases.detach()
        out_of_fold = (x @ weights + biases)[folds, torch.arange(len(folds))]  # (L, C)
        return Heads(self._basis @ weights, biases, out_of_fold, penalty)
