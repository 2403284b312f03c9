"""Any data set becomes the same block of bytes, whatever its images came as."""

import numpy as np
import pytest
import torch
from PIL import Image

from models.image_bank import ImageBank, as_label, as_rgb, fitting_size

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 10, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
GREY_AS_RGB = np.repeat(GREY[:, :, None], 3, axis=2)
RGBA = np.concatenate([RGB, np.full((6, 10, 1), 9, np.uint8)], axis=2)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (RGB, RGB),
        (Image.fromarray(RGB), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
        (torch.from_numpy(RGB), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1) / 255, RGB),
        ((RGB / 255).astype(np.float32), RGB),
        (RGB.transpose(2, 0, 1), RGB),
        (RGB.astype(np.int64), RGB),
        (GREY, GREY_AS_RGB),
        (Image.fromarray(GREY), GREY_AS_RGB),
        (torch.from_numpy(GREY)[None], GREY_AS_RGB),
        (RGBA, RGB),
        (Image.fromarray(RGBA), RGB),
        (RGB[:3], RGB[:3]),  # three rows of an (H, W, 3) array are no channels
        (torch.from_numpy(RGB[:3].copy()).permute(2, 0, 1), RGB[:3]),
        (GREY > 100, np.where(GREY_AS_RGB > 100, 255, 0)),
    ],
)
def test_as_rgb_of_any_kind_of_image(image: object, expected: np.ndarray) -> None:
    out = as_rgb(image)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (np.zeros((2, 3, 4, 5), np.uint8), "shape"),
        (np.zeros((8, 9, 5), np.uint8), "channels"),
        (np.full((4, 4, 3), 2.5), "floats in"),
        (np.full((4, 4, 3), -1.0), "normalisation"),
        (np.full((4, 4, 3), 300), "uint8"),
    ],
)
def test_as_rgb_refuses_what_is_no_image(image: np.ndarray, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        as_rgb(image)


@pytest.mark.parametrize("label", [None, [0, 2], [-1, -1], [0.5, 1]])
def test_as_label_refuses_and_names_the_sample(label: object) -> None:
    with pytest.raises(ValueError, match="sample 7"):
        as_label(label, "sample 7")


class Samples:
    """A data set as plain as can be; `idx` is not the position."""

    def __init__(self, images: list[object], labels: object = None) -> None:
        self._images, self._labels = images, labels
        self.read = 0

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, position: int) -> dict[str, object]:
        self.read += 1
        sample = {"idx": 1000 - position, "image": self._images[position]}
        if self._labels is not None:
            sample["label"] = self._labels[position]
        return sample


def mixed(n: int) -> list[object]:
    rng = np.random.default_rng(1)
    sides = [(20, 20), (40, 40), (33, 50)]
    return [rng.integers(0, 256, (*sides[i % 3], 3), dtype=np.uint8) for i in range(n)]


@pytest.mark.parametrize("threads", [1, 4])
def test_image_bank_keeps_order_and_index_of_any_sizes(threads: int) -> None:
    images = mixed(300)
    bank = ImageBank.from_dataset(Samples(images), 20, threads=threads)
    assert bank.images.shape == (300, 3, 20, 20)
    assert bank.images.dtype == torch.uint8
    assert bank.images.is_contiguous(memory_format=torch.channels_last)
    assert bank.indices.tolist() == [1000 - i for i in range(300)]
    assert bank.labels is None
    for i in range(0, 300, 3):  # those of native size are untouched
        np.testing.assert_array_equal(bank.images[i].permute(1, 2, 0).numpy(), images[i])


def test_shrinking_averages_and_does_not_skip() -> None:
    board = np.indices((40, 40)).sum(0) % 2 * 255  # a checkerboard of single pixels
    image = np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8)
    bank = ImageBank.from_dataset(Samples([image]), 10)
    assert bank.images.float().sub(127.5).abs().max() < 20


def test_ready_pixels_give_the_same_bank_as_any_other_data_set() -> None:
    class Ready(Samples):
        images = np.stack(mixed(9)[1::3])

    plain = Samples(list(Ready.images), [[0, 1]] * 3)
    ready = Ready(list(Ready.images), [[0, 1]] * 3)
    a, b = (ImageBank.from_dataset(d, 16, with_labels=True) for d in (plain, ready))
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.indices, b.indices)
    assert a.labels is not None
    assert a.labels.tolist() == [[0, 1]] * 3


def test_reading_stops_at_the_deadline_with_what_it_has() -> None:
    ticks = iter(range(100))
    dataset = Samples(mixed(1000))
    bank = ImageBank.from_dataset(dataset, 8, threads=1, deadline=2, clock=lambda: next(ticks))
    assert len(bank) == dataset.read == 512
    assert bank.images.shape[0] == len(bank.indices)


def test_image_bank_of_some_positions() -> None:
    dataset = Samples(mixed(50))
    bank = ImageBank.from_dataset(dataset, 8, positions=[5, 3])
    assert bank.indices.tolist() == [995, 997]
    assert dataset.read == 2


@pytest.mark.parametrize(("limit", "expected"), [(80, 50), (32, 32)])
def test_fitting_size_keeps_small_images_as_they_are(limit: int, expected: int) -> None:
    assert fitting_size(Samples(mixed(30)), limit) == expected


def test_fitting_size_is_of_the_largest_image_wherever_it_is() -> None:
    small = [np.zeros((9, 7, 3), np.uint8)] * 40
    for position in range(41):
        images = [*small]
        images.insert(position, np.zeros((12, 30, 3), np.uint8))
        assert fitting_size(Samples(images), 80) == 30
    dataset = Samples(mixed(30))
    assert fitting_size(dataset, 20) == 20
    assert dataset.read <= 3, "one that is as large as it may be is enough"


def test_labels_of_unlike_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        ImageBank.from_dataset(Samples(mixed(2), [[0, 1], [0, 1, 1]]), 8, with_labels=True)
