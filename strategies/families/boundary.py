"""Images on each class's decision boundary, the classes taking turns: made for rare classes.

Rare classes have their 0.5 in the wrong place; labels, not the learner, say where the boundary
runs on the ranking of the pool by p_c. In the functions of one class `pool` (N,) and `labelled`
(L,) are the class's probabilities (for labelled images out-of-fold, or they would all look easy),
`labels` (L,) its 0/1 labels. They answer with rankings of the whole pool: positions, most wanted
first.
"""

import torch
from torch import Tensor

from strategies.pool_view import PoolView
from strategies.registry import register


@register("galaxy", source="Zhang et al. 2022, per label")
def select_galaxy(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Bisect, class by class, the shortest stretch between labelled images of unlike label."""
    p, labelled, labels = pool.probabilities, pool.labelled_probabilities, pool.labelled_labels
    thresholds = pool.thresholds.tolist()
    preferences = [
        galaxy_order(p[:, c], labelled[:, c], labels[:, c], thresholds[c])[:k]
        for c in range(p.shape[1])
    ]
    return round_robin(preferences, k)


@register("direct", source="Nuggehalli et al. 2023, per label")
def select_direct(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Both sides of each class's optimal separation threshold, equally for every class."""
    p, labelled, labels = pool.probabilities, pool.labelled_probabilities, pool.labelled_labels
    preferences = [
        direct_order(p[:, c], labelled[:, c], labels[:, c])[:k] for c in range(p.shape[1])
    ]
    return round_robin(preferences, k)


@register("class-quotas", source="ours; uncertainty with an equal share for every class")
def select_class_quotas(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """The images closest to each class's decision threshold, equally for every class."""
    return class_quotas(-(pool.probabilities.float() - pool.thresholds).abs(), k)


def galaxy_order(pool: Tensor, labelled: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """GALAXY's preferences for one class.

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
    """DIRECT's preferences for one class: outward from the optimal separation, both sides in turn.

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


def round_robin(preferences: list[Tensor], k: int) -> Tensor:
    """k distinct positions, the classes taking turns in order of `preferences`.

    Each entry is one class's positions, most wanted first; a class whose next choice is taken
    already names the one after. A class that has run out is passed over. Raises ValueError where
    all have run out before k.
    """
    orders = [order.tolist() for order in preferences]
    at = [0] * len(orders)
    taken: dict[int, None] = {}  # keeps the order of the picks
    while len(taken) < k:
        before = len(taken)
        for c, order in enumerate(orders):
            while at[c] < len(order) and order[at[c]] in taken:
                at[c] += 1
            if at[c] < len(order) and len(taken) < k:
                taken[order[at[c]]] = None
        if len(taken) == before:
            raise ValueError(f"The classes name only {before} images; {k} are to be chosen.")
    device = preferences[0].device if preferences else torch.device("cpu")
    return torch.tensor(list(taken), dtype=torch.long, device=device)


def class_quotas(scores: Tensor, k: int) -> Tensor:
    """k positions, every class naming its share: `scores` (N, C), what each image is worth to
    each class. An image that several classes want counts for the first to name it."""
    count = min(k, scores.shape[0])  # fewer than k are taken before any class's turn
    return round_robin(list(scores.topk(count, dim=0).indices.T), k)
