"""Damaged images are found, and sound ones are not taken for damaged."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from shared.images.jpeg import check
from shared.images.soundness import examine

KINDS = [
    {},
    {"progressive": True},
    {"restart_marker_rows": 1},
    {"subsampling": 0, "quality": 95},
    {"optimize": True},
]
WRITTEN: dict[str, dict[str, Any]] = {  # format, and a word where it is written in several ways
    "JPEG": {},
    "JPEG progressive": {"progressive": True},
    "MPO": {"save_all": True},
    "GIF": {},
    "PNG": {},
    "JPEG2000": {},
    "JPEG2000 lossy": {"irreversible": True, "quality_mode": "dB", "quality_layers": [40]},
    "TIFF": {},
    "TIFF deflate": {"compression": "tiff_adobe_deflate"},
    "TIFF LZW": {"compression": "tiff_lzw"},
    "TIFF JPEG": {"compression": "jpeg"},
    "TIFF JPEG in strips": {"compression": "jpeg", "strip_size": 16 * 3 * 200},
    "WEBP": {},
    "AVIF": {},
    "DDS": {},
    "BMP": {},
}
FOUND_IN_THE_MIDDLE = [
    *("JPEG", "JPEG progressive", "MPO", "GIF", "PNG"),
    *("TIFF deflate", "TIFF LZW", "TIFF JPEG", "TIFF JPEG in strips"),
]


def noise(seed: int = 0) -> Image.Image:
    """200 x 150 pixels, of which any part of a file matters."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (150, 200, 3), np.uint8))


def written(kind: str, **how: Any) -> bytes:
    target = io.BytesIO()
    how = {**WRITTEN[kind], **how}
    if kind == "MPO":
        how["append_images"] = [noise(1)]  # another view, as a phone takes it
    noise().save(target, kind.split()[0], **how)
    return target.getvalue()


@pytest.mark.parametrize("options", KINDS)
def test_check_finds_zeros_junk_and_gaps_in_a_jpeg(options: dict[str, object]) -> None:
    content = written("JPEG", **options)
    middle, junk = len(content) // 2, np.random.default_rng(1).bytes(900)
    assert check(content).damage == ""
    for filling in (bytes(900), junk, b""):
        assert check(content[:middle] + filling + content[middle + 900 :]).damage


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("kind", WRITTEN)
def test_examine_reads_a_sound_image_whatever_it_is_called(kind: str, name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(written(kind))
    examined = examine(tmp_path / name, side=64)
    assert examined.damage == ""
    assert examined.picture is not None
    assert examined.picture.size == (200, 150)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("kind", WRITTEN)
def test_examine_finds_that_a_file_was_cut(kind: str, share: float, tmp_path: Path):
    content = written(kind)
    if kind == "MPO":  # within its first picture, which is the one that is read
        content = content[: content.index(b"\xff\xd8", 2)]
    (tmp_path / "a.png").write_bytes(content[: int(share * len(content))])
    damage = examine(tmp_path / "a.png", side=64).damage
    assert damage
    assert "a film" not in damage  # an AVIF begins like one


@pytest.mark.parametrize("kind", FOUND_IN_THE_MIDDLE)
def test_examine_finds_zeros_in_the_middle(kind: str, tmp_path: Path):
    content = written(kind)
    middle = len(content) // (4 if kind == "MPO" else 2)
    (tmp_path / "a.jpg").write_bytes(content[:middle] + bytes(900) + content[middle + 900 :])
    assert examine(tmp_path / "a.jpg", side=64).damage


@pytest.mark.parametrize("restarts", [0, 1])
@pytest.mark.parametrize("behind", [b"", bytes(3000), b"a camera's own", b"\xff\xd9"])
def test_examine_reads_a_jpeg_with_something_behind_its_end(
    behind: bytes, restarts: int, tmp_path: Path
):
    content = written("JPEG", restart_marker_rows=restarts)
    (tmp_path / "a.jpg").write_bytes(content + behind)
    assert examine(tmp_path / "a.jpg").damage == ""


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("times", [10, 1_500_000])
def test_examine_reads_a_png_with_much_text(times: int, zipped: bool, tmp_path: Path):
    """Pillow reads 1 MB of it, and refuses the image where there is more."""
    text = PngImagePlugin.PngInfo()
    text.add_text("history", "x" * times, zip=zipped)
    noise().save(tmp_path / "a.png", pnginfo=text)
    examined = examine(tmp_path / "a.png")
    assert examined.damage == ""
    assert examined.picture is not None
    assert np.array_equal(np.asarray(examined.picture.rgb), np.asarray(noise()))


def test_examine_finds_damage_in_a_png_with_much_text(tmp_path: Path):
    text = PngImagePlugin.PngInfo()
    text.add_text("history", "x" * 1_500_000)
    noise().save(tmp_path / "a.png", pnginfo=text)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[:-20_000])
    assert examine(tmp_path / "a.png").damage
