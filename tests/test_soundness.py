"""Damaged images are found, and sound ones are not taken for damaged."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.images.decoding import decode, open_image
from shared.images.jpeg import check
from shared.images.remarks import Remark

KINDS = [
    {},
    {"progressive": True},
    {"restart_marker_rows": 1},
    {"subsampling": 0, "quality": 95},
    {"optimize": True},
]


def jpeg(**options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3)).astype(np.uint8)
    written = io.BytesIO()
    Image.fromarray(noise).save(written, "JPEG", **options)
    return written.getvalue()


@pytest.mark.parametrize("options", KINDS)
def test_check_finds_zeros_junk_and_gaps_in_a_jpeg(options: dict[str, object]) -> None:
    content = jpeg(**options)
    middle, junk = len(content) // 2, np.random.default_rng(1).bytes(900)
    assert check(content).damage == ""
    for filling in (bytes(900), junk, b""):
        assert check(content[:middle] + filling + content[middle + 900 :]).damage


def test_decode_shows_a_picture_that_is_in_the_alpha_channel_alone(tmp_path: Path) -> None:
    for colour in (0, 255):
        pixels = np.full((20, 20, 4), colour, np.uint8)
        pixels[..., 3] = 0
        pixels[5:15, 5:15, 3] = 255
        Image.fromarray(pixels).save(tmp_path / "a.png")
        with open_image(tmp_path / "a.png") as image:
            rgb, remarks = decode(image)
        assert np.ptp(np.asarray(rgb)) == 255
        assert remarks & Remark.TRANSPARENT
