"""What more labels would bring: a learning curve, and a forecast a little past its end.

A power law `a - b n^-c` with a ceiling of at most 1 is fitted to the scores at nested subsets of
what is labelled, later points weighing more (Figueroa et al. 2012, "Predicting sample size required
for classification performance"), once for each bootstrap replicate of the sample that scores are
measured on. One learning curve in six has no such form (LCDB 1.1, Yan et al. 2025), so that a
forecast is refused where the curve falls by more than its noise.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FEWEST_POINTS = 3
EXPONENTS = np.linspace(0.2, 1.5, 14)  # of the power law
INTERVAL = (5.0, 95.0)  # percentiles
FARTHEST = 2.0  # times the labels there are, past which nothing is said


class CannotForecastError(ValueError):
    """The curve does not tell; the message says why."""


@dataclass(frozen=True)
class LearningCurve:
    """Scores of a learner by the number of labels that it was trained on.

    sizes : (S,) numbers of labels, rising; the last is all there are.
    scores : (S,), in [0, 1].
    replicates : (B, S), the same under a bootstrap of what they were measured on.
    """

    sizes: Array
    scores: Array
    replicates: Array


@dataclass(frozen=True)
class Forecast:
    """The score with `labels` labels, and now; `low` to `high` is the 90 % interval."""

    labels: int
    now: float
    then: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.now:.2f} to {self.then:.2f} [{self.low:.2f}, {self.high:.2f}]"


def forecast(curve: LearningCurve, more: int) -> Forecast:
    """The score with `more` labels like those there are.

    Raises CannotForecastError below three points, where the curve falls by more than its noise, and
    where `more` is so many that a curve of this length says nothing about them.
    """
    _check(curve)
    n = float(curve.sizes[-1])
    if more > FARTHEST * n:
        raise CannotForecastError(
            f"{more} more labels are too far ahead of {n:.0f}: a forecast for at most "
            f"{FARTHEST * n:.0f} can be made"
        )
    ends = np.array([n, n + more])
    expected = _values(_fit(curve.sizes, curve.scores[None]), ends)[0]  # (2,)
    gains = _values(_fit(curve.sizes, curve.replicates), ends)  # (B, 2)
    now = float(curve.scores[-1])
    then = min(1.0, now + float(expected[1] - expected[0]))
    each = np.clip(curve.replicates[:, -1] + gains[:, 1] - gains[:, 0], 0, 1)
    low, high = np.percentile(each, INTERVAL)
    return Forecast(int(n) + more, now, then, min(float(low), then), max(float(high), then))


def labels_to(curve: LearningCurve, target: float) -> int:
    """How many more labels like these it takes to a score of `target`; 0 where it is reached.

    Raises CannotForecastError where the curve does not tell, or does not lead there soon.
    """
    _check(curve)
    if curve.scores[-1] >= target:
        return 0
    n = int(curve.sizes[-1])
    fitted = _fit(curve.sizes, curve.scores[None])
    ahead = np.arange(n, int((1 + FARTHEST) * n) + 1, dtype=float)
    rise = _values(fitted, ahead)[0]
    reached = np.flatnonzero(curve.scores[-1] + rise - rise[0] >= target)
    if not len(reached):
        raise CannotForecastError(
            f"{target:.2f} is not in sight: {FARTHEST * n:.0f} more labels like these do not lead "
            "there"
        )
    return int(reached[0])


def bootstrap_f1(decisions: Array, labels: Array, draws: int, rng: np.random.Generator) -> Array:
    """F1 per class (B, S, C) under `draws` bootstraps of the images, the same for every S.

    decisions : (S, N, C) of 0/1; labels : (N, C) of 0/1. A class that a bootstrap does not show has
    an F1 of 0 there if it is predicted, else it is not a number.
    """
    n = labels.shape[0]
    counts = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float)  # (B, N)
    hits = np.einsum("bn,snc->bsc", counts, decisions * labels, optimize=True)
    said = np.einsum("bn,snc->bsc", counts, decisions, optimize=True)
    there = (counts @ labels)[:, None]  # (B, 1, C)
    with np.errstate(invalid="ignore"):
        found: Array = 2 * hits / (said + there)
    return found


def _check(curve: LearningCurve) -> None:
    if len(curve.sizes) < FEWEST_POINTS:
        raise CannotForecastError(
            f"{len(curve.sizes)} points are no curve: at least {FEWEST_POINTS} are needed"
        )
    steps = np.diff(curve.replicates, axis=1)  # (B, S - 1)
    overall = curve.replicates[:, -1] - curve.replicates[:, 0]
    if (np.percentile(np.column_stack([steps, overall]), INTERVAL[1], axis=0) < 0).any():
        raise CannotForecastError("the curve falls by more than its noise")


def _fit(sizes: Array, scores: Array) -> tuple[Array, Array, Array]:
    """a, b, c (R,) of the best power law for each row of `scores` (R, S)."""
    weights = sizes / sizes.sum()
    best = np.full(len(scores), np.inf)
    fitted = tuple(np.zeros(len(scores)) for _ in range(3))
    for exponent in EXPONENTS:
        u = (sizes / sizes[-1]) ** -exponent  # 1 at the end, larger before
        u_mean, means = weights @ u, scores @ weights
        covariance = (scores - means[:, None]) @ (weights * (u - u_mean))
        b = np.maximum(0, -covariance / (weights @ (u - u_mean) ** 2))
        a = means + b * u_mean
        over = a > 1  # then the ceiling is 1, and b what fits best below it
        b = np.where(over, np.maximum(0, (1 - scores) @ (weights * u) / (weights @ u**2)), b)
        a = np.where(over, 1, a)
        misfit = (weights * (scores - a[:, None] + b[:, None] * u) ** 2).sum(axis=1)
        better = misfit < best
        best = np.where(better, misfit, best)
        for kept, value in zip(fitted, (a, b, np.full(len(scores), exponent)), strict=True):
            kept[better] = value[better]
    a, b, c = fitted
    return a, b * sizes[-1] ** c, c


def _values(fitted: tuple[Array, Array, Array], sizes: Array) -> Array:
    """The power laws at `sizes` (M,): (R, M)."""
    a, b, c = (part[:, None] for part in fitted)
    found: Array = a - b * sizes[None] ** -c
    return found
