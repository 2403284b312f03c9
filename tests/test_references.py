"""The oracle knows the labels, keeps to its budget, and fills up what is rare."""

import numpy as np
import pytest

from evaluator.grid.references import oracle

TRAINING = np.array([[1, 0, 0]] * 9 + [[0, 1, 0]])  # positives: 9, 1, 0


def dice(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_rarest_class_comes_first():
    pool = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert oracle(TRAINING, pool, 4, dice()) == [2, 1, 0, 3]


def test_two_classes_at_once_are_worth_more_than_one():
    pool = np.array([[0, 0, 1], [0, 1, 1]])
    assert oracle(TRAINING, pool, 1, dice()) == [1]


def test_each_step_is_the_best_step_of_the_plain_loop():
    pool = (dice(1).random((60, 3)) < (0.5, 0.2, 0.1)).astype(int)
    bought = oracle(TRAINING, pool, 25, dice())
    positives = TRAINING.sum(axis=0)
    for step, row in enumerate(bought):
        left = [r for r in range(len(pool)) if r not in bought[:step]]
        best = max(np.log1p(positives + pool[r]).sum() for r in left)
        assert np.log1p(positives + pool[row]).sum() == pytest.approx(best)
        positives = positives + pool[row]


@pytest.mark.parametrize(("budget", "n"), [(0, 0), (7, 7), (60, 60), (100, 60)])
def test_it_buys_as_many_as_it_may_and_none_twice(budget: int, n: int):
    pool = (dice(2).random((60, 3)) < 0.3).astype(int)
    bought = oracle(TRAINING, pool, budget, dice())
    assert len(bought) == len(set(bought)) == n


def test_among_equals_it_draws_by_lot_and_repeats_itself():
    pool = np.zeros((50, 3), dtype=int)
    draws = [oracle(TRAINING, pool, 5, dice(seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
