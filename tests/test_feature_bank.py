"""Kept features: computed once, shared, cut at any byte and read again."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.pretrained.feature_bank import BATCH, HASH_BYTES, FeatureBank, content_hashes
from core.pretrained.frozen_network import VIEWS, frozen_network, network_key

LITE0 = "tf_efficientnet_lite0"


class CountingNetwork:
    """Features that say which image they are of, and how often they were computed."""

    def __init__(self) -> None:
        self.computed = 0

    def features(self, images: Tensor, view: str) -> Tensor:
        self.computed += len(images)
        return torch.stack([images.float().mean((1, 2, 3)), torch.full((len(images),), 7.0)], 1)


def some_images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, 4, 4), dtype=np.uint8)


def reader(images: np.ndarray) -> Callable[[Sequence[int]], Tensor]:
    return lambda rows: torch.from_numpy(images[list(rows)])


def bank_of(folder: Path, network: Any) -> FeatureBank:
    return FeatureBank(folder, "counting", lambda: network)


def test_features_are_computed_once_and_kept(tmp_path: Path) -> None:
    images, network = some_images(200), CountingNetwork()
    first = bank_of(tmp_path, network).features(content_hashes(images), reader(images))
    assert network.computed == 200
    again = bank_of(tmp_path, None).features(content_hashes(images)[::-1], reader(images))
    np.testing.assert_array_equal(first, again[::-1])
    np.testing.assert_allclose(first[:, 0], images.mean((1, 2, 3)), rtol=1e-3)  # float16
    assert first.dtype == np.float16


def test_features_of_equal_images_are_computed_once(tmp_path: Path) -> None:
    images, network = np.repeat(some_images(3), 5, axis=0), CountingNetwork()
    found = bank_of(tmp_path, network).features(content_hashes(images), reader(images))
    assert network.computed == 3
    assert found.shape == (15, 2)


def test_feature_bank_keeps_views_apart(tmp_path: Path) -> None:
    images, network = some_images(3), CountingNetwork()
    bank = bank_of(tmp_path, network)
    for view in ("plain", "blurred both"):
        assert bank.missing(content_hashes(images), view) == 3
        bank.features(content_hashes(images), reader(images), view)
        assert bank.missing(content_hashes(images), view) == 0
    assert network.computed == 6


def test_features_stop_when_out_of_time_and_go_on(tmp_path: Path) -> None:
    images, network = some_images(3 * BATCH), CountingNetwork()
    answers = iter([False, True])
    with pytest.raises(TimeoutError, match=f"{BATCH} of {3 * BATCH} images"):
        bank_of(tmp_path, network).features(
            content_hashes(images), reader(images), out_of_time=lambda: next(answers)
        )
    seen: list[tuple[int, int]] = []
    bank_of(tmp_path, network).features(
        content_hashes(images), reader(images), progress=lambda *at: seen.append(at)
    )
    assert network.computed == 3 * BATCH
    assert seen == [(BATCH, 2 * BATCH), (2 * BATCH, 2 * BATCH)]


@pytest.mark.parametrize("cut", ["counting-plain.f16", "counting-plain.ids"])
@pytest.mark.parametrize("kept_bytes", [0, 3, HASH_BYTES, HASH_BYTES + 1, 5 * HASH_BYTES - 2, -1])
def test_bank_cut_at_any_byte_gives_the_same_features(
    cut: str, kept_bytes: int, tmp_path: Path
) -> None:
    images = some_images(20)
    whole = bank_of(tmp_path, CountingNetwork()).features(content_hashes(images), reader(images))
    path = tmp_path / cut
    path.write_bytes(path.read_bytes()[:kept_bytes])
    again = bank_of(tmp_path, CountingNetwork()).features(content_hashes(images), reader(images))
    np.testing.assert_array_equal(whole, again)


def test_bank_refuses_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "counting-plain.ids").write_bytes(b"something else entirely, longer than a header")
    images = some_images(2)
    with pytest.raises(ValueError, match="not a file of a feature bank"):
        bank_of(tmp_path, CountingNetwork()).features(content_hashes(images), reader(images))


def test_features_refuse_what_float16_cannot_hold(tmp_path: Path) -> None:
    class Huge(CountingNetwork):
        def features(self, images: Tensor, view: str) -> Tensor:
            return super().features(images, view) * 1e6

    images = some_images(2)
    with pytest.raises(FloatingPointError, match="float16"):
        bank_of(tmp_path, Huge()).features(content_hashes(images), reader(images))


def _fill(folder: Path, seed: int) -> list[bytes]:
    images = np.concatenate([some_images(300), some_images(30, seed)])
    bank_of(folder, CountingNetwork()).features(content_hashes(images), reader(images))
    return content_hashes(images)


def test_bank_is_shared_by_processes(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        hashes = list(processes.map(_fill, [tmp_path] * 2, range(1, 3)))
    bank = bank_of(tmp_path, None)
    for seed, own in enumerate(hashes, 1):
        images = np.concatenate([some_images(300), some_images(30, seed)])
        found = bank.features(own, reader(images))
        np.testing.assert_allclose(found[:, 0], images.mean((1, 2, 3)), rtol=1e-3)
    different = len(set().union(*map(set, hashes)))
    ids = (tmp_path / "counting-plain.ids").stat().st_size // HASH_BYTES - 1
    assert ids == different, "no image was kept twice"


def test_kept_features_of_14000_images_open_within_a_second(tmp_path: Path) -> None:
    hashes = [i.to_bytes(HASH_BYTES, "little") for i in range(14_000)]
    wide = np.ones((BATCH, 1280), np.float16)

    class Wide(CountingNetwork):
        def features(self, images: Tensor, view: str) -> Tensor:
            return torch.from_numpy(wide[: len(images)]).float()

    bank_of(tmp_path, Wide()).features(hashes, lambda rows: torch.zeros(len(rows), 1))
    started = time.perf_counter()
    found = bank_of(tmp_path, None).features(hashes, lambda rows: torch.zeros(len(rows), 1))
    assert time.perf_counter() - started < 1
    assert found.shape == (14_000, 1280)


def test_content_hashes_tell_shapes_and_pixels_apart() -> None:
    image = some_images(1)
    reshaped = image.reshape(1, 3, 2, 8)
    other = image.copy()
    other[0, 0, 0, 0] ^= 1
    assert len({content_hashes(one)[0] for one in (image, reshaped, other)}) == 3
    assert content_hashes(torch.from_numpy(image)) == content_hashes(image)


def test_frozen_network_equals_timm_on_every_view() -> None:
    import timm

    from core.pretrained.imagenet_weights import load_timm_weights

    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8))
    model = timm.create_model(LITE0, num_classes=0).eval()
    state = load_timm_weights(LITE0).state
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith("classifier")})
    network = frozen_network(LITE0)
    for view, show in VIEWS.items():
        with torch.no_grad():
            expected = model(show(images / 127.5 - 1))
        torch.testing.assert_close(network.features(images, view), expected, atol=1e-4, rtol=1e-4)


def test_feature_bank_views_are_eight_different_images() -> None:
    image = torch.rand(1, 3, 8, 8)
    shown = [show(image) for show in VIEWS.values()]
    assert len(shown) == 8
    assert not any(torch.equal(a, b) for i, a in enumerate(shown) for b in shown[:i])
    # Blurred and mirrored is mirrored and blurred.
    torch.testing.assert_close(
        VIEWS["blurred across"](image), VIEWS["blurred plain"](image).flip(3)
    )


def test_all_layers_hold_means_and_maxima_of_every_stage() -> None:
    network = frozen_network(LITE0, "all")
    assert network.n_features == 2 * (16 + 24 + 40 + 112 + 320 + 1280)
    assert network.key != network_key(LITE0)
    assert network.key == network_key(LITE0, "all")
