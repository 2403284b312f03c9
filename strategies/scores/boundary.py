"""Where a class's positives end: boundaries on the ranking of the pool by p_c.

Rare classes have their 0.5 in the wrong place; labels, not the learner, say where the boundary
runs. One class at a time: `pool` (N,) and `labelled` (L,) are the class's probabilities (for
labelled images out-of-fold, or they would all look easy), `labels` (L,) its 0/1 labels. Answers
are rankings of the whole pool: positions, most wanted first.
"""

import torch
from torch import Tensor


def galaxy_order(pool: Tensor, labelled: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """GALAXY's wish list for one class.

    Zhang et al. 2022. Pool and labelled images stand in one row by probability; between two
    neighbouring labelled ones of different label a boundary must run. The shortest such stretch
    is bisected first. Adaptations: each class is a row of its own (the paper's rows are one
    class against the rest of a softmax); labels are not revealed within a batch, so that a
    bisection goes on with the learner's guess `p >= threshold`; when all stretches are used up,
    images follow by their distance in rank to the nearest boundary. A class without a labelled
    positive (negative) has its boundary above (below) the whole pool.
    """
    order = torch.argsort(pool, stable=True)
    cuts, midpoints = _bisect(pool[order].float(), labelled.float(), labels, threshold)
    first = torch.tensor(midpoints, dtype=torch.long, device=pool.device)
    ranks = torch.arange(pool.numel(), device=pool.device)
    distance = _distance_to_nearest(ranks, torch.tensor(cuts, device=pool.device))
    distance[first] = torch.arange(-first.numel(), 0, device=pool.device).to(distance)
    return order[torch.argsort(distance, stable=True)]


def direct_order(pool: Tensor, labelled: Tensor, labels: Tensor) -> Tensor:
    """DIRECT's wish list for one class: outward from the optimal separation, both sides in turn.

    Nuggehalli et al. 2023. The separation is the rank that misplaces fewest labelled images;
    among equals, the middle one of the longest run. Adaptation: the paper spends part of each
    batch on finding the separation with labels revealed one by one; here what is labelled
    already finds it. Without a labelled positive (negative) it stands above (below) the pool.
    """
    order = torch.argsort(pool, stable=True)
    cut = _optimal_separation(pool[order].float(), labelled.float(), labels)
    ranks = torch.arange(pool.numel(), device=pool.device, dtype=torch.float64)
    distance = (ranks + 0.5 - cut).abs()  # equal distances on both sides: the upper first
    return order[torch.argsort(distance - 1e-3 * (ranks >= cut), stable=True)]


def _optimal_separation(ranked: Tensor, labelled: Tensor, labels: Tensor) -> float:
    """Rank r: below it images count as negative, from it on as positive; 0..N."""
    positive = labels > 0.5
    if not positive.any():
        return float(ranked.numel())
    if positive.all():
        return 0.0
    values, by_value = labelled.sort()
    signs = torch.where(positive[by_value], 1, -1).cumsum(dim=0)
    # Errors with the cut just above the i-th labelled image, and below all of them, up to a
    # constant; equal values cannot be separated.
    errors = torch.cat([signs.new_zeros(1), signs])
    inside = torch.cat([values[1:] == values[:-1], values.new_zeros(1, dtype=torch.bool)])
    errors[1:][inside] = labels.numel() + 1
    best = (errors == errors.min()).nonzero().squeeze(1)
    ends = torch.cat([values.new_full((1,), -torch.inf), values, values.new_full((1,), torch.inf)])
    low = torch.searchsorted(ranked, ends[best], right=True)
    high = torch.searchsorted(ranked, ends[best + 1], right=False)
    widest = int((high - low).argmax())
    return (float(low[widest]) + float(high[widest])) / 2


def _bisect(
    ranked: Tensor, labelled: Tensor, labels: Tensor, threshold: float
) -> tuple[list[float], list[int]]:
    """Boundaries, in ranks, and the ranks that bisection asks for on its way to them."""
    size = ranked.numel()
    positive = labels > 0.5
    if not positive.any():
        return [float(size)], []
    if positive.all():
        return [-1.0], []
    by_label = positive.long().argsort(stable=True)  # so that ties do not hang on their order
    values, by_value = labelled[by_label].sort(stable=True)
    places = torch.searchsorted(ranked, values).tolist()  # the labelled stand before this rank
    marks = positive[by_label][by_value].tolist()
    stretches = sorted(
        (right - left, left, right, rising)
        for left, right, rising, falling in zip(
            places, places[1:], marks[1:], marks[:-1], strict=False
        )
        if rising != falling
    )
    guesses = (ranked >= threshold).tolist()
    cuts, asked = [], []
    for _, left, right, rising in stretches:
        while left < right:
            middle = (left + right) // 2
            asked.append(middle)
            if guesses[middle] == rising:
                right = middle
            else:
                left = middle + 1
        cuts.append(left - 0.5)
    return cuts, asked


def _distance_to_nearest(ranks: Tensor, cuts: Tensor) -> Tensor:
    cuts = cuts.double().sort().values
    after = torch.searchsorted(cuts, ranks.double())
    below = cuts[(after - 1).clamp(min=0)]
    above = cuts[after.clamp(max=cuts.numel() - 1)]
    return torch.minimum((ranks - below).abs(), (ranks - above).abs())
