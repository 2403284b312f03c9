"""Which files hold the same pixels, whatever their bytes, and what is decoded to tell."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from labelling import fingerprints
from labelling.fingerprints import identities, take_fingerprints
from shared.images.decoding import read_picture
from shared.images.soundness import Examined, examine
from tests.permissions import permissions


def picture(seed: int = 0, width: int = 90, height: int = 60) -> Image.Image:
    """Noise on a smooth ground."""
    rng = np.random.default_rng(seed)
    ground = Image.fromarray(rng.integers(40, 200, (3, 4, 3), np.uint8))
    pixels = np.asarray(ground.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    pixels = pixels + rng.normal(0, 6, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def turned(image: Image.Image, path: Path) -> None:
    """Lying on its side, with the tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def with_text(image: Image.Image, path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "taken on Monday")
    image.save(path, pnginfo=text, dpi=(300, 300))


def in_16_bits(image: Image.Image, path: Path) -> None:
    Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257).save(path)


SAME = {
    "another name": lambda image, path: image.save(path.with_suffix(".png")),
    "another compression": lambda image, path: image.save(
        path.with_suffix(".png"), compress_level=0
    ),
    "metadata": lambda image, path: with_text(image, path.with_suffix(".png")),
    "BMP": lambda image, path: image.save(path.with_suffix(".bmp")),
    "TIFF": lambda image, path: image.save(path.with_suffix(".tif"), compression="tiff_lzw"),
    "WebP": lambda image, path: image.save(path.with_suffix(".webp"), lossless=True),
    "opaque": lambda image, path: image.convert("RGBA").save(path.with_suffix(".png")),
    "turned": lambda image, path: turned(image, path.with_suffix(".png")),
    "an ICC profile": lambda image, path: image.save(
        path.with_suffix(".png"), icc_profile=b"none that anyone reads"
    ),
}


def same(files: list[Path]) -> bool:
    return len(set(identities(take_fingerprints(files, 64)).values())) == 1


@pytest.mark.parametrize("size", [(40, 30), (90, 60), (700, 400)])
@pytest.mark.parametrize("how", SAME)
def test_identities_are_of_pixels_and_not_of_bytes(how: str, size: tuple[int, int], tmp_path: Path):
    image = picture(0, *size)
    image.save(tmp_path / "original.png")
    SAME[how](image, tmp_path / "again")
    assert same(sorted(tmp_path.iterdir()))


@pytest.mark.parametrize("mode", ["L", "P", "16 bits"])
def test_identities_are_of_what_the_learner_reads_in_any_mode(mode: str, tmp_path: Path):
    grey = picture().convert("L")
    grey.convert("RGB").save(tmp_path / "original.png")
    again = tmp_path / "again.png"
    in_16_bits(grey, again) if mode == "16 bits" else grey.convert(mode).save(again)
    assert same(sorted(tmp_path.iterdir()))


@pytest.mark.parametrize("size", [(50, 40), (900, 700)])
def test_identities_see_through_a_rewritten_jpeg_header_and_a_lossless_copy(
    size: tuple[int, int], tmp_path: Path
):
    """At 900 x 700 the JPEG files are decoded small, and their copy in full."""
    picture(1, *size).save(tmp_path / "a.jpg", quality=90)
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(content[:2] + b"\xff\xfe\x00\x06abcd" + content[2:])
    with Image.open(tmp_path / "a.jpg") as image:
        image.save(tmp_path / "c.png")
    assert same(sorted(tmp_path.iterdir()))


