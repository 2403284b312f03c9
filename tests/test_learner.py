"""The learner learns, measures itself, keeps its deadline, and draws from its own streams."""

import itertools
import re
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from core.random_streams import stream
from models.calibration import best_thresholds, calibrate, is_near_chance
from models.folds import extend_folds
from models.learner import DeadlineReachedError
from models.member import EnsembleMember, one_cycle
from models.network_learner import NetworkLearner
from models.networks import AcquisitionNetwork, build_network
from models.settings import LearnerSettings
from models.speed import measure_speed

TINY = LearnerSettings(device="cpu", batch_size=16, members=2, pretrained="no")


def spots(n: int, seed: int = 0, side: int = 16) -> tuple[Tensor, Tensor]:
    """Grey noise, with a bright spot of the class's own colour for each class present."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(60, 140, (n, 3, side, side), generator=rng, dtype=torch.uint8)
    labels = (torch.rand(n, 2, generator=rng) < 0.4).float()
    corners = torch.randint(side - 4, (n, 2, 2), generator=rng)
    for i in range(n):
        for c in range(2):
            if labels[i, c]:
                row, column = corners[i, c].tolist()
                images[i, c, row : row + 4, column : column + 4] = 255
    return images, labels


def test_it_learns_and_predicts_what_it_has_not_seen() -> None:
    learner = NetworkLearner(TINY, seed=0).fit(*spots(120), epochs=15)
    images, labels = spots(100, seed=1)
    predictions = learner.infer(images)
    assert predictions.probabilities.shape == (100, 2)
    assert predictions.committee.shape == (2, 100, 2)
    assert predictions.embeddings.shape[0] == 100
    torch.testing.assert_close(predictions.committee.mean(0), predictions.probabilities)
    assert f1_score(labels, learner.predict(images), average="macro") > 0.85
    assert learner.validation_f1_.min() > 0.7
    torch.testing.assert_close(learner.probabilities(images), predictions.probabilities)
    torch.testing.assert_close(learner.embeddings(images), predictions.embeddings)
    torch.testing.assert_close(learner.committee_probabilities(images), predictions.committee)


@pytest.mark.parametrize("warm_start", [True, False])
def test_same_seed_same_learner_and_no_global_dice(warm_start: bool) -> None:
    settings = LearnerSettings(**{**vars(TINY), "warm_start": warm_start})
    results = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        np.random.seed(global_seed)  # noqa: NPY002  (the global one is what is watched)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        learner = NetworkLearner(settings, seed=5)
        measure_speed(learner, *spots(30), seconds=0.1)
        learner.fit(*(x[:24] for x in spots(40)), epochs=2).fit(*spots(40), epochs=2)
        results.append(learner.infer(spots(20, seed=1)[0]).probabilities)
        assert torch.equal(before[0], torch.get_rng_state())
        assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(*results)
    other = NetworkLearner(settings, seed=6).fit(*spots(40), epochs=2).infer(spots(20, seed=1)[0])
    assert not torch.equal(results[0], other.probabilities)


@pytest.mark.parametrize(
    ("waking", "a_size", "a_step", "an_image", "expected"),
    [
        (0.0, 0.0, 0.02, 0.001, 0.036 / 16),  # a whole batch of 16, of which each image costs less
        (5.0, 0.0, 0.02, 0.001, 0.036 / 16),  # a GPU that loads its libraries at the first step
        (5.0, 9.0, 0.02, 0.001, 0.036 / 16),  # ... and looks for kernels at every new size
        (0.0, 0.5, 0.02, 0.001, 0.036 / 16),  # ... not as long
        (0.0, 0.0, 0.3, 0.4, 0.4 + 0.3 / 16),  # so slow that one batch is longer than all we take
        (0.0, 0.0, 0.0, 1.0, 4.0 / 4),  # too slow to try more than four images
    ],
)
def test_a_device_that_wakes_up_slowly_is_not_taken_for_a_slow_one(
    waking: float,
    a_size: float,
    a_step: float,
    an_image: float,
    expected: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, asleep, sizes = 0.0, waking, set[int]()

    def step(
        self: EnsembleMember, images: Tensor, labels: Tensor, symmetries: Tensor, progress: float
    ) -> None:
        nonlocal now, asleep
        now += asleep + a_step + an_image * len(images)
        now += 0.0 if len(images) in sizes else a_size
        asleep = 0.0
        sizes.add(len(images))

    monkeypatch.setattr(EnsembleMember, "step", step)
    speed = measure_speed(NetworkLearner(TINY, 0, clock=lambda: now), *spots(30))
    assert speed.fit == pytest.approx(expected)  # looking takes no time on this clock


@pytest.mark.parametrize("members", [1, 2, 3])
def test_out_of_fold_predictions_know_nothing_of_labels_that_are_noise(members: int) -> None:
    images, _ = spots(90)
    labels = (torch.rand(90, 2, generator=torch.Generator().manual_seed(9)) < 0.5).float()
    learner = NetworkLearner(LearnerSettings(**{**vars(TINY), "members": members}), seed=0)
    learner.fit(images[:60], labels[:60], epochs=25)
    learner.fit(images, labels, epochs=25)  # warm: what was held out must still be unseen
    known_by_heart = roc_auc_score(labels, learner.infer(images).probabilities)
    held = torch.ones(90, dtype=torch.bool) if members > 1 else learner.folds_ == 0
    honest = roc_auc_score(labels[held], learner.labelled_probabilities_[held])
    assert known_by_heart > 0.7
    assert honest < 0.68
    assert honest < known_by_heart - 0.1


def test_what_was_learned_when_nothing_was_held_out_is_forgotten() -> None:
    """Or those first rows, known by heart, would pass for unseen ones."""
    images, labels = spots(40)
    learner = NetworkLearner(TINY, seed=0)
    learner.fit(images[:3], labels[:3], epochs=2)
    before = learner.members_
    learner.fit(images, labels, epochs=1)
    assert not any(member in before for member in learner.members_)
    between = learner.members_
    learner.fit(images, labels, epochs=1)
    assert learner.members_ is between, "a warm start"


def test_a_deadline_stops_a_fit_within_an_epoch_and_leaves_it_usable() -> None:
    learner = NetworkLearner(TINY, seed=0)
    images, labels = spots(300, side=32)
    started = time.monotonic()
    learner.fit(images, labels, epochs=10_000, deadline=started + 2.0)
    assert time.monotonic() - started < 4.0
    assert 0 < learner.epochs_ < 10_000
    assert learner.validation_f1_.mean() > 0.6  # the rate had come down with the clock
    with pytest.raises(DeadlineReachedError, match="of 300 images"):
        learner.infer(images, deadline=time.monotonic())
    ticks = itertools.count(0.0)  # one for the start, one before each of 18 steps an epoch
    cut = NetworkLearner(TINY, seed=0, clock=lambda: next(ticks))
    cut.fit(images, labels, epochs=3, deadline=28.0)
    assert cut.epochs_ == pytest.approx(1.5, abs=0.01)


def test_the_schedule_starts_low_peaks_and_cools_down() -> None:
    rates = [one_cycle(progress / 100) for progress in range(101)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 10
    assert rates[0] == pytest.approx(0.1)
    assert rates[100] < 0.01
    assert one_cycle(1.7) == rates[100]


def test_out_of_memory_halves_the_batch_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "buyer")
    sizes: list[int] = []
    failed: list[int] = []
    forward = AcquisitionNetwork.forward

    def cramped(network: AcquisitionNetwork, images: Tensor) -> object:
        if len(images) > 5:
            failed.append(len(images))
            raise torch.OutOfMemoryError("simulated")
        sizes.append(len(images))
        return forward(network, images)

    monkeypatch.setattr(AcquisitionNetwork, "forward", cramped)
    learner = NetworkLearner(TINY, seed=0).fit(*spots(40), epochs=1)
    assert learner.batch_size_ == 1  # inference batches are four times as long
    assert sum(sizes) >= 40
    assert learner.epochs_ == 1.0
    said = re.findall(r"out of memory at (\d+) images", caplog.text)
    assert [int(size) for size in said] == failed


def test_a_batch_filled_up_for_a_gpu_is_halved_by_its_size_and_not_by_the_images_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner = NetworkLearner(TINY, seed=0).fit(*spots(40), epochs=1)
    forward = AcquisitionNetwork.forward

    def cramped(network: AcquisitionNetwork, images: Tensor) -> object:
        if len(images) > 32:
            raise torch.OutOfMemoryError("simulated")
        return forward(network, images)

    def filled(self: NetworkLearner, batch: Tensor, size: int) -> Tensor:
        return batch[:1].expand(size, -1, -1, -1)

    monkeypatch.setattr(AcquisitionNetwork, "forward", cramped)
    monkeypatch.setattr(NetworkLearner, "_to_device_in_turn", filled)
    assert len(learner.infer(spots(1)[0]).probabilities) == 1
    assert learner.batch_size_ == 8  # inference batches are four times as long


def test_the_smaller_batch_is_tried_once_the_failed_one_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed: list[weakref.ref[Tensor]] = []
    forward = AcquisitionNetwork.forward

    def cramped(network: AcquisitionNetwork, images: Tensor) -> object:
        assert not any(activations() is not None for activations in failed), "memory still taken"
        if len(images) > 5:
            activations = images.float()
            failed.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("simulated")
        return forward(network, images)

    monkeypatch.setattr(AcquisitionNetwork, "forward", cramped)
    learner = NetworkLearner(TINY, seed=0).fit(*spots(40), epochs=1)
    assert len(failed) >= 2  # one in a training step, one at what is held out
    assert learner.epochs_ == 1.0


def test_an_error_that_is_not_memory_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: AcquisitionNetwork, images: Tensor) -> object:
        raise RuntimeError("something else")

    monkeypatch.setattr(AcquisitionNetwork, "forward", broken)
    with pytest.raises(RuntimeError, match="something else"):
        NetworkLearner(TINY, seed=0).fit(*spots(40), epochs=1)


@pytest.mark.parametrize(
    ("name", "images", "labels"),
    [
        ("a single image", *(x[:1] for x in spots(1, side=32))),
        ("fewer than can be held out", *spots(3)),
        ("no positives at all", spots(30)[0], torch.zeros(30, 2)),
        ("nothing but positives", spots(30)[0], torch.ones(30, 2)),
        ("identical images", spots(1)[0].expand(30, 3, 16, 16), spots(30)[1]),
    ],
)
def test_odd_labelled_sets_have_a_defined_result(name: str, images: Tensor, labels: Tensor) -> None:
    learner = NetworkLearner(TINY, seed=0).fit(images, labels, epochs=2)
    predictions = learner.infer(spots(10)[0])
    for values in (*predictions, learner.thresholds_, learner.labelled_probabilities_):
        assert torch.isfinite(values).all()
    assert learner.labelled_probabilities_.shape == labels.shape
    assert learner.infer(torch.empty(0, 3, 16, 16, dtype=torch.uint8)).probabilities.shape == (0, 2)


@pytest.mark.parametrize(
    ("images", "labels", "word"),
    [
        (torch.zeros(4, 3, 8, 8), torch.zeros(4, 2), "uint8"),
        (torch.zeros(4, 8, 8, 3, dtype=torch.uint8), torch.zeros(4, 2), r"\(4, 8, 8, 3\)"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(3, 2), "4 images"),
        (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), torch.zeros(0, 2), "0 images"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(images: Tensor, labels: Tensor, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        NetworkLearner(TINY, seed=0).fit(images, labels, epochs=1)


def test_rows_may_only_be_added() -> None:
    learner = NetworkLearner(TINY, seed=0).fit(*spots(40), epochs=1)
    with pytest.raises(ValueError, match="only be added"):
        learner.fit(*spots(30), epochs=1)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"members": 0}, "members"),
        ({"positive_weight": 0.0}, "positive_weight"),
        ({"image_size": -1}, "image_size"),
        ({"precision": "fp8"}, "precision"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        LearnerSettings(**change)


def in_fp16() -> NetworkLearner:
    """On the processor, where torch can do it too; the settings refuse it there for being slow."""
    learner = NetworkLearner(TINY, seed=0)
    learner.resolved = replace(learner.resolved, precision="fp16")
    learner.start_members(2, 16)
    return learner


def test_a_warm_start_keeps_the_loss_scale_of_fp16() -> None:
    learner = in_fp16()
    for member in learner.members_:
        member.scaler = GradScaler("cpu", init_scale=2.0**10)
    learner.fit(*spots(32), epochs=1)
    assert [member.scaler.get_scale() for member in learner.members_] == [2.0**10] * 2
    assert torch.isfinite(learner.infer(spots(8, seed=1)[0]).probabilities).all()


def test_a_step_that_overflows_fp16_changes_no_weight_and_halves_the_scale() -> None:
    member = in_fp16().members_[0]
    member.scaler = GradScaler("cpu", init_scale=2.0**60)
    before = [p.detach().clone() for p in member.network.parameters()]
    member.step(*spots(16), torch.zeros(16, dtype=torch.long), progress=0.5)
    assert all(map(torch.equal, before, member.network.parameters()))
    assert member.scaler.get_scale() == 2.0**59


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("backbone", ["small", "efficientnet_b0"])
def test_a_gpu_learns_in_every_precision_it_has(backbone: str, precision: str) -> None:
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU does not compute in bf16")
    settings = LearnerSettings(
        device="cuda", backbone=backbone, precision=precision, batch_size=16, pretrained="no"
    )
    learner = NetworkLearner(settings, seed=0)
    images, labels = spots(120, side=64)
    assert measure_speed(learner, images, labels, seconds=0.5).fit > 0
    epochs = 15 if backbone == "small" else 2
    learner.fit(images[:100], labels[:100], epochs=epochs).fit(images, labels, epochs=2)
    predictions = learner.infer(images)
    for values in (*predictions, learner.labelled_probabilities_):
        assert values.device.type == "cpu"
        assert torch.isfinite(values).all()
    if backbone == "small":  # the other needs more than a hundred images
        unseen, truth = spots(100, seed=1, side=64)
        assert f1_score(truth, learner.predict(unseen), average="macro") > 0.8


def test_half_precision_on_a_processor_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a GPU"):
        LearnerSettings(device="cpu", precision="fp16").resolved()


def test_folds_stay_put_and_share_every_class() -> None:
    rng = torch.Generator().manual_seed(0)
    labels = (torch.rand(200, 3, generator=rng) < torch.tensor([0.5, 0.1, 0.03])).float()
    first = extend_folds(torch.empty(0, dtype=torch.long), labels[:120], 3, rng)
    folds = extend_folds(first, labels, 3, rng)
    assert torch.equal(folds[:120], first)
    rows = torch.bincount(folds, minlength=3)
    assert rows.max() - rows.min() <= 6
    positives = torch.stack([labels[folds == fold].sum(0) for fold in range(3)])
    assert (positives.max(0).values - positives.min(0).values)[1:].max() <= 2


@pytest.mark.parametrize("decimals", [9, 1])  # with one, many are equal
def test_thresholds_are_the_best_of_all(decimals: int) -> None:
    rng = torch.Generator().manual_seed(0)
    labels = (torch.rand(80, 3, generator=rng) < 0.2).float()
    labels[:, 2] = 0
    p = (0.3 * labels + 0.7 * torch.rand(80, 3, generator=rng)).clamp(0, 1).round(decimals=decimals)
    thresholds, f1 = best_thresholds(p, labels)
    for c in range(2):
        cuts = [-1.0, *p[:, c].tolist()]  # every decision that a threshold can make
        tried = [f1_score(labels[:, c], p[:, c] > cut, zero_division=0) for cut in cuts]
        assert float(f1[c]) == pytest.approx(max(tried), abs=1e-6)
        assert f1_score(labels[:, c], p[:, c] >= thresholds[c]) == pytest.approx(max(tried))
    assert (thresholds[2], f1[2]) == (0.5, 0.0)


def test_calibration_undoes_weight_and_overconfidence() -> None:
    rng = torch.Generator().manual_seed(0)
    truth = torch.randn(5000, 2, generator=rng) - 1.0
    labels = (torch.rand(5000, 2, generator=rng) < truth.sigmoid()).float()
    logits = 2.5 * (truth + np.log(3.0))  # 2.5 times too sure, positives weighted 3 : 1
    fitted = calibrate(logits, labels, positive_weight=3.0)
    assert fitted.temperature == pytest.approx(2.5, rel=0.1)
    assert (fitted.probabilities(logits) - truth.sigmoid()).abs().mean() < 0.02


@pytest.mark.parametrize("backbone", ["small", "lcnet_035", "vit_tiny_patch16_224"])
def test_a_backbone_gives_logits_and_features(
    backbone: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "buyer")
    settings = LearnerSettings(device="cpu", backbone=backbone, members=2, batch_size=8)
    learner = NetworkLearner(settings, seed=0).fit(*spots(12, side=32), epochs=1)
    assert learner.infer(spots(5, side=32)[0]).embeddings.ndim == 2
    assert ("from random initialisation" in caplog.text) == (backbone != "small")


def test_a_backbone_starts_from_the_file_of_weights_it_is_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "buyer")
    published = timm.create_model("lcnet_035").state_dict()  # with its classifier of 1,000 classes
    torch.save(published, tmp_path / "weights.pth")
    settings = LearnerSettings(
        device="cpu", backbone="lcnet_035", members=2, pretrained=str(tmp_path / "weights.pth")
    )
    learner = NetworkLearner(settings, seed=0)
    learner.start_members(2, 16)
    assert f"from {tmp_path / 'weights.pth'}" in caplog.text
    for member in learner.members_:
        started = member.network.mil.features.model.state_dict()
        assert all(torch.equal(value, published[name]) for name, value in started.items())


def test_a_transformer_starts_from_its_file_at_another_size(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    published = timm.create_model(name).state_dict()
    torch.save(published, tmp_path / "weights.pth")
    settings = LearnerSettings(
        device="cpu", backbone=name, members=2, pretrained=str(tmp_path / "weights.pth")
    )
    learner = NetworkLearner(settings, seed=0)
    learner.start_members(2, 32)
    started = learner.members_[0].network.mil.features.model.state_dict()
    differ = {key for key in started if not torch.equal(started[key], published[key])}
    assert differ == {"pos_embed"}  # brought to the places that there are


@pytest.mark.parametrize(
    ("settings", "error", "word"),
    [
        ({"backbone": "mixer_s32_224"}, ValueError, "cannot take images of 16 pixels"),
        ({"backbone": "efficientnet_b99"}, ValueError, "efficientnet_b0"),
        ({"backbone": "lcnet_035", "pretrained": "yes"}, ValueError, "submission.toml"),
        ({"backbone": "crossvit_tiny_240"}, ValueError, "cannot take images of 16 pixels"),
    ],
)
def test_what_cannot_be_built_says_what_to_do(
    settings: dict[str, str], error: type[Exception], word: str
) -> None:
    with pytest.raises(error, match=word):
        NetworkLearner(LearnerSettings(device="cpu", **settings), seed=0).fit(*spots(12), epochs=1)


def test_paths_are_not_dropped_for_that_would_draw_from_the_global_dice() -> None:
    network = build_network("focalnet_tiny_srf", 2, 64, stream(0, "x"))
    dropped = [m for m in network.modules() if "DropPath" in type(m).__name__]
    assert not any(module.drop_prob for module in dropped)
    assert dropped


@pytest.mark.parametrize("side", [8, 32])
def test_one_image_can_be_learned_from(side: int) -> None:
    learner = NetworkLearner(TINY, seed=0).fit(*spots(1, side=side), epochs=2)
    assert torch.isfinite(learner.probabilities(spots(3, side=side)[0])).all()


def test_a_class_that_only_bought_images_show_is_measured_on_those() -> None:
    images, labels = spots(120)
    first = labels[:, 1].argsort(stable=True)  # those without the second class come first
    images, labels = images[first], labels[first]
    drawn = int((labels[:, 1] == 0).sum()) - 10
    learner = NetworkLearner(TINY, seed=0).fit(images, labels, epochs=15, n_calibration=drawn)
    assert learner.calibration_rows_.tolist() == list(range(drawn))
    found, f1 = best_thresholds(learner.labelled_probabilities_, labels)
    own, own_f1 = best_thresholds(learner.labelled_probabilities_[:drawn], labels[:drawn])
    assert (own[1], own_f1[1]) == (0.5, 0.0), "nothing could be measured on what was drawn"
    assert f1[1] > 0.7
    torch.testing.assert_close(learner.thresholds_, torch.stack([own[0], found[1]]))
    torch.testing.assert_close(learner.validation_f1_, torch.stack([own_f1[0], f1[1]]))


def test_a_lone_member_is_measured_on_what_was_drawn_where_it_holds_out_enough() -> None:
    lone = replace(TINY, members=1)
    few = NetworkLearner(lone, seed=0).fit(*spots(120), epochs=1, n_calibration=12)
    assert len(few.calibration_rows_) == 24, "a fifth of all: of the 12 it holds out two or three"
    enough = NetworkLearner(lone, seed=0).fit(*spots(120), epochs=1, n_calibration=100)
    assert 10 <= len(enough.calibration_rows_) < 24
    assert int(enough.calibration_rows_.max()) < 100


def test_networks_of_one_stream_are_alike() -> None:
    a, b, c = (build_network("small", 2, 16, stream(0, name)) for name in ("x", "x", "y"))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(next(a.parameters()), next(c.parameters()))


@pytest.mark.parametrize(
    ("f1", "near_chance"),
    [
        ([0.667, 0.095], True),  # a yes to every image
        ([0.67, 0.13], True),  # a random ranking, with a little luck
        ([0.9, 0.15], False),  # one of two is learned
        ([0.8, 0.5], False),
        ([0.0, 0.0], True),  # nothing was held out
    ],
)
def test_is_near_chance_compares_with_random_rankings(f1: list[float], near_chance: bool) -> None:
    labels = torch.zeros(400, 2)
    labels[::2, 0] = labels[::20, 1] = 1  # a half and a twentieth
    assert is_near_chance(torch.tensor(f1), labels) == near_chance
