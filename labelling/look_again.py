"""Labels to look at again: those that a learner which has not seen them contradicts most."""

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.8  # weight of the next worse class, as in cleanlab


def self_confidence(
    probabilities: NDArray[np.float64], labels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probability of each given label, present or absent: (L, C)."""
    return np.where(labels == 1, probabilities, 1 - probabilities)


def label_quality(
    probabilities: NDArray[np.float64], labels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How much each image's label is to be trusted, (L,); low is doubtful.

    The exponential moving average of its classes' self-confidence, from the highest to the lowest,
    so that the worst class weighs most: cleanlab's score for multi-label data (Thyagarajan et al.
    2022, "Identifying incorrect annotations in multi-label classification data").

    probabilities : (L, C), out of fold and calibrated; labels : (L, C) of 0/1.
    """
    ordered = -np.sort(-self_confidence(probabilities, labels), axis=1)
    average = ordered[:, 0]
    for score in ordered.T[1:]:
        average = ALPHA * score + (1 - ALPHA) * average
    return average
