"""Where the members of a committee disagree."""

import torch
from torch import Tensor

from strategies.pool import PoolView
from strategies.registry import register
from strategies.scores import committee as scores
from strategies.selectors.topk import top_k


@register("bald", source="Houlsby et al. 2011; Gal et al. 2017; per label", members=2)
def bald(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Highest mutual information between labels and model, over a committee."""
    return top_k(scores.bald(pool.committee), k)


@register("disagreement", source="Dagan and Engelson 1995 (vote entropy), per label", members=2)
def disagreement(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Highest entropy of the committee's votes; mutual information breaks ties and near ties."""
    votes = scores.vote_disagreement(pool.committee, pool.thresholds)
    # Votes of few members differ by more than this; of many, close ones may change places.
    return top_k(votes + 1e-3 * scores.bald(pool.committee), k)
