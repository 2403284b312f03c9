"""Sets whose neighbourhoods cover the pool: MaxHerding, UHerding, ProbCover.

F(S) = sum over anchors a of w_a max over s in S of K(a, s); each pick is the point that raises F
most. With the Gaussian kernel this is MaxHerding (Bae et al. 2024), with uncertainties as w it is
UHerding (Bae et al. 2025), with K = [distance <= radius] it is ProbCover (Yehuda et al. 2022). All
embeddings are scaled to unit length first, as the authors do. Up to `anchors` images of the pool
are to be covered, all of them where there are no more, else a random sample; every image is a
candidate. Labelled images cover from the start.

F is submodular, so a gain computed earlier bounds the gain now from above (Minoux 1978): only
points whose old gain still leads are evaluated again. Kernel rows are kept in a block of fixed
size. Pools that do not fit in it are shuffled and taken block by block, each giving its share of
the picks: every pick is the best of many random candidates (compare the stochastic greedy of
Mirzasoleiman et al. 2015), each kernel value is computed once, and the cost is linear in N.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from strategies.blocks import by_rows, row_blocks
from strategies.families.clustering import k_means
from strategies.families.coreset import k_center
from strategies.feature_space import EmbeddingPoints, most_central
from strategies.parameters import Range
from strategies.pool_view import PoolView
from strategies.registry import register
from strategies.selectors import fill_up, one_thread, random_k

Anchors = Annotated[int, Range(1)]
Positive = Annotated[float, Range(1e-9)]
ANCHORS = 10_000
Kernel = Callable[[Tensor], Tensor]

KEPT_NUMBERS = 2**27  # kernel values kept at a time: 512 MiB of float32
TILE_NUMBERS = 2**22  # kernel values computed at a time: large for the product, small for caches
AT_ONCE = 32  # stale leaders evaluated together
SAMPLE = 4096  # points by which a radius is measured
HIGHEST_TEMPERATURE, TEMPERATURES = 20.0, 121  # a grid from 1 / 20; the one in the middle is 1
PULL = 2.0  # of the temperature towards 1, as strong as in the learner's own calibration
EDGE = 1e-6  # probabilities of exactly 0 or 1 have no finite logit


@register("maxherding", source="Bae et al. 2024")
def select_maxherding(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    radius: Positive = 1.0,
    anchors: Anchors = ANCHORS,
) -> Tensor:
    """Greedy coverage of the pool under a Gaussian kernel of fixed radius."""
    points, labelled = _unit_points(pool)
    where = _anchors(pool.size, anchors, rng, points)
    weights = torch.ones(where.numel(), device=points.device)
    coverage = _greedy_coverage(points, labelled, where, weights, gaussian(radius))
    return fill_up(coverage.pick(k, rng), k, pool.size, rng)


@register("uherding", source="Bae et al. 2025; uncertainty per label")
def select_uherding(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    radius: Positive | Literal["auto"] = "auto",
    temperature: Positive | Literal["auto"] = "auto",
    anchors: Anchors = ANCHORS,
) -> Tensor:
    """Greedy coverage weighted by uncertainty; kernel radius and temperature adapt to the labels.

    Weight of an image: mean over classes of 1 - |2p - 1|, the multi-label form of the paper's
    margin. `radius=auto`: the smallest distance between two labelled images that are not the
    same, so that it shrinks as labels grow and the method turns from covering to uncertainty.
    `temperature=auto`: fitted to the labelled images' out-of-fold probabilities by cross-entropy
    and pulled towards 1, so that few and easy labels do not take away all doubt (the paper: by
    calibration error, without a pull). Where the pool has more images than `anchors`, one half of
    them are the most uncertain and the other half random.
    """
    points, labelled = _unit_points(pool)
    if temperature == "auto":
        temperature = fitted_temperature(pool.labelled_probabilities, pool.labelled_labels)
    if radius == "auto":
        radius = closest_pair(labelled)
    weights = tempered_uncertainty(pool.probabilities, temperature).to(points.device)  # (N,)
    where = _uncertain_anchors(weights, anchors, rng)
    coverage = _greedy_coverage(points, labelled, where, weights[where], gaussian(radius))
    return fill_up(coverage.pick(k, rng), k, pool.size, rng)


@register("probcover", source="Yehuda et al. 2022")
def select_probcover(
    pool: PoolView,
    k: int,
    rng: torch.Generator,
    *,
    radius: Positive | Literal["auto"] = "auto",
    purity: Annotated[float, Range(0, 1)] = 0.95,
    anchors: Anchors = ANCHORS,
) -> Tensor:
    """Most images newly within a radius of a chosen one; the radius keeps such balls pure.

    `radius=auto`: the largest at which a share `purity` of the balls hold images of one cluster
    only, of as many k-means clusters as there are distinct label vectors among the labelled
    (the paper: as classes). Once all is covered, the picks left go to the images farthest from
    any labelled or chosen one, as if the radius shrank (the paper stops at full coverage).
    """
    points, labelled = _unit_points(pool)
    where = _anchors(pool.size, anchors, rng, points)
    if radius == "auto":
        vectors = torch.unique(pool.labelled_labels > 0.5, dim=0).shape[0]
        radius = pure_radius(points, max(2, vectors), purity, rng)
    weights = torch.ones(where.numel(), device=points.device)
    coverage = _greedy_coverage(points, labelled, where, weights, ball(radius))
    picks = coverage.pick(k, rng, shuffle=True)
    if picks.numel() == k:
        return picks
    rest = k_center(points, k - picks.numel(), labelled, most_central(points), taken=picks)
    return torch.cat([picks, rest])


def _unit_points(pool: PoolView) -> tuple[EmbeddingPoints, EmbeddingPoints]:
    """The pool's and the labelled embeddings at unit length, in the type they came in."""
    points = EmbeddingPoints(_unit(pool.embeddings))
    return points, points.like(_unit(pool.labelled_embeddings))


