"""Sets chosen by what they would do to the learner's last layer: BADGE and BAIT.

BADGE (Ash et al. 2020) samples gradients of the last layer that are large and diverse.

BAIT (Ash et al. 2021, "Gone fishing: neural active learning with Fisher embeddings") takes the
batch S whose Fisher information best covers the pool's: minimise tr(M(S)^-1 F), where F is summed
over pool and labelled images, and M(S) is that of the labelled images and of S, plus lambda I;
forward greedy to `oversample` * k picks, then backward greedy to k. Adaptations. Classes are
independent Bernoullis with a weight vector each, so the information of one image is
block-diagonal: p_c (1 - p_c) h h^T for class c, exactly; no softmax cross terms, and each pick is
a rank-one update of each block. h is projected on the pool's `rank` leading principal components,
which bounds the blocks. In the forward pass, all gains are computed after 1, 2, 4, ... and then
every 64 picks; in between, exact ones of the 1,024 leading images only.
"""

from typing import Annotated

import torch
from torch import Tensor

from strategies.blocks import row_blocks
from strategies.feature_space import EmbeddingPoints, GradientPoints, column_means
from strategies.parameters import Range
from strategies.pool_view import PoolView
from strategies.registry import register
from strategies.selectors import d_squared_sample, one_thread, random_k

SHORT_LIST = 1024
RECOMPUTE_EVERY = 64  # picks at most; float32 updates drift, too


