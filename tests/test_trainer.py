"""The post-purchase trainer learns, repeats itself to the bit, and says what is wrong."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from sklearn.exceptions import NotFittedError
from torch import nn

from core.precision import half_precision
from core.random_streams import stream, stream_seed
from evaluator.training.augmentation import normalise
from evaluator.training.networks import build_network, set_training
from evaluator.training.pipelines import PIPELINES, Pipeline
from evaluator.training.trainer import ZEWDPCTrainer
from evaluator.training.weights import load_weights
from shared.errors import ConfigurationError

NAMES = ["dark", "light", "line"]
# Frozen features from scratch are warned of; most tests here do not care what is learned.
pytestmark = pytest.mark.filterwarnings("ignore:pipeline .* frozen features drawn at random")

TINY = replace(PIPELINES["quick"], epochs=2, batch_size=8, minimum_steps=0)
ORGANISER = replace(PIPELINES["organiser"], architecture="efficientnet_b0", epochs=1, batch_size=8)
UNFROZEN = replace(ORGANISER, frozen_features=False)
AVERAGED = replace(TINY, averaged_share=0.5)


def sheets(n: int, side: int = 32, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey noise with a dark patch, a light patch or a white line, each with its own chance."""
    rng = np.random.default_rng(seed)
    images = rng.integers(100, 140, (n, side, side, 3), dtype=np.uint8)
    labels = (rng.random((n, 3)) < 0.3).astype(np.uint8)
    for image, (dark, light, line) in zip(images, labels, strict=True):
        for present, value in ((dark, 0), (light, 255)):
            y, x = rng.integers(0, side - 6, 2)
            if present:
                image[y : y + 6, x : x + 6] = value
        if line:
            image[rng.integers(0, side), :] = 255
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)


def fitted(pipeline: Pipeline, n: int = 24, **settings: object) -> ZEWDPCTrainer:
    settings = {"seed": 1, "device": "cpu", "weights": "none"} | settings
    return ZEWDPCTrainer(pipeline, NAMES, **settings).fit(*sheets(n))  # type: ignore[arg-type]


def probabilities(pipeline: Pipeline, **settings: object) -> torch.Tensor:
    return fitted(pipeline, **settings).predict_probabilities(sheets(16, seed=9)[0])


def test_fit_quick_learns():
    pipeline = replace(PIPELINES["quick"], epochs=12, minimum_steps=0)
    trainer = ZEWDPCTrainer(pipeline, NAMES, seed=0, device="cpu").fit(*sheets(200))
    images, labels = sheets(200, seed=1)
    predictions = trainer.predict(images)
    assert predictions.dtype == torch.uint8
    assert (predictions == labels).float().mean() > 0.95


