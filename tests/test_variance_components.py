"""The variance of a difference is split into that of purchases and that of trainings."""

import numpy as np
import pytest

from evaluator.analysis.leaderboard import leaderboard
from evaluator.analysis.variance_components import (
    Components,
    caveat,
    component_cells,
    components,
    render_components,
    variance_components,
)
from tests.tables import table

BY_HAND = {
    # scores (purchases, trainings): between, within
    "both parts": ([[1.0, 3.0], [5.0, 7.0]], 8.0 - 2.0 / 2, 2.0),
    "a negative part is 0": ([[1.0, 3.0], [3.0, 1.0]], 0.0, 2.0),
    "trainings all alike": ([[1.0, 1.0], [3.0, 3.0]], 2.0, 0.0),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_variance_components_by_hand(case: str) -> None:
    scores, between, within = BY_HAND[case]
    assert variance_components(np.array(scores)) == (between, within)


@pytest.mark.parametrize("scores", [[[1.0, 2.0]], [[1.0], [2.0]]])
def test_variance_components_refuses_fewer_than_two_of_each(scores: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"1 x 2|2 x 1"):
        variance_components(np.array(scores))


def test_variance_components_recovers_both_parts() -> None:
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(400):
        purchases = rng.normal(0, 0.03, (6, 1))
        parts.append(variance_components(purchases + rng.normal(0, 0.02, (6, 4))))
    between, within = np.mean(parts, axis=0)
    assert between == pytest.approx(0.03**2, rel=0.1)
    assert within == pytest.approx(0.02**2, rel=0.05)


def test_variance_components_of_equal_parts_is_0_as_often_as_the_caveat_says() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4000, 3, 1)) + rng.normal(size=(4000, 3, 2))
    unseen = [variance_components(one)[0] == 0 for one in scores]
    assert np.mean(unseen) == pytest.approx(0.26, abs=0.02)


def test_components_are_of_paired_differences() -> None:
    rows = leaderboard(
        table(
            {
                "random": {(0, 0): 0.5, (0, 1): 0.5, (1, 0): 0.5, (1, 1): 0.5},
                "entropy": {(0, 0): 0.51, (0, 1): 0.53, (1, 0): 0.55, (1, 1): 0.57},
                "late": {(0, 0): 0.51, (0, 1): 0.53},
            }
        )
    )
    found = components(rows, "random")
    assert set(found) == {"entropy"}, "one seed is not enough for the other"
    entropy = found["entropy"]
    assert entropy.n_purchases == 2
    assert (entropy.purchases, entropy.trainings) == pytest.approx((8e-4 - 1e-4, 2e-4))
    assert (entropy.purchase_seconds, entropy.training_seconds) == (600.0, 100.0)
    _, [line] = component_cells(found, "random")
    assert line == ["entropy", "0.026", "0.014", "600 s", "100 s", "2"]
    assert "0.026" in render_components(found, "random")


NO_SPLIT = {
    "one purchase seed": {(0, 0): 0.5, (0, 1): 0.6},
    "one training of each": {(0, 0): 0.5, (1, 1): 0.6},
}


@pytest.mark.parametrize("case", NO_SPLIT)
def test_components_needs_two_purchases_and_two_trainings(case: str) -> None:
    runs = NO_SPLIT[case]
    assert components(leaderboard(table({"random": runs, "entropy": runs})), "random") == {}


def test_components_needs_the_baseline() -> None:
    runs = {(s, t): 0.5 for s in (0, 1) for t in (0, 1)}
    assert components(leaderboard(table({"random": runs, "entropy": runs})), "winner") == {}


def test_caveat_is_given_below_five_purchases() -> None:
    few, enough = (Components(n, 1e-4, 1e-4, 60, 60) for n in (4, 5))
    assert caveat({"entropy": few, "badge": enough})
    assert not caveat({"entropy": enough})