@register("badge", source="Ash et al. 2020; multi-label gradient, factorised")
def select_badge(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """D² sampling of the gradients the last layer would see, at the learner's own guesses.

    The first pick has the largest gradient, as in the authors' code. Adaptation: the gradient of
    the sum of C binary cross-entropies, (p - guess) ⊗ h, in place of the softmax's. h is the
    pooled embedding, so the last layer is one that stood on it.
    """
    points = GradientPoints(pool.probabilities, pool.embeddings)
    return d_squared_sample(points, k, rng, first=int(points.squared_norms().argmax()))


@register("bait", source="Ash et al. 2021; Bernoulli outputs, bounded rank")
def select_bait(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    rank: Annotated[int, Range(1, 512)] = 64,
    oversample: Annotated[float, Range(1, 1e6)] = 2.0,
    ridge: Annotated[float, Range(1e-6)] = 1.0,
    candidates: Annotated[int, Range(1)] = 50_000,
) -> Tensor:
    """Greedy batch whose Fisher information best covers that of the whole pool.

    Information is of the whole pool; the picks come from up to `candidates` images, all where
    there are no more, else a random sample (at least twice k). `rank`: principal components of
    the embeddings kept, plus a constant for the bias. `ridge`: the paper's lambda, where
    embeddings have a mean square of 1 and information is a sum.
    """
    mean, axes = principal_axes(pool.embeddings, rank)
    h, labelled = (
        _project(pool.embeddings, mean, axes),
        _project(pool.labelled_embeddings, mean, axes),
    )
    spread = h.square().mean().sqrt().clamp(min=1e-6)  # so that `ridge` has no unit
    h, labelled = _with_bias(h / spread), _with_bias(labelled / spread)
    variances = pool.probabilities.float() * (1 - pool.probabilities.float())
    known = pool.labelled_probabilities.float() * (1 - pool.labelled_probabilities.float())
    start = fisher_blocks(labelled, known)  # (C, R, R)
    target = start + fisher_blocks(h, variances)
    start = start + ridge * torch.eye(h.shape[1], dtype=start.dtype, device=start.device)
    count = min(pool.size, max(candidates, 2 * k))
    if count == pool.size:
        return greedy_information(h, variances, k, target, start, oversample)
    sample = random_k(pool.size, count, rng, h.device)
    return sample[greedy_information(h[sample], variances[sample], k, target, start, oversample)]


def greedy_information(
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
    forward = min(features.shape[0], max(k, round(oversample * k)))
    with one_thread():
        state = _Information(features, variances, fisher, start, sign=1.0)
        picks = [state.move() for _ in range(forward)]
        chosen = torch.tensor(picks, dtype=torch.long, device=features.device)
        known = state.information
        back = _Information(features[chosen], variances[chosen], fisher, known, sign=-1.0)
        for _ in range(forward - k):
            back.move()
    return chosen[back.free]


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


def _project(embeddings: Tensor, mean: Tensor, axes: Tensor) -> Tensor:
    projected = torch.empty(embeddings.shape[0], axes.shape[1], device=axes.device)
    for rows in row_blocks(*embeddings.shape):
        projected[rows] = (embeddings[rows].to(axes) - mean) @ axes
    return projected


def _with_bias(h: Tensor) -> Tensor:
    return torch.cat([h, h.new_ones(h.shape[0], 1)], dim=1)


class _Information:
    """M per class, and what adding (sign 1) or dropping (sign -1) an image does to tr(M^-1 F)."""

    def __init__(
        self, h: Tensor, variances: Tensor, fisher: Tensor, information: Tensor, sign: float
    ) -> None:
        self._h, self._s, self._sign = h.float(), sign * variances.float(), sign  # (N, R), (N, C)
        self._fisher = fisher.double()  # (C, R, R)
        self.information = information.double().clone()
        self.free = torch.ones(h.shape[0], dtype=torch.bool, device=h.device)
        self._moves, self._next = 0, 0

    def move(self) -> int:
        """Add the image that lowers the trace most, or drop the one that raises it least."""
        if self._moves == self._next:
            self._recompute()
        best = int(self._gains(self._list_s, self._a, self._b).add_(self._barred).argmax())
        image = int(self._list[best])
        self.free[image] = False
        self._barred[best] = -torch.inf
        self._moves += 1
        self._update(self._list_h[best].double(), self._list_s[best].double())
        return image

    def _gains(self, s: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Fall of the trace by Sherman and Morrison, (images,); negative when dropping."""
        return (s * b / (1 + s * a).clamp(min=1e-6)).sum(dim=1)

    def _update(self, h: Tensor, s: Tensor) -> None:
        """M += s h h^T in each class, and all that hangs on it: h (R,), s (C,)."""
        self.information += s.view(-1, 1, 1) * torch.outer(h, h)
        u = self._inverse @ h  # (C, R)
        gamma = s / (1 + s * (u @ h)).clamp(min=1e-9)  # (C,)
        w = (self._covering @ h.unsqueeze(1)).squeeze(2)  # (C, R): M^-1 F M^-1 h
        phi = w @ h  # (C,): h^T M^-1 F M^-1 h
        g = gamma.view(-1, 1, 1)
        uu, uw = u.unsqueeze(2) * u.unsqueeze(1), u.unsqueeze(2) * w.unsqueeze(1)
        self._inverse -= g * uu
        self._covering += g * g * phi.view(-1, 1, 1) * uu - g * (uw + uw.transpose(1, 2))
        hu, hw = (self._list_h @ torch.cat([u, w]).float().T).chunk(2, dim=1)  # (list, C) each
        gf, pf = gamma.float(), phi.float()
        self._a -= gf * hu.square()
        self._b += hu * (gf * gf * pf * hu - 2 * gf * hw)

    def _recompute(self) -> None:
        """Everything from M, and who leads."""
        self._inverse = torch.linalg.inv(self.information)  # (C, R, R)
        self._covering = self._inverse @ self._fisher @ self._inverse
        a, b = torch.empty_like(self._s), torch.empty_like(self._s)  # (N, C)
        inverse, covering = self._inverse.float(), self._covering.float()
        for rows in row_blocks(*self._h.shape):
            h = self._h[rows]
            for c in range(self._s.shape[1]):
                a[rows, c] = ((h @ inverse[c]) * h).sum(dim=1)
                b[rows, c] = ((h @ covering[c]) * h).sum(dim=1)
        gains = self._gains(self._s, a, b).masked_fill_(~self.free, -torch.inf)
        self._list = gains.topk(min(SHORT_LIST, gains.numel())).indices
        self._a, self._b = a[self._list], b[self._list]
        self._list_h, self._list_s = self._h[self._list], self._s[self._list]
        self._barred = torch.zeros_like(self._a[:, 0]).masked_fill_(
            ~self.free[self._list], -torch.inf
        )
        self._next = self._moves + max(1, min(RECOMPUTE_EVERY, self._moves))