def tinted(n: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise in one of eight even tints: each colour channel is a class."""
    images, labels = sheets(n, side)
    return images // 2 + labels[:, :, None, None] * 100, labels


def test_fit_unfrozen_learns():
    losses: list[float] = []

    class Listener(ZEWDPCTrainer):
        def _loss(self, network, batch, targets):
            loss = super()._loss(network, batch, targets)
            losses.append(loss.item())
            return loss

    pipeline = replace(UNFROZEN, epochs=12, batch_size=16, validation_share=0.0)
    Listener(pipeline, NAMES, seed=0, device="cpu", weights="none").fit(*tinted(48, 32))
    # The training loss: from scratch, the running batch-norm statistics lag for longer than this.
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])


@pytest.mark.parametrize(
    "pipeline",
    [TINY, AVERAGED, ORGANISER, UNFROZEN],
    ids=["quick", "averaged", "frozen", "unfrozen"],
)
def test_fit_repeats_to_the_bit_whatever_the_global_state(pipeline):
    torch.manual_seed(1)
    first = probabilities(pipeline)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    again = probabilities(pipeline)
    assert torch.equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), before), "the global state was disturbed"
    assert not torch.equal(first, probabilities(pipeline, seed=2))


class Spy(ZEWDPCTrainer):
    """Keeps what the training draws: first weights, and the rows and pictures of each batch."""

    def _train(self, network, *rest):
        self.first_ = {key: value.clone() for key, value in network.state_dict().items()}
        self.held_out_ = rest[-1].held_out_rows
        super()._train(network, *rest)

    def _loss(self, network, batch, targets):
        self.batches_ = [*getattr(self, "batches_", []), batch.clone()]
        return super()._loss(network, batch, targets)


def test_fit_shares_random_choices_between_purchases_of_one_size():
    spies = [Spy(UNFROZEN, NAMES, seed=4, device="cpu", weights="none") for _ in range(3)]
    images, labels = sheets(30)
    other_labels = 1 - labels
    spies[0].fit(images, labels)
    spies[1].fit(images, other_labels)
    spies[2].fit(images[:29], labels[:29])
    for key, value in spies[0].first_.items():
        assert torch.equal(value, spies[1].first_[key])
        assert torch.equal(value, spies[2].first_[key]), "first weights depend on the size"
    assert torch.equal(spies[0].held_out_, spies[1].held_out_)
    for one, other in zip(spies[0].batches_, spies[1].batches_, strict=True):
        assert torch.equal(one, other)


class WeightSpy(Spy):
    """Keeps the weights that each step leaves, and those of the last one, before any average."""

    def _train(self, network, *rest):
        weights = [parameter for _, parameter in sorted(network.named_parameters())]
        self.steps_ = []
        self.progress = lambda _: self.steps_.append([one.detach().clone() for one in weights])
        super()._train(network, *rest)
        self.weights_ = [one.detach() for one in weights]


@pytest.mark.parametrize(("share", "n"), [(0.5, 3), (0.01, 1), (1.0, 6)])
def test_fit_averages_the_last_steps_and_trains_on_as_without(share, n):
    plain, averaged = (
        WeightSpy(replace(TINY, averaged_share=one), NAMES, seed=3, device="cpu").fit(*sheets(24))
        for one in (0.0, share)
    )
    assert len(plain.steps_) == 6
    for one, other in zip(plain.steps_, averaged.steps_, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    for i, weight in enumerate(averaged.weights_):
        mean = torch.stack([step[i] for step in averaged.steps_[-n:]]).mean(0)
        torch.testing.assert_close(weight, mean)
    assert all(torch.equal(a, b) for a, b in zip(plain.weights_, plain.steps_[-1], strict=True))


def test_fit_averaged_weights_have_statistics_of_images_not_augmented():
    images, labels = sheets(8)
    trainer = ZEWDPCTrainer(AVERAGED, NAMES, seed=3, device="cpu").fit(images, labels)
    convolution, norm = trainer.network_.features[0], trainer.network_.features[1]
    with torch.no_grad():
        answers = convolution(normalise(images))
    torch.testing.assert_close(norm.running_mean, answers.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, answers.var((0, 2, 3)))
    assert not any(module.training for module in trainer.network_.modules())


def test_fit_batches_are_nearly_equal_and_never_of_one_image():
    for n, expected in ((9, [5, 4]), (8, [8]), (17, [6, 6, 5]), (2, [2]), (3, [3])):
        spy = Spy(replace(TINY, epochs=1), NAMES, seed=0, device="cpu")
        spy.fit(*sheets(n))
        assert [len(batch) for batch in spy.batches_] == expected
    spy = Spy(replace(TINY, epochs=1, batch_size=2), NAMES, seed=0, device="cpu")
    spy.fit(*sheets(5))
    assert [len(batch) for batch in spy.batches_] == [3, 2]


def test_fit_held_out_rows_only_steer_the_schedule():
    spy = Spy(UNFROZEN, NAMES, seed=0, device="cpu", weights="none")
    spy.fit(*sheets(30))
    assert len(spy.held_out_) == 3
    # 27 rows to train on in four batches, then the held-out rows in one.
    assert [len(batch) for batch in spy.batches_] == [7, 7, 7, 6, 3]


def changed(pipeline: Pipeline, weights: str) -> set[str]:
    spy = Spy(pipeline, NAMES, seed=0, device="cpu", weights=weights)
    spy.fit(*sheets(16))
    after = spy.network_.state_dict()
    return {key for key, value in spy.first_.items() if not torch.equal(value, after[key])}


def test_fit_moves_features_only_where_unfrozen(tmp_path):
    # Features as pretrained ones are: with batch-norm statistics of real activations.
    warm = build_network("efficientnet_b0", 3)
    for _ in range(20):
        warm(torch.randn(16, 3, 32, 32))
    weights = str(tmp_path / "weights.pt")
    torch.save(warm.state_dict(), weights)
    assert changed(ORGANISER, weights) == {"classifier.1.weight", "classifier.1.bias"}
    unfrozen = changed(UNFROZEN, weights)
    assert "features.0.0.weight" in unfrozen
    assert "features.0.1.running_mean" in unfrozen


def test_fit_warns_of_frozen_features_from_scratch():
    with pytest.warns(UserWarning, match="frozen features drawn at random"):
        fitted(ORGANISER, weights="none")


def test_fit_frozen_features_take_no_backward_pass():
    network = build_network("efficientnet_b0", 3)
    set_training(network, frozen_features=True)
    features = network.get_submodule("features")
    assert not features(torch.zeros(2, 3, 32, 32)).requires_grad
    assert network.get_submodule("classifier").training


def plain_pixels(images: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    return (images / 255 - mean) / std


def by_the_book(pipeline: Pipeline, n: int, seed: int, weights: Path | None = None) -> nn.Module:
    """A plain loop: of the trainer it shares the streams of random numbers and nothing else.

    Frozen features are differentiated with all the rest, and only the head is stepped.
    """
    images, labels = sheets(n)
    pixels, targets = plain_pixels(images), labels.float()
    order = stream(seed, "post-purchase batch order")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "post-purchase initialisation"))
        network = build_network(pipeline.architecture, len(NAMES))
        if weights is not None:
            network.load_state_dict(torch.load(weights))
        learns = network.get_submodule("classifier") if pipeline.frozen_features else network
        optimiser = torch.optim.Adam(learns.parameters(), lr=pipeline.learning_rate)
        for _ in range(pipeline.epochs):
            shuffled = torch.randperm(n, generator=order)
            for rows in shuffled.tensor_split(math.ceil(n / pipeline.batch_size)):
                network.eval()  # batch norm of what is frozen
                learns.train()  # dropout, and batch norm of what is not
                network.zero_grad()
                loss = F.binary_cross_entropy_with_logits(network(pixels[rows]), targets[rows])
                loss.backward()
                assert all(p.grad is not None for p in network.parameters())
                optimiser.step()
    return network.eval()


def test_fit_unfrozen_agrees_with_a_plain_loop():
    seed, pipeline = 1, replace(UNFROZEN, epochs=3, learning_rate=1e-4)
    pipeline = replace(pipeline, validation_share=0.0, flips=False, blur=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "post-purchase initialisation"))
        start = weights_of(build_network(pipeline.architecture, len(NAMES)))

    def way(network: nn.Module) -> torch.Tensor:
        return weights_of(network) - start

    expected = way(by_the_book(pipeline, 30, seed))
    apart = way(fitted(pipeline, 30, seed=seed).network_) - expected
    other = way(by_the_book(replace(pipeline, learning_rate=1.1e-4), 30, seed)) - expected
    # Other kernels round otherwise, and Adam makes much of it: up to 0.021 in six networks, where
    # a learning rate a tenth higher leads 0.40 to 0.55 apart.
    assert apart.norm() < 0.05 * expected.norm() < 0.2 * other.norm()


def weights_of(network: nn.Module) -> torch.Tensor:
    """All but the norms' and the biases, which norms after them make meaningless, in one vector."""
    return torch.cat([p.detach().flatten() for p in network.parameters() if p.ndim > 1])


def test_fit_frozen_agrees_with_a_plain_loop(tmp_path):
    weights = tmp_path / "features.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network("efficientnet_b0", len(NAMES)).train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # true statistics at once, or the signal dies on its way
        network(plain_pixels(sheets(64)[0]))
    torch.save(network.state_dict(), weights)
    pipeline = replace(
        ORGANISER, epochs=3, learning_rate=0.01, validation_share=0.0, flips=False, blur=False
    )
    images = sheets(16, seed=9)[0]
    plainly = by_the_book(pipeline, 30, 1, weights)(plain_pixels(images)).sigmoid()
    trainer = fitted(pipeline, 30, weights=str(weights))
    ours = trainer.predict_probabilities(images)
    assert ours.std(0).min() > 0.05, "the head does not look at the features"
    # Other kernels round otherwise, and Adam makes much of it: up to 4e-5 in six networks.
    torch.testing.assert_close(ours, plainly.detach(), rtol=0, atol=2e-4)
    assert torch.equal(trainer.predict(images), (plainly >= 0.5).to(torch.uint8))


@pytest.mark.parametrize("name", PIPELINES)
def test_fit_and_predict_every_pipeline(name):
    pipeline = replace(PIPELINES[name], epochs=1, batch_size=4)
    trainer = fitted(pipeline, n=6)
    result = trainer.predict_probabilities(sheets(3)[0])
    assert result.shape == (3, 3)
    assert result.dtype == torch.float32
    assert ((result > 0) & (result < 1)).all()
    assert trainer.predict_probabilities(sheets(3)[0][:0]).shape == (0, 3)


def test_fit_progress_rises_to_one():
    seen: list[float] = []
    fitted(TINY, progress=seen.append)
    assert seen == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])


