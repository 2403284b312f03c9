"""Linear heads on features of a frozen network: what they learn, keep, and refuse."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from core.pretrained.frozen_network import FrozenNetwork, frozen_network
from models.frozen_learner import PENALTY, FrozenLearner
from models.kinds import build_learner
from models.learner import DeadlineReachedError
from models.network_learner import NetworkLearner
from models.settings import FROZEN, FROZEN_DEFAULT, LearnerSettings

SETTINGS = LearnerSettings(device="cpu", backbone=FROZEN, members=3)


def separable(n: int, seed: int = 0, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    """Features (n, 20) of which the first three say, noisily, which of three classes are there."""
    rng = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, 3, generator=rng) < 0.3).float()
    features = torch.randn(n, 20, generator=rng)
    features[:, :3] = 2 * labels + noise * features[:, :3]
    return features, labels


def test_fit_learns_and_measures_f1_out_of_fold() -> None:
    learner = FrozenLearner(SETTINGS, seed=0).fit(*separable(300), epochs=30)
    assert learner.validation_f1_.min() > 0.9
    features, labels = separable(400, seed=1)
    found = learner.predict(features)
    assert (found == labels).float().mean() > 0.95
    predictions = learner.infer(features)
    assert predictions.committee.shape == (3, 400, 3)
    assert torch.allclose(predictions.committee.mean(0), predictions.probabilities)


def test_fit_on_noise_claims_nothing() -> None:
    features, labels = separable(300)
    shuffled = labels[torch.randperm(300, generator=torch.Generator().manual_seed(3))]
    learner = FrozenLearner(SETTINGS, seed=0).fit(features, shuffled, epochs=30)
    likelier = learner.labelled_probabilities_[shuffled == 1].mean()
    assert abs(likelier - learner.labelled_probabilities_[shuffled == 0].mean()) < 0.05


@pytest.mark.parametrize("member", [0, 1, 2])
def test_head_equals_logistic_regression_of_scikit_learn(member: int) -> None:
    settings = LearnerSettings(device="cpu", backbone=FROZEN, members=3, positive_weight=1.0)
    features, labels = separable(240, noise=2.0)
    learner = FrozenLearner(settings, seed=0).fit(features, labels, epochs=200)
    rows = learner.folds_ != member
    scaled = (features - learner.mean_) / learner.scale_
    for c in range(3):
        peer = LogisticRegression(C=1 / PENALTY, tol=1e-8, max_iter=1000)
        peer.fit(scaled[rows].double().numpy(), labels[rows, c].numpy())
        ours = scaled @ learner.weights_[member, c] + learner.biases_[member, c]
        theirs = peer.decision_function(scaled.double().numpy())
        np.testing.assert_allclose(ours.numpy(), theirs, atol=0.02)


def test_second_fit_goes_on_from_the_first_and_keeps_folds() -> None:
    features, labels = separable(300, noise=2.0)
    learner = FrozenLearner(SETTINGS, seed=0).fit(features[:280], labels[:280], epochs=100)
    cold, folds = learner.epochs_, learner.folds_
    learner.fit(features, labels, epochs=100)
    assert 0 < learner.epochs_ < cold
    assert torch.equal(learner.folds_[:280], folds)
    anew = FrozenLearner(SETTINGS, seed=0)
    anew.folds_ = learner.folds_
    anew.fit(features, labels, epochs=200)
    assert torch.allclose(
        anew.infer(features).committee, learner.infer(features).committee, atol=0.02
    )


def test_deadline_ends_a_fit_and_forbids_a_look() -> None:
    ticks = iter(range(1000))
    learner = FrozenLearner(SETTINGS, seed=0, clock=lambda: float(next(ticks)))
    features, labels = separable(300, noise=2.0)
    learner.fit(features, labels, epochs=100, deadline=3.0)
    assert 0 < learner.epochs_ <= 3
    with pytest.raises(DeadlineReachedError, match="0 of 300"):
        learner.infer(features, deadline=3.0)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fit_on_few_images_predicts_them(n: int) -> None:
    features, labels = separable(n)
    learner = FrozenLearner(SETTINGS, seed=0).fit(features, labels, epochs=10)
    assert learner.infer(features).probabilities.isfinite().all()
    assert learner.labelled_probabilities_.shape == (n, 3)


def test_members_and_seed_decide_the_folds_and_nothing_else_is_drawn() -> None:
    features, labels = separable(120, noise=2.0)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, same, other = (
        FrozenLearner(SETTINGS, seed=seed).fit(features, labels, epochs=20).infer(features)
        for seed in (0, 0, 1)
    )
    assert torch.equal(first.probabilities, same.probabilities)
    assert not torch.equal(first.probabilities, other.probabilities)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_encode_gives_what_the_frozen_network_gives_and_keeps_it(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.randint(0, 256, (5, 3, 40, 40), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    fresh = FrozenLearner(SETTINGS, seed=0).encode(images)
    expected = frozen_network(FROZEN_DEFAULT).features(images)
    assert fresh.shape == (5, 1280)
    assert torch.allclose(fresh, expected, atol=2e-3)
    kept = FrozenLearner(SETTINGS, seed=0, kept_in=tmp_path).encode(images)
    assert torch.equal(kept, fresh)

    def refuse(*given: object) -> Tensor:
        raise AssertionError("an image was shown to the network twice")

    monkeypatch.setattr(FrozenNetwork, "features", refuse)
    again = FrozenLearner(SETTINGS, seed=1, kept_in=tmp_path).encode(images.flip(0))
    assert torch.equal(again, fresh.flip(0))


def test_measure_speed_leaves_the_learner_as_it_was() -> None:
    learner = FrozenLearner(SETTINGS, seed=0)
    speed = learner.measure_speed(*separable(100))
    assert 0 < speed.look < speed.fit < 0.1
    assert learner.fits_ == 0
    assert len(learner.folds_) == 0


@pytest.mark.parametrize(
    ("backbone", "kind", "network", "pixels"),
    [
        ("auto", NetworkLearner, "small", 80),
        ("small", NetworkLearner, "small", 80),
        ("frozen", FrozenLearner, "tf_efficientnet_lite0", 160),
        ("frozen:tf_efficientnet_lite2", FrozenLearner, "tf_efficientnet_lite2", 160),
        ("resnet10t", NetworkLearner, "resnet10t", 224),
    ],
)
def test_build_learner_by_backbone(backbone: str, kind: type, network: str, pixels: int) -> None:
    learner = build_learner(LearnerSettings(device="cpu", backbone=backbone), 0)
    assert type(learner) is kind
    assert learner.resolved.backbone == network
    assert learner.resolved.image_size == pixels
