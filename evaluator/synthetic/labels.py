"""Which damages a sheet has, and what the label that is sold for it says."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from evaluator.synthetic.recipe import Recipe
from evaluator.synthetic.rng import generator

Labels = NDArray[np.uint8]


def true_labels(recipe: Recipe, seed: int, split: str, indices: Sequence[int]) -> Labels:
    """What is drawn on each sheet: uint8 (n, C), 1 where the damage is there.

    A Gaussian copula: every damage has its own normal variable, all share a part of it. The
    share that crosses its threshold is the prevalence exactly, however strong the sharing.
    """
    quantile = NormalDist().inv_cdf
    thresholds = np.array(
        [-np.inf if p <= 0 else np.inf if p >= 1 else quantile(p) for p in recipe.prevalence]
    )
    shared, own = np.sqrt(recipe.co_occurrence), np.sqrt(1 - recipe.co_occurrence)
    labels = np.zeros((len(indices), len(recipe.class_names)), np.uint8)
    for row, index in enumerate(indices):
        z = generator(recipe.name, seed, split, int(index), "label").standard_normal(
            1 + len(recipe.class_names)
        )
        labels[row] = shared * z[0] + own * z[1:] < thresholds
    return labels


def sold_labels(recipe: Recipe, seed: int, split: str, indices: Sequence[int]) -> Labels:
    """What the label's seller says of each sheet: uint8 (n, C), the true labels with some errors.

    The validation split is labelled truthfully: a judge who grades by wrong answers measures the
    answers, not the buyer.
    """
    labels = true_labels(recipe, seed, split, indices)
    if split == "validation" or (recipe.label_missed == 0 and recipe.label_invented == 0):
        return labels
    for row, index in enumerate(indices):
        u = generator(recipe.name, seed, split, int(index), "label error").random(labels.shape[1])
        labels[row] ^= u < np.where(labels[row] == 1, recipe.label_missed, recipe.label_invented)
    return labels