def test_fit_bounds_threads_and_gives_them_back():
    before = torch.get_num_threads()
    seen: list[int] = []
    fitted(TINY, max_threads=1, progress=lambda _: seen.append(torch.get_num_threads()))
    assert set(seen) == {1}
    assert torch.get_num_threads() == before


def test_predict_before_fit():
    trainer = ZEWDPCTrainer(TINY, NAMES, seed=1, weights="nowhere", device="cpu")
    assert trainer.weights == "nowhere"
    with pytest.raises(NotFittedError, match="call fit"):
        trainer.predict(sheets(2)[0])
    trainer.fit(*sheets(8))  # `quick` starts from scratch and never looks for weights


IMAGES, LABELS = sheets(6)
NAN_LABELS = LABELS.float().index_fill(0, torch.tensor([2]), float("nan"))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[:0], LABELS[:0], "0 images came"),
        (IMAGES[:1], LABELS[:1], "1 images came, 1 of them to train on; .* at least 2"),
        (IMAGES.float(), LABELS, r"images came as torch.float32 \(6, 3, 32, 32\), expected uint8"),
        (IMAGES[:, :1], LABELS, r"images came as torch.uint8 \(6, 1, 32, 32\)"),
        (IMAGES[:, :, :8, :8], LABELS, "images are 8 pixels small, max_pool_mil needs at least 16"),
        (IMAGES.repeat(1, 1, 3, 3), LABELS, "images are 96 pixels large, .* at most 80; call res"),
        (IMAGES, LABELS[:5], r"labels came with shape \(5, 3\), expected \(6, 3\)"),
        (IMAGES, LABELS[:, :2], r"labels came with shape \(6, 2\), expected \(6, 3\)"),
        (IMAGES, LABELS * 2, "labels hold 2 in row"),
        (IMAGES, NAN_LABELS.numpy(), "labels hold nan in row 2, column 0"),
    ],
)
def test_fit_refuses(images, labels, message):
    with pytest.raises(ValueError, match=message):
        ZEWDPCTrainer(TINY, NAMES, seed=0, device="cpu").fit(images, labels)


