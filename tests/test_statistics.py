"""Intervals cover, p-values keep their word, and known cases come out as elsewhere.

Tests named `documentation` hold sentences of docs/scoring.md and of docstrings to simulations; no
change of the code can fail them.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from evaluator.analysis.statistics import (
    _power,
    area_under_budget_curve,
    half_width,
    holm,
    mean_interval,
    paired_test,
    seeds_needed,
    seeds_needed_interval,
)

# Macro-F1 of the challenge's own trainer under five seeds, as the challenge's pages have it.
FIVE_SEEDS = [0.235, 0.178, 0.190, 0.172, 0.165]
A = [0.61, 0.58, 0.66, 0.63, 0.60]
B = [0.60, 0.55, 0.66, 0.60, 0.61]
DRAWS = 20_000
SEEDS = [2, 3, 5, 10]


def coverage(scores: np.ndarray, truth: float = 0.0) -> float:
    """Share of intervals over the last axis, (draws, seeds), that hold the truth."""
    return float(np.mean(np.abs(scores.mean(axis=-1) - truth) <= half_width(scores)))


def percentile_bootstrap_coverage(scores: np.ndarray, rng: np.random.Generator) -> float:
    n = scores.shape[1]
    weights = rng.multinomial(n, np.ones(n) / n, size=1000) / n  # (resamples, seeds)
    low, high = np.quantile(weights @ scores.T, [0.025, 0.975], axis=0)
    return float(np.mean((low <= 0) & (high >= 0)))


@pytest.mark.parametrize("n", SEEDS)
def test_half_width_covers_the_mean_of_normal_scores_95_times_in_100(n: int) -> None:
    rng = np.random.default_rng(n)
    assert 0.93 <= coverage(rng.normal(size=(DRAWS, n))) <= 0.97


# What half_width's docstring says of seeds that are not normal.
SHAPES = {
    "heavy tails": (lambda rng, size: rng.standard_t(5, size), 0.94, 0.97),
    "skewed": (lambda rng, size: rng.lognormal(0, 0.25, size) - math.exp(0.03125), 0.93, 0.96),
    "uniform": (lambda rng, size: rng.uniform(-1, 1, size), 0.91, 0.96),
    "very skewed": (lambda rng, size: rng.lognormal(0, 0.5, size) - math.exp(0.125), 0.91, 0.95),
    "10 % fail": (
        lambda rng, size: rng.normal(0.8, 1, size) - 8 * (rng.random(size) < 0.1),
        0.76,
        0.91,
    ),
}


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("shape", SHAPES)
def test_half_width_covers_other_shapes_as_documented(shape: str, n: int) -> None:
    draw, low, high = SHAPES[shape]
    assert low <= coverage(draw(np.random.default_rng(n), (DRAWS, n))) <= high


@pytest.mark.parametrize(("n", "expected"), [(2, 0.51), (3, 0.74), (5, 0.85), (10, 0.90)])
def test_documentation_percentile_bootstrap_covers_less(n: int, expected: float) -> None:
    rng = np.random.default_rng(n)
    scores = rng.normal(size=(4000, n))
    assert percentile_bootstrap_coverage(scores, rng) == pytest.approx(expected, abs=0.025)


@pytest.mark.parametrize("n", [3, 5])
def test_half_width_over_runs_of_one_purchase_covers_too_little(n: int) -> None:
    """Runs of one purchase share it; as observations of their own they cover far too little."""
    rng = np.random.default_rng(n)
    pairs, trainings = 2, 3
    seed = rng.normal(0, 1, (DRAWS, n, 1, 1))
    purchase = rng.normal(0, 1, (DRAWS, n, pairs, 1))
    training = rng.normal(0, 1, (DRAWS, n, pairs, trainings))
    runs = seed + purchase + training
    assert 0.93 <= coverage(runs.mean(axis=(2, 3))) <= 0.97
    assert coverage(runs.reshape(DRAWS, -1)) < 0.80


def test_holm_keeps_false_alarms_of_a_table_at_five_in_100() -> None:
    rng = np.random.default_rng(0)
    draws, n, strategies = 4000, 5, 4
    baseline = rng.normal(size=(draws, n, 1))
    differences = rng.normal(size=(draws, n, strategies)) - baseline
    p = stats.ttest_1samp(differences, 0, axis=1).pvalue  # (draws, strategies)
    corrected = np.array([holm(list(row)) for row in p])
    assert np.mean((p < 0.05).any(axis=1)) > 0.10
    assert np.mean((corrected < 0.05).any(axis=1)) <= 0.055


def test_documentation_stopping_at_the_first_significant_seed() -> None:
    """As often as holm's docstring, the report and docs/scoring.md say."""
    differences = np.random.default_rng(0).normal(size=(DRAWS, 10))
    alarms = np.zeros(DRAWS, dtype=bool)
    for n in range(2, 11):
        seen = differences[:, :n]
        alarms |= np.abs(seen.mean(axis=1)) > half_width(seen)
    assert np.mean(alarms) == pytest.approx(0.20, abs=0.01)


