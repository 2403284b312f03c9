"""The noise is taken apart rightly, and the advice on where to spend time is the best there is."""

import numpy as np
import pytest

from evaluator.analysis.leaderboard import Row
from evaluator.analysis.precision import (
    Components,
    components,
    render_precision,
    table_of,
    variance_components,
)
from evaluator.analysis.results import TrialResult
from evaluator.records.trial import Pair


def test_the_parts_of_the_variance_are_found_again() -> None:
    dice = np.random.default_rng(0)
    parts = []
    for _ in range(400):
        purchases = dice.normal(0, 0.03, (6, 1))
        parts.append(variance_components(purchases + dice.normal(0, 0.02, (6, 4))))
    between, within = np.mean(parts, axis=0)
    assert between == pytest.approx(0.03**2, rel=0.1)
    assert within == pytest.approx(0.02**2, rel=0.05)


def test_by_hand() -> None:
    between, within = variance_components(np.array([[1.0, 3.0], [5.0, 7.0]]))
    assert (within, between) == (2.0, 8.0 - 2.0 / 2)
    assert variance_components(np.array([[1.0, 3.0], [3.0, 1.0]])) == (0.0, 2.0)
    with pytest.raises(ValueError, match="1 x 2"):
        variance_components(np.array([[1.0, 2.0]]))


COSTS = [
    (1e-4, 4e-4, 300, 50),
    (4e-4, 1e-4, 300, 50),
    (1e-4, 9e-4, 600, 20),
    (9e-4, 0, 60, 60),
    (1e-6, 4e-5, 267, 120),  # two seeds of one training are more than enough
    (0, 9e-5, 60, 300),
    (0, 1e-3, 300, 50),
]


@pytest.mark.parametrize(("purchases", "trainings", "buying", "training"), COSTS)
def test_no_other_number_of_trainings_settles_it_sooner(
    purchases: float, trainings: float, buying: float, training: float
) -> None:
    one = Components(5, purchases, trainings, buying, training)
    hours = []
    for m in range(1, 11):
        seeds = 2
        while (purchases + trainings / m) / seeds > 0.005**2 * (1 + 1e-9):
            seeds += 1
        hours.append(seeds * (buying + m * training) / 3600)
    assert one.best_trainings is not None
    assert one.hours_to_settle(one.best_trainings) == pytest.approx(min(hours))
    assert one.hours_to_settle(1) == pytest.approx(hours[0])


def test_the_best_number_of_trainings_is_never_dearer_than_one() -> None:
    few, many = (Components(5, *parts) for parts in ((1e-6, 4e-5, 267, 120), (0, 1e-3, 300, 20)))
    assert cells(few)[-3:] == ["1", "0.2", "0.2"]
    assert cells(many)[-3:] == ["10 or more", "3.6", "0.6"]


def cells(one: Components) -> list[str]:
    _, [line] = table_of({"entropy": one}, "random")
    return line[1:]


def result(strategy: str, seed: int, scores: tuple[float, ...]) -> TrialResult:
    records = {
        ("quick", 10 * seed + t): {"macro_f1": score, "status": "ok", "seconds": 50.0}
        for t, score in enumerate(scores)
    }
    purchase = {"status": "ok", "seconds": {"pre_training": 100.0, "purchase": 200.0}}
    return TrialResult(strategy, Pair(5, 1), seed, purchase, records)


def rows(results: list[TrialResult]) -> list[Row]:
    found: dict[str, Row] = {}
    for one in results:
        row = found.setdefault(one.strategy, Row(one.strategy, "quick"))
        for training in one.scores:
            row.runs["5:1", one.seed, training[1]] = one.score(training)
    return list(found.values())


def test_from_journals_to_advice() -> None:
    results = [
        result("random", 0, (0.5, 0.5)),
        result("random", 1, (0.5, 0.5)),
        result("entropy", 0, (0.51, 0.53)),
        result("entropy", 1, (0.55, 0.57)),
        result("late", 0, (0.51, 0.53)),
    ]
    found = components(results, rows(results), "quick", "random")
    assert set(found) == {"entropy"}  # one seed is not enough for the other
    entropy = found["entropy"]
    assert entropy.n_purchases == 2
    assert (entropy.purchases, entropy.trainings) == pytest.approx((8e-4 - 1e-4, 2e-4))
    assert (entropy.purchase_seconds, entropy.training_seconds) == (600.0, 100.0)
    told = render_precision(found, "random")
    assert "0.026" in told
    assert "standard error of 0.005: one training" in told
    assert "95 % interval is about ±0.01" in told


def test_few_purchase_seeds_hardly_know_the_parts() -> None:
    hidden = Components(3, *variance_components(np.array([[1.0, 3.0], [3.0, 1.0]])), 60, 60)
    assert cells(hidden)[:2] == ["not seen", "1.414"]
    assert "hardly known" in render_precision({"entropy": hidden}, "random")
    enough = Components(5, 1e-4, 1e-4, 60, 60)
    assert "hardly known" not in render_precision({"entropy": enough}, "random")
    assert "hardly known" in render_precision({"entropy": enough, "late": hidden}, "random")
    unsplit = Components(3, 1e-4, None, 60, 60)
    assert "hardly known" not in render_precision({"entropy": unsplit}, "random")


def test_equal_parts_are_not_seen_as_often_as_the_caveat_says() -> None:
    dice = np.random.default_rng(0)
    scores = dice.normal(size=(4000, 3, 1)) + dice.normal(size=(4000, 3, 2))
    unseen = [variance_components(one)[0] == 0 for one in scores]
    assert np.mean(unseen) == pytest.approx(0.26, abs=0.02)


def test_one_training_each_has_a_cost_and_no_parts() -> None:
    results = [result("random", seed, (0.5,)) for seed in (0, 1)]
    results += [result("entropy", seed, (0.51 + 0.02 * seed,)) for seed in (0, 1)]
    (entropy,) = components(results, rows(results), "quick", "random").values()
    assert (entropy.purchases, entropy.trainings) == (pytest.approx(2e-4), None)
    assert entropy.best_trainings is None
    hours = 2e-4 / 0.005**2 * (2 * 300 + 2 * 50) / 3600
    assert cells(entropy) == ["", "", "600 s", "100 s", "", f"{hours:.1f}", ""]


def test_one_purchase_seed_says_nothing() -> None:
    results = [result(name, 0, (0.5, 0.6)) for name in ("random", "entropy")]
    assert components(results, rows(results), "quick", "random") == {}