def test_fit_loss_that_explodes():
    with pytest.raises(FloatingPointError, match=r"seed 1: the loss became .* in epoch"):
        fitted(replace(TINY, learning_rate=1e30, epochs=3))


# Weights: torchvision's real loading code, on a state dict made here.


@pytest.fixture(scope="module")
def imagenet_like() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return torchvision.models.efficientnet_b0(weights=None).state_dict()


def test_load_weights_imagenet_by_torchvision(tmp_path, monkeypatch, imagenet_like):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(imagenet_like, cache / "efficientnet_b0_rwightman-7f5810bc.pth")
    trainer = fitted(ORGANISER, weights="imagenet")
    loaded = trainer.network_.state_dict()
    for key, value in imagenet_like.items():
        if not key.startswith("classifier."):
            assert torch.equal(loaded[key], value), key


def test_load_weights_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(ConfigurationError, match="could not be downloaded") as caught:
        fitted(ORGANISER, weights="imagenet")
    place = tmp_path / "hub" / "checkpoints" / "efficientnet_b0_rwightman-7f5810bc.pth"
    assert str(place) in str(caught.value)
    assert "--weights none or --weights FILE" in str(caught.value)


def test_load_weights_broken_download(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "efficientnet_b0_rwightman-7f5810bc.pth").write_bytes(b"half a file")
    with pytest.raises(ConfigurationError, match=r"cannot be read .* delete that file"):
        fitted(ORGANISER, weights="imagenet")


