"""Images keep their meaning on the way to the net: resized, mirrored, turned, blurred."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as reference

from evaluator.training.augmentation import (
    blur_taps,
    gaussian_blur,
    normalise,
    resize_images,
)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("given", "size", "expected"),
    [
        ((160, 160), 80, (80, 80)),
        ((64, 64), 80, (64, 64)),  # never enlarged
        ((80, 80), 80, (80, 80)),
        ((160, 160), None, (160, 160)),
        ((120, 60), 80, (80, 40)),  # the shape is kept
    ],
)
def test_resize_images_brings_the_longest_side_down(given, size, expected):
    resized = resize_images(noise(3, *given, 3), size)
    assert resized.shape == (3, 3, *expected)
    assert resized.dtype == torch.uint8
    assert resized.is_contiguous(memory_format=torch.channels_last)


def test_resize_images_is_antialiased_like_pillow():
    images = noise(300, 48, 48, 3)  # more than one chunk
    resized = resize_images(images, 20).permute(0, 2, 3, 1).numpy()
    for row in (0, 255, 256, 299):
        pillow = np.asarray(
            Image.fromarray(images[row]).resize((20, 20), Image.Resampling.BILINEAR)
        )
        assert np.abs(resized[row].astype(int) - pillow).max() <= 1


@pytest.mark.parametrize("size", [None, 64])
def test_resize_images_does_not_copy_small_images(tmp_path, size, recwarn):
    np.save(tmp_path / "images.npy", noise(4, 64, 64, 3))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    resized = resize_images(mapped, size)
    assert resized.data_ptr() == mapped.ctypes.data
    assert np.array_equal(resize_images(mapped, 32), resize_images(np.array(mapped), 32))
    assert not recwarn.list


@pytest.mark.parametrize("images", [noise(2, 8, 8), noise(2, 3, 8, 8), np.zeros((2, 8, 8, 3))])
def test_resize_images_refuses_what_is_no_image(images):
    with pytest.raises(ValueError, match=r"expected uint8 \(N, H, W, 3\)"):
        resize_images(images, 4)


def test_gaussian_blur_agrees_with_torchvision():
    batch = torch.from_numpy(noise(4, 3, 20, 24)).float()
    sigma = torch.tensor([0.1, 0.5, 1.0, 2.0])
    blurred = gaussian_blur(batch.contiguous(memory_format=torch.channels_last), blur_taps(sigma))
    for row, width in enumerate(sigma.tolist()):
        expected = reference.gaussian_blur(batch[row], [5, 5], [width, width])
        assert torch.allclose(blurred[row], expected, atol=1e-3)
    assert blurred.is_contiguous(memory_format=torch.channels_last)


def test_normalise_agrees_with_torchvision_and_copies():
    images = torch.from_numpy(noise(2, 3, 6, 6))
    before = images.clone()
    expected = reference.normalize(
        images.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    assert torch.allclose(normalise(images), expected, atol=1e-5)
    assert torch.equal(images, before)
