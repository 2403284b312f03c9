"""Strategies made for multi-label data, from its own literature."""

from typing import Annotated

import torch
from torch import Tensor

from strategies.parameters import Range
from strategies.pool import PoolView
from strategies.registry import register
from strategies.scores import multilabel as scores
from strategies.selectors.matching import match_distribution
from strategies.selectors.topk import top_k


@register("cvirs", source="Reyes et al. 2018")
def cvirs(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Small margins in many classes, times a label vector unlike those labelled."""
    return top_k(scores.cvirs(pool.probabilities, pool.thresholds, pool.labelled_labels), k)


@register("lci", source="Li and Guo 2013")
def lci(
    pool: PoolView, k: int, rng: torch.Generator, *, beta: Annotated[float, Range(0, 1)] = 0.5
) -> Tensor:
    """An unusual number of predicted labels, times max-margin uncertainty: lci^(1-b) mmu^b.

    The authors choose `beta` each round from a set by an approximate generalisation error; here
    it is a setting. beta=0 is label cardinality inconsistency alone, in which ties abound.
    """
    inconsistency = scores.cardinality_inconsistency(
        pool.probabilities, pool.thresholds, pool.labelled_labels
    )
    uncertainty = scores.max_margin_uncertainty(pool.probabilities, pool.thresholds)
    return top_k(inconsistency ** (1 - beta) * uncertainty**beta, k)


@register("max-loss", source="Yang et al. 2009")
def max_loss(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    """Largest expected loss against the likeliest label vector of the expected size."""
    return top_k(scores.max_loss_reduction(pool.probabilities), k)


@register("match-distribution", source="the hosts' suggestion, ZEW Challenge 2022; Welling 2009")
def match(pool: PoolView, k: int, rng: torch.Generator, *, balanced: bool = True) -> Tensor:
    """Expected labels, with those bought, as close as can be to a target distribution.

    `balanced`: every class equally often, at the mean rate of the labelled images; otherwise the
    distribution of the labelled images themselves.
    """
    labels = pool.labelled_labels.float()
    # With nothing labelled yet, the learner's own mean is all there is to go by.
    known = labels if labels.shape[0] else pool.probabilities.float()
    share = known.mean(dim=0)  # (C,)
    target = share.mean().expand_as(share) if balanced else share
    return match_distribution(pool.probabilities, k, target, labels)
