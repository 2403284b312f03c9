"""How sure a mean, a difference or a ranking is: pure functions over arrays of scores.

The independent observation is one purchase seed: the mean of its scores over pairs and training
seeds. Trainings of one purchase share that purchase, so counting each as an observation would
make every interval too narrow. Everything here speaks of new seeds on the same data set, pairs
and pipelines, and says nothing about other data.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95
POWER = 0.8
POINT = 0.01  # the difference worth settling: one point of macro-F1
ROUNDING = 1e-12  # scores are of order 1; what differs by less is the same score

Array = NDArray[np.float64]


class Interval(NamedTuple):
    low: float
    high: float


def half_width(values: ArrayLike) -> Array:
    """Half of the 95 % interval of the mean over the last axis, (..., n) -> (...), n >= 2.

    Student's t, mean ± t(n - 1) s / sqrt(n) (Student 1908), not a bootstrap. Share of 95 %
    intervals that cover the truth, 20,000 draws each, 4,000 for the bootstraps:

    ====================================  ======  ======  ======  ======
    seeds                                      2       3       5      10
    ====================================  ======  ======  ======  ======
    normal: Student's t                    95 %    95 %    95 %    95 %
    normal: percentile bootstrap           51 %    74 %    85 %    90 %
    normal: bootstrap-t                   no end  no end   95 %    95 %
    t with 5 d.f.: Student's t             95 %    96 %    96 %    95 %
    uniform: Student's t                   93 %    92 %    93 %    95 %
    log-normal (0.25): Student's t         95 %    94 %    94 %    94 %
    log-normal (0.5): Student's t          94 %    92 %    92 %    92 %
    10 % fail by 8 sd: Student's t         93 %    90 %    83 %    78 %
    10 % fail by 8 sd: percentile          42 %    61 %    64 %    72 %
    ====================================  ======  ======  ======  ======

    "No end": from three seeds or fewer the bootstrap-t (Efron and Tibshirani 1993, 12.5) gives
    infinite intervals. The last two rows are trainings that sometimes never start: until one of
    them is among the seeds no method can know of it, so look at the single scores too.
    """
    x = _finite(values)
    n = x.shape[-1]
    if n < 2:
        raise ValueError(f"An interval needs 2 values or more, got {n}.")
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    return np.asarray(quantile * stats.sem(x, axis=-1), dtype=np.float64)


def mean_interval(values: ArrayLike) -> Interval | None:
    """95 % interval of the mean of `values`, one per seed; None below two seeds."""
    x = _finite(values)
    if len(x) < 2:
        return None
    mean, half = float(x.mean()), float(half_width(x))
    return Interval(mean - half, mean + half)


@dataclass(frozen=True)
class PairedTest:
    """One strategy against another under the same seeds. None: cannot be said with one seed.

    `interval` and `p_t` belong together: p < 0.05 exactly where the interval leaves out 0. Below
    six seeds `p_wilcoxon` cannot go under 0.05, whatever the scores.
    """

    n: int
    difference: float
    interval: Interval | None = None
    p_t: float | None = None
    p_wilcoxon: float | None = None
    variance_paired: float | None = None  # of the differences
    variance_unpaired: float | None = None  # of the differences, had the seeds been independent
    seeds_needed: int | None = None  # in all, to settle a difference of POINT
    seeds_needed_interval: tuple[int, int] | None = None

    @property
    def pairing_gain(self) -> float | None:
        """How many times fewer seeds the same precision takes, thanks to common seeds.

        Mostly noise at few seeds: at three, unrelated scores give 0.5 to 10 in nine of ten cases.
        """
        if not self.variance_paired or self.variance_unpaired is None:
            return None
        return self.variance_unpaired / self.variance_paired

    @property
    def seeds_still_needed(self) -> int | None:
        return None if self.seeds_needed is None else max(0, self.seeds_needed - self.n)


def paired_test(ours: ArrayLike, theirs: ArrayLike) -> PairedTest:
    """Compare scores (n,) with scores (n,) of the same seeds, in the same order.

    Paired t (Student 1908) and Wilcoxon's signed ranks (1945; exact where SciPy can, zeros
    dropped). The variance of the unpaired difference is var(ours) + var(theirs); common random
    numbers take 2 cov(ours, theirs) off it (Law 2015, Simulation Modeling and Analysis, 11.2).
    Where all differences are equal, p is the limit: 1 if they are 0, else 0.
    """
    a, b = _finite(ours), _finite(theirs)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"Expected two equally long rows of scores, got {a.shape} and {b.shape}.")
    d = _rounded(a - b)
    n, difference = len(d), float(d.mean())
    if n < 2:
        return PairedTest(n, difference)
    sd = float(d.std(ddof=1))
    return PairedTest(
        n,
        difference,
        interval=mean_interval(d),
        p_t=_p_of_t(d),
        p_wilcoxon=float(stats.wilcoxon(d).pvalue) if d.any() else 1.0,
        variance_paired=sd**2,
        variance_unpaired=float(a.var(ddof=1) + b.var(ddof=1)),
        seeds_needed=seeds_needed(sd),
        seeds_needed_interval=seeds_needed_interval(sd, n),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for there being several, in the same order (Holm 1979).

    Step-down Bonferroni: the i-th smallest of m is multiplied by m - i + 1 and is at least as
    large as the one before. In at most 5 % of tables does anything false then come below 0.05,
    however its tests depend on each other: of each pipeline's table, not of an evaluation under
    several. And of a number of seeds that was fixed first: who looks after every seed from 2 to 10
    and stops at p < 0.05 raises a false alarm in 20 of 100 single comparisons (normal scores).
    """
    p = _finite(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]