@pytest.mark.parametrize(
    ("n_classes", "head_loaded"), [(1000, False), (3, True)], ids=["other classes", "same classes"]
)
def test_load_weights_file_and_head_where_it_fits(tmp_path, n_classes, head_loaded):
    torch.manual_seed(6)
    saved = torchvision.models.efficientnet_b0(weights=None, num_classes=n_classes).state_dict()
    torch.save(saved, tmp_path / "weights.pt")
    network = build_network("efficientnet_b0", 3)
    load_weights(network, "efficientnet_b0", str(tmp_path / "weights.pt"))
    loaded = network.state_dict()
    assert torch.equal(loaded["features.0.0.weight"], saved["features.0.0.weight"])
    head = loaded["classifier.1.weight"]
    assert head.shape[0] == 3
    assert torch.equal(head, saved["classifier.1.weight"][:3]) == head_loaded


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (None, "no such file; give none, imagenet or the path"),
        (lambda state: b"not a tensor file", "not a file that torch.load reads"),
        (lambda state: [1, 2], "holds a list, expected a state dict"),
        (lambda state: {"epoch": 1, "model": state}, "holds a dict with the keys epoch, model"),
        (
            lambda state: {f"module.{key}": value for key, value in state.items()},
            r"does not fit efficientnet_b0: of 358 tensors 358 missing .* 360 unknown",
        ),
        (
            lambda state: {k: v for k, v in state.items() if k != "features.0.0.weight"},
            r"1 missing \(first: features.0.0.weight\)",
        ),
        (
            lambda state: state | {"features.0.0.weight": torch.zeros(40, 3, 3, 3)},
            r"1 of another shape \(first: features.0.0.weight \(40, 3, 3, 3\) instead of \(32,",
        ),
    ],
)
def test_load_weights_file_that_does_not_fit(tmp_path, imagenet_like, make, message):
    path = tmp_path / "weights.pt"
    if make is not None:
        content = make(imagenet_like)
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ConfigurationError, match=message):
        load_weights(build_network("efficientnet_b0", 3), "efficientnet_b0", str(path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_fit_unknown_device():
    with pytest.raises(ConfigurationError, match="device 'cuda:7' cannot be used here") as caught:
        fitted(TINY, device="cuda:7")
    assert caught.value.code == "unknown-device"


def test_half_precision_by_device(monkeypatch):
    """Of several GPUs the current one may be of another generation."""
    known = {"cuda:0": (9, 0), "cuda:1": (7, 5)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: known[str(device)])
    assert half_precision(torch.device("cuda:0")) is torch.bfloat16
    assert half_precision(torch.device("cuda:1")) is torch.float16
    assert half_precision(torch.device("cpu")) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("pipeline", [TINY, UNFROZEN], ids=["quick", "unfrozen"])
def test_fit_on_a_gpu_learns(pipeline):
    before = torch.cuda.get_rng_state()
    pipeline = replace(pipeline, epochs=60, batch_size=16)
    trainer = ZEWDPCTrainer(pipeline, NAMES, seed=0, device="cuda", weights="none")
    images, labels = tinted(128, 64)
    assert (trainer.fit(images, labels).predict(images) == labels).float().mean() > 0.8
    assert torch.equal(torch.cuda.get_rng_state(), before)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_fit_compiled_learns_the_same_and_leaves_a_plain_network():
    pipeline = replace(TINY, epochs=1)
    trainer = fitted(pipeline, n=15, steps="compiled")  # batches of 8 and 7 images
    assert type(trainer.network_) is type(fitted(pipeline, n=15).network_)
    images = sheets(16, seed=9)[0]
    found = trainer.predict_probabilities(images)
    torch.testing.assert_close(found, probabilities(pipeline, n=15), rtol=0, atol=1e-3)
    assert torch.equal(found, probabilities(pipeline, n=15, steps="compiled"))


def test_fit_compiled_without_compiler(tmp_path, monkeypatch):
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(config, "force_disable_caches", True)
    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(ConfigurationError, match=r"--steps compiled: .* leave it out") as caught:
        fitted(TINY, steps="compiled")
    assert caught.value.code == "compile-failed"
    fitted(TINY)
