"""What label.py says more labels would bring: true on curves that are known, silent on others."""

from contextlib import suppress

import numpy as np
import pytest

from labelling.forecast import (
    CannotForecastError,
    LearningCurve,
    bootstrap_f1,
    forecast,
    labels_to,
)

SIZES = np.array([80.0, 110.0, 140.0, 170.0, 200.0])


def power_law(sizes: np.ndarray, ceiling: float, drop: float, exponent: float) -> np.ndarray:
    return ceiling - drop * sizes**-exponent


def noisy(
    law: tuple[float, float, float], rng: np.random.Generator, common: float, own: float
) -> LearningCurve:
    """A curve measured on one sample, and its bootstrap: errors in common, and own ones."""
    truth = power_law(SIZES, *law)

    def error(draws: int) -> np.ndarray:
        shared = rng.normal(0, common, (draws, 1))
        return np.asarray(shared + rng.normal(0, own, (draws, len(SIZES))))

    scores = truth + error(1)[0]
    return LearningCurve(SIZES, scores, scores + error(300))


@pytest.mark.parametrize("law", [(0.9, 2.0, 0.5), (0.7, 5.0, 0.8), (0.95, 1.2, 0.3)])
def test_forecast_without_noise_is_the_law(law: tuple[float, float, float]) -> None:
    scores = power_law(SIZES, *law)
    curve = LearningCurve(SIZES, scores, np.tile(scores, (5, 1)))
    for more in (50, 100, 200):
        found = forecast(curve, more)
        expected = float(power_law(SIZES[-1:] + more, *law)[0])
        assert found.then == pytest.approx(expected, abs=0.002)
        assert found.low == pytest.approx(found.high, abs=0.004)
        assert (found.labels, found.now) == (200 + more, pytest.approx(scores[-1]))


def test_forecast_interval_covers_what_comes() -> None:
    rng = np.random.default_rng(0)
    law = (0.9, 2.0, 0.5)
    expected = float(power_law(SIZES[-1:] + 100, *law)[0])
    found = []
    for _ in range(200):
        with suppress(CannotForecastError):
            found.append(forecast(noisy(law, rng, 0.03, 0.01), 100))
    assert len(found) > 150
    covered = np.mean([one.low <= expected <= one.high for one in found])
    assert 0.85 <= covered <= 0.99
    assert np.mean([one.high - one.low for one in found]) < 0.16


@pytest.mark.parametrize(
    ("sizes", "scores", "more", "reason"),
    [
        ([100, 200], [0.5, 0.6], 100, "2 points are no curve"),
        ([100, 150, 200], [0.6, 0.5, 0.7], 100, "falls by more than its noise"),
        ([100, 150, 200], [0.7, 0.65, 0.6], 100, "falls by more than its noise"),
        ([100, 150, 200], [0.5, 0.6, 0.7], 401, "too far ahead"),
    ],
)
def test_forecast_refuses(sizes: list[float], scores: list[float], more: int, reason: str) -> None:
    replicates = np.array(scores) + np.linspace(-0.02, 0.02, 9)[:, None]
    curve = LearningCurve(np.array(sizes, float), np.array(scores), replicates)
    with pytest.raises(CannotForecastError, match=reason):
        forecast(curve, more)


def test_forecast_bears_a_fall_within_the_noise() -> None:
    rng = np.random.default_rng(1)
    scores = np.array([0.50, 0.56, 0.59, 0.615, 0.61])
    curve = LearningCurve(SIZES, scores, scores + rng.normal(0, 0.02, (300, 5)))
    found = forecast(curve, 100)
    assert found.low < found.then < found.high
    assert found.then >= found.now


def test_forecast_of_a_flat_curve_is_no_gain() -> None:
    scores = np.full(5, 0.6)
    found = forecast(LearningCurve(SIZES, scores, np.tile(scores, (9, 1))), 100)
    assert (found.now, found.then) == (pytest.approx(0.6), pytest.approx(0.6))


def test_forecast_stays_below_one() -> None:
    scores = np.array([0.2, 0.5, 0.8, 0.95, 0.995])
    found = forecast(LearningCurve(SIZES, scores, scores + np.zeros((9, 1))), 400)
    assert found.then <= 1
    assert found.high <= 1


def test_labels_to_inverts_the_forecast() -> None:
    scores = power_law(SIZES, 0.9, 2.0, 0.5)
    curve = LearningCurve(SIZES, scores, np.tile(scores, (5, 1)))
    assert labels_to(curve, scores[-1] - 0.01) == 0
    needed = labels_to(curve, forecast(curve, 100).then)
    assert abs(needed - 100) <= 1
    with pytest.raises(CannotForecastError, match="not in sight"):
        labels_to(curve, 0.95)


def test_bootstrap_f1_agrees_with_drawing_images() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, (40, 2)).astype(float)
    decisions = np.stack([labels, 1 - labels, np.ones_like(labels)])
    found = bootstrap_f1(decisions, labels, 2000, np.random.default_rng(3))
    assert found.shape == (2000, 3, 2)
    assert (found[:, 0] == 1).all()
    assert (found[:, 1] == 0).all()
    draws = labels[rng.integers(0, 40, (2000, 40))].sum(1)  # (2000, 2)
    everywhere = 2 * draws / (40 + draws)
    assert found[:, 2].mean(0) == pytest.approx(everywhere.mean(0), abs=0.01)
    assert found[:, 2].std(0) == pytest.approx(everywhere.std(0), rel=0.1)
