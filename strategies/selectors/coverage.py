"""Greedy maximum coverage under a kernel, by lazy evaluation.

F(S) = sum over anchors a of w_a max over s in S of K(a, s); each pick is the point that raises F
most. With the Gaussian kernel this is MaxHerding (Bae et al. 2024), with uncertainties as w it is
UHerding (Bae et al. 2025), with K = [distance <= radius] it is ProbCover (Yehuda et al. 2022).

F is submodular, so a gain computed earlier bounds the gain now from above (Minoux 1978): only
points whose old gain still leads are evaluated again. Kernel rows are kept in a block of fixed
size. Pools that do not fit in it are shuffled and taken block by block, each giving its share of
the picks: every pick is the best of many random candidates (compare the stochastic greedy of
Mirzasoleiman et al. 2015), each kernel value is computed once, and the cost is linear in N.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from strategies.blocks import row_blocks
from strategies.selectors.points import EmbeddingPoints
from strategies.selectors.topk import random_k
from strategies.threads import one_thread

Kernel = Callable[[Tensor], Tensor]

KEPT_NUMBERS = 2**27
"""Kernel values kept at a time: 512 MiB of float32."""

AT_ONCE = 32  # stale leaders evaluated together
TILE_NUMBERS = 2**22  # kernel values computed at a time: large for the product, small for caches


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
    anchors : the A points to be covered, in the same coordinates; cost, N x A kernel values.
    weights : (A,), what covering each anchor is worth, not negative.
    kernel : of squared distances.
    """

    def __init__(
        self, points: EmbeddingPoints, anchors: EmbeddingPoints, weights: Tensor, kernel: Kernel
    ) -> None:
        self._points, self._anchors, self._kernel = points, anchors, kernel
        self._weights = weights.float()
        self._covered = torch.zeros(anchors.size, device=points.device)  # max K so far

    def cover(self, others: EmbeddingPoints) -> None:
        """Count `others`, e.g. the labelled images, as picked already."""
        for rows in row_blocks(others.size, self._anchors.size):
            values = self._kernel(others.take(rows).squared_distances(self._anchors))
            self._covered = torch.maximum(self._covered, values.amax(dim=0))

    def pick(self, k: int, rng: torch.Generator, shuffle: bool = False) -> Tensor:
        """Up to k picks; fewer where nothing is left to gain.

        Deterministic where the pool fits in one block, N x A <= 2**27; else, and where it should
        `shuffle` to break ties evenly, `rng` sets the order in which candidates are looked at.
        """
        size, held = self._points.size, max(1, KEPT_NUMBERS // max(1, self._anchors.size))
        everyone = torch.arange(size, device=self._points.device)
        if shuffle or size > held:
            everyone = random_k(size, size, rng, self._points.device)
        kernel_rows = torch.empty(min(size, held), self._anchors.size, device=everyone.device)
        picks: list[int] = []
        for block in row_blocks(size, 1, held):
            share = k * block.stop // size - len(picks)
            picks += self._pick_among(everyone[block], share, kernel_rows)
        return torch.tensor(picks, dtype=torch.long, device=self._points.device)

    def _pick_among(self, who: Tensor, k: int, kernel_rows: Tensor) -> list[int]:
        """Exact lazy greedy among the candidates `who`, whose kernel rows fit in `kernel_rows`."""
        gains = torch.empty(who.numel(), device=who.device)  # upper bounds from now on
        for block in row_blocks(who.numel(), self._anchors.size, TILE_NUMBERS):
            squared = self._points.take(who[block]).squared_distances(self._anchors)
            kernel_rows[block] = self._kernel(squared)
            gains[block] = self._gains(kernel_rows[block])
        picks: list[int] = []
        with one_thread():
            while len(picks) < k:
                best = self._leader(gains, kernel_rows)
                if not float(gains[best]) > 0:
                    break
                picks.append(int(who[best]))
                torch.maximum(self._covered, kernel_rows[best], out=self._covered)
                gains[best] = -torch.inf
        return picks

    def _leader(self, bounds: Tensor, kernel_rows: Tensor) -> int:
        """The candidate with the highest gain now; lowers `bounds` of those it looks at."""
        fresh = torch.zeros_like(bounds, dtype=torch.bool)
        while True:
            leading = bounds.topk(min(AT_ONCE, bounds.numel())).indices
            first = int(leading[0])
            if fresh[first]:
                return first
            stale = leading[~fresh[leading]]
            bounds[stale] = torch.minimum(bounds[stale], self._gains(kernel_rows[stale]))
            fresh[stale] = True

    def _gains(self, kernel_rows: Tensor) -> Tensor:
        return (kernel_rows - self._covered).clamp_(min=0) @ self._weights