def test_mean_interval_of_one_seed_is_none() -> None:
    assert mean_interval([0.4]) is None
    assert mean_interval([]) is None
    with pytest.raises(ValueError, match="2 values or more, got 1"):
        half_width([0.4])


def test_mean_interval_agrees_with_statsmodels() -> None:
    # statsmodels 0.15.0: DescrStatsW(FIVE_SEEDS).tconfint_mean()
    assert mean_interval(FIVE_SEEDS) == pytest.approx((0.15344468947187445, 0.22255531052812555))


def test_paired_test_agrees_with_statsmodels_and_scipy() -> None:
    test = paired_test(A, B)
    # statsmodels 0.15.0: d = DescrStatsW(A - B); d.ttest_mean(0), d.tconfint_mean()
    assert test.p_t == pytest.approx(0.208)
    assert test.interval == pytest.approx((-0.010211560841582342, 0.03421156084158232))
    assert test.p_t == pytest.approx(stats.ttest_rel(A, B).pvalue)
    assert test.difference == pytest.approx(0.012)
    assert test.variance_paired == pytest.approx(0.00032)
    assert test.variance_unpaired == pytest.approx(0.00093 + 0.00153)
    assert test.pairing_gain == pytest.approx(test.variance_unpaired / 0.00032)
    assert test.n == 5


@pytest.mark.parametrize(("n", "low", "high"), [(2, 0.5, 81), (3, 0.5, 10), (5, 0.6, 3.7)])
def test_documentation_variance_reduction_is_noise_at_few_seeds(
    n: int, low: float, high: float
) -> None:
    """Where it saves nothing: as docs/scoring.md says."""
    ours, theirs = np.random.default_rng(n).normal(size=(2, 10 * DRAWS, n))
    unpaired = ours.var(axis=1, ddof=1) + theirs.var(axis=1, ddof=1)
    gains = unpaired / (ours - theirs).var(axis=1, ddof=1)
    assert np.quantile(gains, [0.05, 0.95]) == pytest.approx([low, high], rel=0.06)


def test_paired_test_wilcoxon_is_exact_at_few_seeds() -> None:
    ours = [0.5, 0.52, 0.55, 0.59, 0.64, 0.70]
    assert paired_test(ours, [0.49] * 6).p_wilcoxon == pytest.approx(2 / 2**6)
    assert paired_test(ours[:5], [0.49] * 5).p_wilcoxon == pytest.approx(2 / 2**5)


