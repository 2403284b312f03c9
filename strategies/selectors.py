"""Building blocks of selection that several families use.

Each answers with positions, the most wanted first; randomness comes from the generator given.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from strategies.feature_space import P, update_nearest

FEWEST_PROPOSALS, MOST_PROPOSALS = 16, 1024  # of D² sampling


def top_k(scores: Tensor, k: int) -> Tensor:
    """Positions of the k highest of `scores` (N,), best first; ties in no promised order."""
    return scores.topk(k).indices


def random_k(size: int, k: int, rng: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
    """k of `size` positions, every set of k as likely as any other."""
    return torch.randperm(size, generator=rng, device=rng.device)[:k].to(device)


def among_best(scores: Tensor, m: int, choose: Callable[[Tensor], Tensor]) -> Tensor:
    """`choose` the picks among the m highest of `scores` (N,).

    `choose` is given the kept positions (m,), best first, and answers with positions in that
    list; what comes back are positions in the pool. The cost of `choose` no longer grows with
    the pool.
    """
    kept = scores.topk(min(m, scores.numel())).indices
    return kept[choose(kept)]


def fill_up(picks: Tensor, k: int, size: int, rng: torch.Generator) -> Tensor:
    """`picks` and, up to k of them, uniform ones of the `size` positions not yet picked."""
    if picks.numel() >= k:
        return picks
    free = torch.ones(size, dtype=torch.bool, device=picks.device)
    free[picks] = False
    left = free.nonzero().squeeze(1)
    order = torch.randperm(left.numel(), generator=rng, device=rng.device).to(picks.device)
    return torch.cat([picks, left[order[: k - picks.numel()]]])


def d_squared_sample(points: P, k: int, rng: torch.Generator, first: int | None = None) -> Tensor:
    """k picks of `points`, LongTensor (k,); the first is `first`, or uniform.

    Each further pick is drawn with probability proportional to its squared distance to the picks
    so far (Arthur and Vassilvitskii 2007, k-means++ seeding; in gradient space the batch selection
    of BADGE). The distribution does not depend on the order of the pool. Once every point
    coincides with a centre, the remaining picks are uniform.

    The plain loop updates N distances after every pick. Here a block of proposals is drawn from
    the distances of some picks ago, and each is accepted with probability (its distance now) /
    (its distance then): rejection sampling, so every pick has exactly the distribution of the
    plain loop. Only distances among the proposals are needed until the block is used up; then all
    its picks are applied to the pool in one matrix product.
    """
    distances = torch.full((points.size,), torch.inf, device=points.device)
    picks = torch.empty(0, dtype=torch.long, device=points.device)
    if k > 0:
        if first is None:
            first = int(torch.randint(points.size, (1,), generator=rng, device=rng.device))
        picks = torch.tensor([first], device=points.device)
        _apply(points, picks, distances)
    proposals = FEWEST_PROPOSALS
    while picks.numel() < k and float(distances.max()) > 0:
        batch = _accept(points, distances, k - picks.numel(), proposals, rng)
        _apply(points, batch, distances)
        picks = torch.cat([picks, batch])
        mostly = batch.numel() > 0.6 * proposals
        proposals = min(MOST_PROPOSALS, 2 * proposals) if mostly else proposals
    return fill_up(picks, k, points.size, rng)


def _apply(points: P, picks: Tensor, distances: Tensor) -> None:
    update_nearest(points, points.take(picks), distances)
    distances[picks] = 0


def _accept(
    points: P, distances: Tensor, at_most: int, proposals: int, rng: torch.Generator
) -> Tensor:
    """Proposals drawn from the old `distances` and thinned to the distribution of the new."""
    cumulated = distances.double().cumsum(dim=0)
    draws = torch.rand(2, proposals, generator=rng, dtype=torch.float64, device=rng.device)
    where = draws[0].to(points.device) * cumulated[-1]
    drawn = torch.searchsorted(cumulated, where, right=True).clamp_(max=points.size - 1)
    among = points.take(drawn)
    between = among.squared_distances(among).cpu()  # (proposals, proposals)
    old = distances[drawn].cpu()
    threshold = draws[1].cpu() * old
    now = old.clone()
    chosen: list[int] = []
    for i in range(proposals):
        if float(threshold[i]) < float(now[i]):
            chosen.append(i)
            torch.minimum(now, between[i], out=now)
            if len(chosen) == at_most:
                break
    return drawn[chosen]


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it torch uses one thread on the CPU; the number from before returns afterwards.

    For loops of thousands of small products: waiting for a second thread at every step costs
    more than it brings, and many times more where other processes want the cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