def _unit(embeddings: Tensor) -> Tensor:
    unit = torch.empty_like(embeddings)
    for rows in row_blocks(*embeddings.shape):
        unit[rows] = normalize(embeddings[rows].float(), dim=1).to(unit.dtype)
    return unit


def _anchors(size: int, anchors: int, rng: torch.Generator, points: EmbeddingPoints) -> Tensor:
    if size <= anchors:
        return torch.arange(size, device=points.device)
    return random_k(size, anchors, rng, points.device)


def _uncertain_anchors(weights: Tensor, anchors: int, rng: torch.Generator) -> Tensor:
    # Of random anchors alone few would be uncertain, and with a small radius only anchors gain.
    if weights.numel() <= anchors:
        return torch.arange(weights.numel(), device=weights.device)
    return fill_up(weights.topk((anchors + 1) // 2).indices, anchors, weights.numel(), rng)


def _greedy_coverage(
    points: EmbeddingPoints,
    labelled: EmbeddingPoints,
    anchors: Tensor,
    weights: Tensor,
    kernel: Kernel,
) -> "GreedyCoverage":
    """Coverage of the points at `anchors` (A,), as far as the labelled images leave it open."""
    coverage = GreedyCoverage(points, points.take(anchors), weights, kernel)
    coverage.cover(labelled)
    return coverage


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
        candidates = torch.arange(size, device=self._points.device)
        if shuffle or size > held:
            candidates = random_k(size, size, rng, self._points.device)
        kernel_rows = torch.empty(min(size, held), self._anchors.size, device=candidates.device)
        picks: list[int] = []
        for block in row_blocks(size, 1, held):
            share = k * block.stop // size - len(picks)
            picks += self._pick_among(candidates[block], share, kernel_rows)
        return torch.tensor(picks, dtype=torch.long, device=self._points.device)

    def _pick_among(self, candidates: Tensor, k: int, kernel_rows: Tensor) -> list[int]:
        """Exact lazy greedy among `candidates`, whose kernel rows fit in `kernel_rows`."""
        gains = torch.empty(
            candidates.numel(), device=candidates.device
        )  # upper bounds from now on
        for block in row_blocks(candidates.numel(), self._anchors.size, TILE_NUMBERS):
            squared = self._points.take(candidates[block]).squared_distances(self._anchors)
            kernel_rows[block] = self._kernel(squared)
            gains[block] = self._gains(kernel_rows[block])
        picks: list[int] = []
        with one_thread():
            while len(picks) < k:
                best = self._leader(gains, kernel_rows)
                if not float(gains[best]) > 0:
                    break
                picks.append(int(candidates[best]))
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


def closest_pair(labelled: EmbeddingPoints) -> float:
    """Smallest distance between two points that are not the same (Bae et al. 2025).

    1 where there is no such pair: on unit vectors, the radius of MaxHerding.
    """
    smallest = torch.inf
    for block in torch.split(torch.arange(labelled.size, device=labelled.device), SAMPLE):
        squared = labelled.take(block).squared_distances(labelled)  # (block, L)
        squared[squared <= 0] = torch.inf
        if squared.numel():
            smallest = min(smallest, float(squared.min()))
    return smallest**0.5 if smallest < torch.inf else 1.0


def pure_radius(
    points: EmbeddingPoints, clusters: int, purity: float, rng: torch.Generator
) -> float:
    """The largest radius at which a share `purity` of balls is pure (Yehuda et al. 2022).

    A ball is pure when all points in it share the cluster of its centre, i.e. as long as its
    radius is below the distance to the nearest point of another cluster: the radius sought is a
    quantile of that distance. Measured on a sample of at most 4,096 points.
    """
    sample = points.take(random_k(points.size, min(points.size, SAMPLE), rng, points.device))
    assignment = k_means(sample, clusters, rng).assignment
    squared = sample.squared_distances(sample)
    squared[assignment.unsqueeze(1) == assignment] = torch.inf
    impure_from = squared.amin(dim=1).sqrt()
    impure_from = impure_from[impure_from.isfinite()]
    if impure_from.numel() == 0:  # one cluster: identical images
        return 1.0
    radius = float(impure_from.quantile(1 - purity))
    return radius if radius > 0 else 1e-3


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
    grid = torch.logspace(-1, 1, TEMPERATURES, base=HIGHEST_TEMPERATURE, dtype=torch.float64)
    misfits = [
        float(binary_cross_entropy_with_logits(logits / t, targets, reduction="sum"))
        for t in grid.tolist()
    ]
    return float(grid[(torch.tensor(misfits) + PULL * grid.log().square()).argmin()])


def _logits(probabilities: Tensor) -> Tensor:
    return probabilities.float().clamp(EDGE, 1 - EDGE).logit()