EDGES = {
    # ours, theirs: difference, interval, p of t, p of Wilcoxon
    "the same purchases": ([0.5, 0.6], [0.5, 0.6], 0.0, (0.0, 0.0), 1.0, 1.0),
    "always the same gain": ([0.5, 0.6, 0.7], [0.4, 0.5, 0.6], 0.1, (0.1, 0.1), 0.0, 0.25),
    "one seed": ([0.5], [0.4], 0.1, None, None, None),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", EDGES)
def test_paired_test_edges(case: str) -> None:
    ours, theirs, difference, interval, p_t, p_wilcoxon = EDGES[case]
    test = paired_test(ours, theirs)
    assert test.difference == pytest.approx(difference)
    assert test.interval == (interval and pytest.approx(interval))
    assert (test.p_t, test.p_wilcoxon) == (p_t, p_wilcoxon)
    assert test.pairing_gain is None


REFUSED = {
    "other lengths": lambda: paired_test([0.1, 0.2], [0.1]),
    "nothing": lambda: paired_test([], []),
    "a score that is not there": lambda: paired_test([0.1, math.nan], [0.1, 0.2]),
    "infinite": lambda: mean_interval([0.1, math.inf]),
    "other budgets": lambda: area_under_budget_curve([1, 2], [0.1]),
    "a spread below nothing": lambda: seeds_needed(-0.1),
}


@pytest.mark.parametrize("case", REFUSED)
def test_statistics_refuse(case: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        REFUSED[case]()


# statsmodels 0.15.0: multipletests(p, method="holm")[1]
HOLM = [
    ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
    ([0.2, 0.2, 0.001], [0.4, 0.4, 0.003]),
    ([0.9, 0.6], [1.0, 1.0]),
    ([0.03], [0.03]),
    ([], []),
]


@pytest.mark.parametrize(("p", "corrected"), HOLM)
def test_holm_agrees_with_statsmodels(p: list[float], corrected: list[float]) -> None:
    assert holm(p) == pytest.approx(corrected)


# statsmodels 0.15.0: ceil of TTestPower().solve_power(0.01 / sd, power=0.8, alpha=0.05), which gave
# 51.01, 50.62, 62.61, 9.94, 4.22, 3.53, 72.58, 786.81.
SEEDS_NEEDED = [
    (0.025, 52),
    (0.0249, 51),
    (0.0278, 63),
    (0.01, 10),
    (0.005, 5),
    (0.004, 4),
    (0.03, 73),
    (0.1, 787),
]


@pytest.mark.parametrize(("sd", "seeds"), SEEDS_NEEDED)
def test_seeds_needed_agrees_with_statsmodels(sd: float, seeds: int) -> None:
    assert seeds_needed(sd) == seeds


def test_seeds_needed_grows_with_noise() -> None:
    sds = np.geomspace(0.0005, 0.05, 400)
    needed = [seeds_needed(float(sd)) for sd in sds]
    assert needed == sorted(needed)
    power = [_power(n, 0.01 / sd) for n, sd in zip(needed, sds, strict=True)]
    assert min(power) >= 0.8  # a NaN is neither more nor less


@pytest.mark.parametrize("sd", [0.01, 0.03])
def test_seeds_needed_find_the_difference_four_times_in_five(sd: float) -> None:
    rng = np.random.default_rng(0)
    power = []
    for n in (seeds_needed(sd) - 1, seeds_needed(sd)):
        differences = rng.normal(0.01, sd, (DRAWS, n))
        power.append(np.mean(np.abs(differences.mean(axis=1)) > half_width(differences)))
    assert 0.70 <= power[0] < 0.805
    assert 0.79 <= power[1] <= 0.83


def test_seeds_needed_interval_narrows_with_seeds() -> None:
    intervals = [seeds_needed_interval(0.01, n) for n in (3, 10, 30)]
    assert all(low <= 10 <= high for low, high in intervals)
    assert all(wide[1] > narrow[1] for wide, narrow in pairwise(intervals))
    # scipy.stats.chi2.ppf([.975, .025], 9) = 19.02, 2.70: sd between 0.0069 and 0.0183
    assert intervals[1] == (seeds_needed(0.01 * (9 / 19.0228) ** 0.5), seeds_needed(0.018256))


def test_seeds_needed_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    sds = rng.normal(0, 0.02, (150, 5)).std(axis=1, ddof=1)
    truth = seeds_needed(0.02)
    intervals = [seeds_needed_interval(float(sd), 5) for sd in sds]
    assert 0.91 <= np.mean([low <= truth <= high for low, high in intervals]) <= 0.99


AREAS = {
    "a straight line": ([500, 1000, 2000], [0.2, 0.3, 0.5], 0.35),
    "in any order": ([2000, 500, 1000], [0.5, 0.2, 0.3], 0.35),
    "a constant is itself": ([621, 1889], [0.4, 0.4], 0.4),
    "budgets weigh by their distance": ([0, 100, 1000], [0.0, 1.0, 1.0], 0.95),
    "equal budgets are averaged": ([621, 621, 1889, 1889], [0.3, 0.5, 0.6, 0.8], 0.55),
    "one budget is no curve": ([621, 621], [0.3, 0.5], None),
}


@pytest.mark.parametrize("case", AREAS)
def test_area_under_budget_curve(case: str) -> None:
    budgets, scores, area = AREAS[case]
    assert area_under_budget_curve(budgets, scores) == (area and pytest.approx(area))
