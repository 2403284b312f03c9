"""Core-set: greedy k-center, each pick the point farthest from all picked so far.

Source: Sener and Savarese 2018 ("core-set"), the greedy form; Gonzalez 1985.

The plain loop updates N distances after every pick and is bound by memory. But distances only
shrink, so those of some picks ago are upper bounds: the farthest points by the old distances are
compared among themselves, and picks are made from them for as long as the farthest of them beats
the old distance of every other point. Then all these picks are applied to the pool in one matrix
product. The same picks, after a few dozen passes over the pool and not k.
"""

import torch
from torch import Tensor

from strategies.feature_space import EmbeddingPoints, P, most_central, update_nearest
from strategies.pool_view import PoolView
from strategies.registry import register

CANDIDATES = 2048
TAKEN = -1.0  # below every squared distance


@register("coreset", source="Sener and Savarese 2018, greedy k-center")
def select_coreset(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Greedy k-center: each image the farthest from all labelled and chosen ones."""
    points = EmbeddingPoints(pool.embeddings)
    labelled = points.like(pool.labelled_embeddings)
    return k_center(points, k, labelled, first=most_central(points))


def k_center(
    points: P,
    k: int,
    covered: P | None = None,
    first: int | None = None,
    taken: Tensor | None = None,
) -> Tensor:
    """k picks of `points`, each the farthest from what is covered and from the picks before it.

    Covered are the points `covered` and those of the pool at the positions `taken`, which are
    not picked again; with neither, `first` is the first pick. Deterministic; once every point
    coincides with a pick, the remaining picks are arbitrary.
    """
    nearest = torch.full((points.size,), torch.inf, device=points.device)
    picks = torch.empty(0, dtype=torch.long, device=points.device)
    if covered is not None:
        update_nearest(points, covered, nearest)
    if taken is not None:
        _apply(points, taken, nearest)
    if k > 0 and (points.size == 0 or float(nearest.max()) == torch.inf):
        if first is None:
            raise ValueError("k-center needs a first pick where nothing is covered yet.")
        picks = torch.tensor([first], device=points.device)
        _apply(points, picks, nearest)
    while picks.numel() < k:
        batch = _picks_until_beaten(points, nearest, k - picks.numel())
        _apply(points, batch, nearest)
        picks = torch.cat([picks, batch])
    return picks


def _apply(points: P, picks: Tensor, nearest: Tensor) -> None:
    update_nearest(points, points.take(picks), nearest)
    nearest[picks] = TAKEN


def _picks_until_beaten(points: P, nearest: Tensor, at_most: int) -> Tensor:
    """Exact greedy picks among the farthest points, until one outside might be farther."""
    count = min(CANDIDATES, points.size)
    distances, candidates = nearest.topk(min(count + 1, points.size))
    beaten = float(distances[count]) if distances.numel() > count else TAKEN
    distances, candidates = distances[:count].clone(), candidates[:count]
    among = points.take(candidates)
    between = among.squared_distances(among)  # (count, count)
    chosen: list[int] = []
    while len(chosen) < at_most:
        farthest = int(distances.argmax())
        if float(distances[farthest]) < beaten or float(distances[farthest]) == TAKEN:
            break
        chosen.append(farthest)
        torch.minimum(distances, between[farthest], out=distances)
        distances[farthest] = TAKEN
    return candidates[chosen]
