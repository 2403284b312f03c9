"""The metrics agree with counting by hand, and refuse what is not a table of 0 and 1."""

import numpy as np
import pytest
import torch

from evaluator.training.metrics import score

NAMES = ["scratch", "dent"]
TRUTH = [[1, 0], [1, 1], [0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("predictions", "macro_f1", "accuracy", "hamming", "per_class"),
    [
        (TRUTH, 1.0, 1.0, 0.0, [1.0, 1.0]),
        # scratch: 1 hit, 1 miss, 1 false alarm; dent: 2 hits.
        ([[1, 0], [0, 1], [1, 0], [0, 1]], 0.75, 0.5, 0.25, [0.5, 1.0]),
        # Nothing predicted: F1 is 0 and not undefined; one undamaged sheet is right.
        ([[0, 0]] * 4, 0.0, 0.25, 0.5, [0.0, 0.0]),
        ([[1, 1]] * 4, 2 / 3, 0.25, 0.5, [2 / 3, 2 / 3]),
    ],
)
def test_score_agrees_with_counting(predictions, macro_f1, accuracy, hamming, per_class):
    scores = score(torch.tensor(TRUTH), np.array(predictions), NAMES)
    assert scores.macro_f1 == pytest.approx(macro_f1)
    assert scores.accuracy == pytest.approx(accuracy)
    assert scores.hamming_loss == pytest.approx(hamming)
    assert list(scores.f1_per_class) == NAMES
    assert list(scores.f1_per_class.values()) == pytest.approx(per_class)


def test_score_of_a_class_neither_present_nor_predicted_is_zero():
    scores = score([[1, 0], [0, 0]], [[1, 0], [0, 0]], NAMES)
    assert scores.f1_per_class == {"scratch": 1.0, "dent": 0.0}
    assert scores.macro_f1 == 0.5


def test_score_single_class():
    scores = score([[1], [0], [1]], [[1], [1], [0]], ["open"])
    assert scores.macro_f1 == pytest.approx(0.5)
    assert scores.accuracy == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([[1, 0, 1]], [[1, 0]], r"labels came with shape \(1, 3\), expected \(images, 2\)"),
        ([[1, 0]], [1, 0], r"predictions came with shape \(2,\), expected \(1, 2\)"),
        ([[1, 0]], [[1, 0], [0, 0]], r"predictions came with shape \(2, 2\), expected \(1, 2\)"),
        ([[1, 0]], [[0.7, 0.2]], "predictions hold .*0.7.* in row 0, column 0"),
        ([[1, float("nan")]], [[1, 0]], "labels hold .*nan.* in row 0, column 1"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "no rows came"),
    ],
)
def test_score_refuses(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        score(labels, predictions, NAMES)