def seeds_needed(sd: float) -> int:
    """Seeds at which a true difference of POINT shows in 80 % of evaluations.

    "Shows" is a two-sided t-test with p < 0.05 of one comparison planned beforehand; under a
    correction for several, `holm` say, it takes more. `sd` is that of the paired differences.
    Starts from the normal approximation n = (z(0.975) + z(0.8))² (sd / POINT)² (Cohen 1988), which
    is too small at few seeds, and goes up to the first n where the non-central t has the power.
    """
    if not (sd >= 0 and math.isfinite(sd)):
        raise ValueError(f"Expected sd >= 0, got {sd}.")
    if sd <= ROUNDING:
        return 2
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(POWER))
    n = max(2, math.ceil((z * sd / POINT) ** 2))
    while _power(n, POINT / sd) < POWER:
        n += 1
    return n


def seeds_needed_interval(sd: float, n: int) -> tuple[int, int]:
    """95 % interval of `seeds_needed`, because `sd` itself was estimated from `n` seeds.

    From the chi-squared interval of a variance, (n - 1) s² / chi²; wide below ten seeds.
    """
    low, high = (
        sd * math.sqrt((n - 1) / float(stats.chi2.ppf(q, n - 1)))
        for q in ((1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2)
    )
    return seeds_needed(low), seeds_needed(high)


def area_under_budget_curve(budgets: ArrayLike, scores: ArrayLike) -> float | None:
    """Mean height of the curve of score against budget, in units of the score.

    The trapezoid area divided by the range of budgets (AUBC, Zhan et al. 2021), so a constant
    score has its own value. Scores of equal budgets (with other minutes, say) are averaged
    first. None where there are fewer than two budgets, hence no curve.
    """
    x, y = _finite(budgets), _finite(scores)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"Expected one score per budget, got {y.shape} for {x.shape}.")
    distinct, which = np.unique(x, return_inverse=True)
    if len(distinct) < 2:
        return None
    means = np.bincount(which, weights=y) / np.bincount(which)
    return float(np.trapezoid(means, distinct) / (distinct[-1] - distinct[0]))


def _p_of_t(differences: Array) -> float:
    """Two-sided p of Student's t that their mean is 0; the limit where all are equal.

    SciPy divides by zero there. Equal differences that are not 0 have p = 0.
    """
    if differences.std(ddof=1) <= ROUNDING:
        return float(abs(differences.mean()) <= ROUNDING)
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _power(n: int, effect: float) -> float:
    """Chance that a two-sided paired t-test at n seeds finds an effect of so many sd.

    Findings of the wrong sign are left out: they add a millionth where the power is 0.8, and
    SciPy gives NaN for them where the effect is large and seeds are few.
    """
    critical = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    return float(stats.nct.sf(critical, n - 1, effect * math.sqrt(n)))


def _rounded(x: Array) -> Array:
    return np.where(np.abs(x) <= ROUNDING, 0.0, x)


def _finite(values: ArrayLike) -> Array:
    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError("Scores must be finite. Leave out what failed or is not finished.")
    return x
