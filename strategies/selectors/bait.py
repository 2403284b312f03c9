"""BAIT: the batch whose Fisher information best covers the pool's, at the last layer.

Source: Ash et al. 2021, "Gone fishing: neural active learning with Fisher embeddings". Minimise
tr(M(S)^-1 F): F is the Fisher information summed over pool and labelled images, M(S) that of the
labelled images and of S, plus lambda I; forward greedy to `oversample` * k picks, then backward
greedy to k.

Adaptations. Classes are independent Bernoullis with a weight vector each, so the information of
one image is block-diagonal: p_c (1 - p_c) h h^T for class c, exactly; no softmax cross terms, and
each pick is a rank-one update of each block. h is projected on the pool's `rank` leading
principal components, which bounds the blocks. Every term that an update changes is followed by
an O(N rank C) product, so that a pick costs one pass over the candidates.
"""

import torch
from torch import Tensor

from strategies.blocks import row_blocks
from strategies.selectors.points import EmbeddingPoints, column_means

RECOMPUTE_EVERY = 250  # picks; float32 updates drift
EXHAUSTED = -torch.inf


def bait(
    features: Tensor,
    variances: Tensor,
    k: int,
    fisher: Tensor,
    start: Tensor,
    oversample: float = 2.0,
) -> Tensor:
    """k picks of `features` (N, R) with `variances` p(1-p) (N, C), in order of a greedy forward
    pass, less those that the backward pass gives back.

    `fisher` (C, R, R) is what to cover, `start` (C, R, R) what is known already (labelled images
    plus lambda I, positive definite). Deterministic.
    """
    state = _Information(features.float(), variances.float(), fisher, start)
    forward = min(features.shape[0], max(k, round(oversample * k)))
    picks = [state.add_best() for _ in range(forward)]
    chosen = torch.tensor(picks, dtype=torch.long, device=features.device)
    if forward > k:
        backward = _Information(
            features[chosen].float(), variances[chosen].float(), fisher, state.information
        )
        for _ in range(forward - k):
            backward.drop_worst()
        chosen = chosen[backward.free]
    return chosen


def fisher_blocks(features: Tensor, variances: Tensor) -> Tensor:
    """Sum over images of p(1-p) h h^T for each class: (N, R), (N, C) -> (C, R, R), float64."""
    classes, rank = variances.shape[1], features.shape[1]
    total = torch.zeros(classes, rank, rank, dtype=torch.float64, device=features.device)
    for rows in row_blocks(features.shape[0], classes * rank):
        h = features[rows].float()
        weighted = variances[rows].float().T.unsqueeze(2) * h  # (C, rows, R)
        total += weighted.transpose(1, 2) @ h
    return total


def principal_axes(embeddings: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) and the `rank` leading principal axes (D, rank) of `embeddings` (N, D)."""
    mean = column_means(embeddings)
    points = EmbeddingPoints(embeddings, mean)
    covariance = torch.zeros(points.width, points.width, device=points.device)
    for rows in row_blocks(points.size, points.width):
        x = points.coordinates(rows)
        covariance += x.T @ x
    axes = torch.linalg.eigh(covariance / max(1, points.size)).eigenvectors  # ascending
    return mean, axes[:, -min(rank, points.width) :]


class _Information:
    """M per class, and for each image what adding (or dropping) it would do to tr(M^-1 F)."""

    def __init__(self, h: Tensor, variances: Tensor, fisher: Tensor, information: Tensor) -> None:
        self._h, self._s = h, variances  # (N, R), (N, C)
        self._fisher = fisher.double()  # (C, R, R)
        self.information = information.double().clone()
        self.free = torch.ones(h.shape[0], dtype=torch.bool, device=h.device)
        self._since = 0
        self._recompute()

    def add_best(self) -> int:
        """Add the image that lowers the trace most."""
        lowered = (self._s * self._b / (1 + self._s * self._a)).sum(dim=1)  # (N,)
        best = int(lowered.masked_fill(~self.free, EXHAUSTED).argmax())
        self._move(best, sign=1.0)
        return best

    def drop_worst(self) -> int:
        """Drop the image whose loss raises the trace least."""
        left = (1 - self._s * self._a).clamp(min=1e-6)
        raised = (self._s * self._b / left).sum(dim=1)
        worst = int(raised.masked_fill(~self.free, torch.inf).argmin())
        self._move(worst, sign=-1.0)
        return worst

    def _move(self, image: int, sign: float) -> None:
        """M += sign * s h h^T in each class; Sherman and Morrison for all that hangs on it."""
        self.free[image] = False
        h, s = self._h[image].double(), sign * self._s[image].double()  # (R,), (C,)
        self.information += s.view(-1, 1, 1) * torch.outer(h, h)
        u = self._inverse @ h  # (C, R)
        gamma = s / (1 + s * (u @ h))  # (C,)
        w = (self._covering @ h.unsqueeze(1)).squeeze(2)  # (C, R): M^-1 F M^-1 h
        phi = w @ h  # (C,): h^T M^-1 F M^-1 h
        g = gamma.view(-1, 1, 1)
        uu, uw = u.unsqueeze(2) * u.unsqueeze(1), u.unsqueeze(2) * w.unsqueeze(1)
        self._inverse -= g * uu
        self._covering += g * g * phi.view(-1, 1, 1) * uu - g * (uw + uw.transpose(1, 2))
        self._since += 1
        if self._since == RECOMPUTE_EVERY:
            self._recompute()
            return
        hu, hw = (self._h @ torch.cat([u, w]).float().T).chunk(2, dim=1)  # (N, C) each
        gf, pf = gamma.float(), phi.float()
        self._a -= gf * hu.square()
        self._b += hu * (gf * gf * pf * hu - 2 * gf * hw)

    def _recompute(self) -> None:
        self._since = 0
        self._inverse = torch.linalg.inv(self.information)  # (C, R, R)
        self._covering = self._inverse @ self._fisher @ self._inverse
        self._a, self._b = torch.empty_like(self._s), torch.empty_like(self._s)  # (N, C)
        inverse, covering = self._inverse.float(), self._covering.float()
        for c in range(self._s.shape[1]):
            self._a[:, c] = ((self._h @ inverse[c]) * self._h).sum(dim=1)
            self._b[:, c] = ((self._h @ covering[c]) * self._h).sum(dim=1)
