"""A pre-filter: keep the best m by score, then choose among them with a dearer selector."""

from collections.abc import Callable

from torch import Tensor


def among_best(scores: Tensor, m: int, choose: Callable[[Tensor], Tensor]) -> Tensor:
    """`choose` the picks among the m highest of `scores` (N,).

    `choose` is given the kept positions (m,), best first, and answers with positions in that
    list; what comes back are positions in the pool. The cost of `choose` no longer grows with
    the pool.
    """
    kept = scores.topk(min(m, scores.numel())).indices
    return kept[choose(kept)]
