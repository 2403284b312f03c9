"""Greedy maximum coverage under a kernel, by lazy evaluation.

F(S) = sum over anchors a of w_a max over s in S of K(a, s); each pick is the point that raises F
most. With the Gaussian kernel this is MaxHerding (Bae et al. 2024), with uncertainties as w it is
UHerding (Bae et al. 2025), with K = [distance <= radius] it is ProbCover (Yehuda et al. 2022).

F is submodular, so a gain computed earlier bounds the gain now from above (Minoux 1978): only
points whose old gain still leads are evaluated again. Kernel rows of the leaders are kept in one
block of fixed size; all rows are, where they fit.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from strategies.blocks import row_blocks
from strategies.selectors.points import EmbeddingPoints

Kernel = Callable[[Tensor], Tensor]

KEPT_NUMBERS = 2**27
"""Kernel values kept at a time: 512 MiB of float32."""

AT_ONCE = 32  # stale leaders evaluated together


def gaussian(radius: float) -> Kernel:
    """K = exp(-d² / radius²) of squared distances, in place."""
    scale = -1 / max(radius * radius, torch.finfo(torch.float32).tiny)
    return lambda squared: squared.mul_(scale).exp_()


def ball(radius: float) -> Kernel:
    """K = 1 within `radius`, else 0, of squared distances, in place."""
    return lambda squared: squared.copy_(squared <= radius * radius)


class GreedyCoverage:
    """Picks points one after another; what is covered stays covered from call to call.

    Parameters
    ----------
    points : the pool, all of it candidates.
    anchors : positions (A,) of the points to be covered; their cost is N x A kernel values.
    weights : (A,), what covering each anchor is worth, not negative.
    kernel : of squared distances.
    """

    def __init__(
        self, points: EmbeddingPoints, anchors: Tensor, weights: Tensor, kernel: Kernel
    ) -> None:
        self._points, self._kernel = points, kernel
        self._anchors = points.take(anchors)
        self._weights = weights.float()
        self._covered = torch.zeros(anchors.numel(), device=points.device)  # max K so far
        self._kept_rows = max(2 * AT_ONCE, KEPT_NUMBERS // max(1, anchors.numel()))

    def cover(self, others: EmbeddingPoints) -> None:
        """Count `others`, e.g. the labelled images, as picked already."""
        for rows in row_blocks(others.size, self._anchors.size):
            values = self._kernel(others.take(rows).squared_distances(self._anchors))
            self._covered = torch.maximum(self._covered, values.amax(dim=0))

    def pick(self, k: int) -> Tensor:
        """Up to k picks, best first; fewer where nothing is left to gain. Deterministic."""
        leaders = _Leaders(self._points, self._anchors, self._kernel)
        leaders.start(self._covered, self._weights)
        picks: list[int] = []
        while len(picks) < k:
            best = leaders.best(self._covered, self._weights)
            if best is None:
                break
            position, row = best
            picks.append(position)
            torch.maximum(self._covered, row, out=self._covered)
        return torch.tensor(picks, dtype=torch.long, device=self._points.device)


class _Leaders:
    """The points with the highest bounds on their gain, and their kernel rows."""

    def __init__(self, points: EmbeddingPoints, anchors: EmbeddingPoints, kernel: Kernel) -> None:
        self._points, self._anchors, self._kernel = points, anchors, kernel
        count = min(points.size, max(2 * AT_ONCE, KEPT_NUMBERS // max(1, anchors.size)))
        self._who = torch.full((count,), -1, device=points.device)  # positions in the pool
        self._rows = torch.empty(count, anchors.size, device=points.device)
        self._gains = torch.full((count,), -torch.inf, device=points.device)
        self._bounds = torch.empty(points.size, device=points.device)  # of those who do not lead
        self._best_outside = -torch.inf

    def start(self, covered: Tensor, weights: Tensor) -> None:
        """Compute everyone's gain once, and let the highest lead."""
        everyone = torch.arange(self._points.size, device=self._points.device)
        all_fit = self._who.numel() == self._points.size
        for block in row_blocks(everyone.numel(), self._anchors.size + self._points.width):
            rows = self._kernel_rows(everyone[block])
            self._bounds[block] = (rows - covered).clamp_(min=0) @ weights
            if all_fit:
                self._rows[block] = rows
        if all_fit:
            self._who, self._gains = everyone, self._bounds
        else:
            self._exchange()

    def best(self, covered: Tensor, weights: Tensor) -> tuple[int, Tensor] | None:
        """The point with the highest gain now, and its kernel row; None where no gain is left."""
        while True:
            winner = self._best_leader(covered, weights)
            gain = float(self._gains[winner])
            if gain < self._best_outside:
                self._exchange()
                continue
            if gain <= 0:
                return None
            self._gains[winner] = -torch.inf
            return int(self._who[winner]), self._rows[winner]

    def _best_leader(self, covered: Tensor, weights: Tensor) -> int:
        fresh = torch.zeros_like(self._gains, dtype=torch.bool)
        while True:
            leading = self._gains.topk(min(AT_ONCE, self._gains.numel())).indices
            first = int(leading[0])
            if fresh[first]:
                return first
            stale = leading[~fresh[leading]]
            gains = (self._rows[stale] - covered).clamp_(min=0) @ weights
            self._gains[stale] = torch.minimum(self._gains[stale], gains)
            fresh[stale] = True

    def _exchange(self) -> None:
        """Let the points with the highest bounds be the leaders."""
        held = self._who >= 0
        self._bounds[self._who[held]] = self._gains[held]
        count = self._who.numel()
        bounds, top = self._bounds.topk(min(count + 1, self._points.size))
        self._best_outside = float(bounds[count]) if bounds.numel() > count else -torch.inf
        incoming = top[:count][~torch.isin(top[:count], self._who)]
        leaving = (~torch.isin(self._who, top[:count])).nonzero().squeeze(1)[: incoming.numel()]
        for block in row_blocks(incoming.numel(), self._anchors.size + self._points.width):
            self._rows[leaving[block]] = self._kernel_rows(incoming[block])
        self._who[leaving] = incoming
        self._gains[leaving] = self._bounds[incoming]

    def _kernel_rows(self, who: Tensor) -> Tensor:
        return self._kernel(self._points.take(who).squared_distances(self._anchors))
