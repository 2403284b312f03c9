"""One picture that was compressed or resized is recognised; one that only looks alike is not."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from labelling.fingerprints import identities, take_fingerprints
from labelling.resaved import find_resaved, is_resaved

Pixels = NDArray[Any]


def saved(image: Image.Image, **how: Any) -> Image.Image:
    """As it comes back out of a file."""
    buffer = io.BytesIO()
    image.save(buffer, **{"format": "JPEG", **how})
    return Image.open(buffer).convert("RGB")


def photograph(seed: int = 0, width: int = 240, height: int = 180, noise: float = 4) -> Image.Image:
    """Shades, edges and a camera's noise."""
    dice = np.random.default_rng(seed)
    ground = Image.fromarray(dice.integers(30, 220, (4, 5, 3), np.uint8))
    image = ground.resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = dice.integers(0, width), dice.integers(0, height)
        colour = tuple(int(value) for value in dice.integers(0, 255, 3))
        pen.ellipse((x, y, x + dice.integers(8, 60), y + dice.integers(8, 60)), fill=colour)
    return noisy(image, noise, seed)


def noisy(image: Image.Image, noise: float, seed: int) -> Image.Image:
    dice = np.random.default_rng(seed + 1000)
    pixels = np.asarray(image) + dice.normal(0, noise, (image.height, image.width, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def board(seed: int = 0) -> Image.Image:
    """A binarised tile of a circuit board, 160 x 160."""
    dice = np.random.default_rng(seed)
    image = Image.new("L", (160, 160), 255)
    pen = ImageDraw.Draw(image)
    for at in dice.integers(0, 150, 6):
        pen.line((0, at, 80, at, 130, at + 40), fill=0, width=5)
    for x, y in dice.integers(10, 140, (5, 2)):
        pen.ellipse((x, y, x + 15, y + 15), fill=0)
    return image.convert("RGB")


ONES = {"photograph": photograph, "board": board}
RESAVED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 75": lambda image: saved(image, quality=75),
    "JPEG 95": lambda image: saved(image, quality=95),
    "JPEG 85 in 4:4:4": lambda image: saved(image, quality=85, subsampling=0),
    "JPEG twice": lambda image: saved(saved(image, quality=90), quality=85),
    "WebP 80": lambda image: saved(image, format="WEBP", quality=80),
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "twice": lambda image: image.resize((image.width * 2, image.height * 2)),
    "a square": lambda image: saved(image.resize((150, 150)), quality=85),
}


def dotted(image: Image.Image, size: int, at: tuple[int, int] = (90, 70)) -> Image.Image:
    """With a small defect: `size` x `size` pixels that are far brighter or darker."""
    pixels = np.array(image)
    x, y = at
    some = pixels[y : y + size, x : x + size].astype(int)
    pixels[y : y + size, x : x + size] = np.where(some > 128, some - 100, some + 100)
    return Image.fromarray(pixels)


OTHERS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "a defect of 3 pixels": lambda image: dotted(image, 3),
    "a defect of 10 pixels": lambda image: dotted(image, 10),
    "a defect at the edge": lambda image: dotted(image, 3, (image.width - 3, image.height - 3)),
    "moved by 1 pixel": lambda image: Image.fromarray(np.roll(np.asarray(image), 1, axis=1)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "brighter": lambda image: image.point(lambda value: value * 0.9 + 12),
    "another colour": lambda image: Image.fromarray(np.asarray(image)[:, :, [0, 2, 1]]),
    "stained": lambda image: stained(image),  # noqa: PLW0108
}


def stained(image: Image.Image) -> Image.Image:
    """As bright as before, and redder in one place."""
    pixels = np.array(image.convert("YCbCr"))
    pixels[40:60, 40:60, 2] = np.minimum(pixels[40:60, 40:60, 2].astype(int) + 30, 255)
    return Image.fromarray(pixels, "YCbCr").convert("RGB")


@pytest.mark.parametrize("what", ONES)
@pytest.mark.parametrize("how", RESAVED)
@pytest.mark.parametrize("seed", range(3))
def test_is_resaved_recognises_what_was_compressed_or_resized(how: str, what: str, seed: int):
    image = ONES[what](seed)
    assert is_resaved(image, RESAVED[how](image))
    assert is_resaved(RESAVED[how](image), image)


@pytest.mark.parametrize("what", ONES)
@pytest.mark.parametrize("how", OTHERS)
@pytest.mark.parametrize("quality", [0, 85])
def test_is_resaved_tells_apart_what_only_looks_alike(how: str, what: str, quality: int):
    if what == "board" and how == "another colour":
        pytest.skip("a board has none")
    image = ONES[what](1)
    other = OTHERS[how](image)
    assert not is_resaved(image, saved(other, quality=quality) if quality else other)


@pytest.mark.parametrize("quality", [0, 90])
def test_is_resaved_tells_apart_moments_of_a_still_camera(quality: int):
    """Their noise differs, and so may what is too small to be seen in it."""
    scene = photograph(2, noise=0)
    first, second = noisy(scene, 5, 1), noisy(scene, 5, 2)
    assert is_resaved(first, saved(first, quality=90))
    assert not is_resaved(first, saved(second, quality=quality) if quality else second)


@pytest.mark.parametrize("size", [(12, 12), (160, 160)])
def test_is_resaved_recognises_nothing_in_blank_or_tiny_images(size: tuple[int, int]):
    blank = Image.new("RGB", size, (180, 180, 180))
    assert not is_resaved(blank, saved(noisy(blank, 1, 0)))
    tiny = photograph(0, 12, 12)
    assert not is_resaved(tiny, saved(tiny, quality=95))


def test_find_resaved_names_what_is_shown_again(tmp_path: Path):
    for name in ("known", "pool"):
        (tmp_path / name).mkdir()
    for seed in range(6):
        photograph(seed, 320, 240).save(tmp_path / "known" / f"{seed}.png")
        again = photograph(seed, 320, 240)
        again = again.resize((200, 200)) if seed % 2 else again
        again.save(tmp_path / "pool" / f"{seed + 10}.jpg", quality=85)
        photograph(seed + 50, 320, 240).save(tmp_path / "pool" / f"{seed + 20}.jpg")
    known = take_fingerprints(sorted((tmp_path / "known").iterdir()))
    pool = take_fingerprints(sorted((tmp_path / "pool").iterdir()))
    found = find_resaved(known, pool)
    assert {file.stem: other.stem for file, other in found.items()} == {
        str(seed + 10): str(seed) for seed in range(6)
    }
    assert find_resaved({}, pool) == find_resaved(known, {}) == {}


def test_find_resaved_leaves_lossless_files_of_one_size_to_their_pixels(tmp_path: Path):
    """A board and the same with one pixel more: two boards."""
    tile = board(3)
    for name in ("known", "pool"):
        tile.save(tmp_path / f"{name}.png")
        tile.putpixel((80, 80), (128, 128, 128))
    known, pool = (take_fingerprints([tmp_path / f"{name}.png"]) for name in ("known", "pool"))
    assert len(set(identities(known | pool).values())) == 2
    assert find_resaved(known, pool) == {}