@pytest.mark.parametrize("side", [16, 64, 512])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_identities_tell_apart_what_differs_in_a_few_pixels(suffix: str, side: int, tmp_path: Path):
    for number in range(3):
        pixels = np.array(picture(2, 400, 300))
        pixels[100:103, 200 : 200 + number] = 255
        Image.fromarray(pixels).save(tmp_path / f"{number}.{suffix}", quality=95)
    Image.fromarray(pixels[:, ::-1]).save(tmp_path / f"mirrored.{suffix}", quality=95)
    Image.fromarray(pixels).resize((399, 300)).save(tmp_path / f"narrow.{suffix}", quality=95)
    files = sorted(tmp_path.iterdir())
    assert len(set(identities(take_fingerprints(files, side)).values())) == len(files)


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("side", [20, 50, 64, 300])
def test_a_jpeg_is_examined_and_read_again_alike(side: int, turn: int, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = turn
    picture(3, 500, 411).save(tmp_path / "a.jpg", quality=90, exif=exif)
    examined, read = (
        examine(tmp_path / "a.jpg", side).picture,
        read_picture(tmp_path / "a.jpg", side),
    )
    assert examined is not None
    assert examined.size == read.size == ((500, 411) if turn == 1 else (411, 500))
    assert np.array_equal(np.asarray(examined.rgb), np.asarray(read.rgb))
    assert min(read.rgb.size) >= side


def test_take_fingerprints_decodes_equal_bytes_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    picture().save(tmp_path / "a.png")
    for name in ("b.png", "c.png"):
        shutil.copy(tmp_path / "a.png", tmp_path / name)
    a, b, c = sorted(tmp_path.iterdir())
    decoded = list[Path]()
    examine = fingerprints.examine

    def counted(file: Path, side: int) -> Examined:
        decoded.append(file)
        return examine(file, side)

    monkeypatch.setattr(fingerprints, "examine", counted)
    first = take_fingerprints([a, b])
    assert first[a] is first[b]
    assert take_fingerprints([c], known=first)[c] is first[a]
    assert len(decoded) == 1


@pytest.mark.parametrize(
    ("side", "memory", "kept"), [(64, 1 << 30, 3), (64, 2 * 64 * 64 * 3, 2), (1 << 30, 1 << 30, 0)]
)
def test_take_fingerprints_keeps_small_images_as_memory_allows(
    side: int, memory: int, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fingerprints, "MEMORY", memory)
    for number in range(3):
        picture(number, 200, 150).save(tmp_path / f"{number}.png")
    taken = take_fingerprints(sorted(tmp_path.iterdir()), side, keep=True)
    shapes = [one.small.shape for one in taken.values() if one.small is not None]
    assert shapes == [(64, 64, 3)] * kept


@pytest.mark.parametrize(
    ("content", "damage"),
    [
        (b"", "it is empty"),
        (b"no picture", "it is no image that Pillow knows"),
        (None, "No such file or directory"),
    ],
)
def test_take_fingerprints_says_why_a_file_cannot_be_read(
    content: bytes | None, damage: str, tmp_path: Path
):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    (tmp_path / "b.png").write_bytes(b"another")
    taken = take_fingerprints([tmp_path / "a.png", tmp_path / "b.png"])
    assert taken[tmp_path / "a.png"].damage == damage
    assert len(set(identities(taken).values())) == 2


def test_take_fingerprints_says_that_a_file_may_not_be_read(tmp_path: Path):
    picture().save(tmp_path / "a.png")
    with permissions(tmp_path / "a.png", 0):
        assert take_fingerprints([tmp_path / "a.png"])[tmp_path / "a.png"].damage == (
            "Permission denied"
        )


def meshes(*brightness: float) -> NDArray[np.float32]:
    return np.array([[value] * fingerprints.MESH**2 for value in brightness], np.float32)


def test_nearest_names_the_nearest_within_the_radius_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fingerprints, "CHUNK", 2)
    pairs = fingerprints.nearest(meshes(10, 50, 90), meshes(12, 9, 93, 200), 3, 2)
    assert list(pairs) == [(0, 1), (0, 0), (2, 2)]

    def not_the_second(rows: slice) -> NDArray[np.bool_]:
        return np.array([[True, False, True, True]] * len(range(3)[rows]))

    pairs = fingerprints.nearest(meshes(10, 50, 90), meshes(12, 9, 93, 200), 3, 1, not_the_second)
    assert list(pairs) == [(0, 0), (2, 2)]
