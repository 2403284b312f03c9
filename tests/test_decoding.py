"""What pixels are read of an image file, and what is said of those that were lost or decided on."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageChops, TiffImagePlugin

from shared.images.decoding import read_picture
from shared.images.remarks import Remark, remarks_in_words
from shared.images.soundness import examine

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, NEW_SUBFILE_TYPE = 258, 262, 254
WHITE_IS_ZERO = {PHOTOMETRIC_INTERPRETATION: 0}

Save = Callable[[Path], None]


def grey(path: Path) -> tuple[NDArray[np.uint8], Remark]:
    picture = read_picture(path)
    return np.asarray(picture.rgb.convert("L")), picture.remarks


def image_of(pixels: NDArray[np.generic], **how: object) -> Save:
    return lambda path: Image.fromarray(pixels).save(path, **how)


def twelve_bit_tiff(path: Path) -> None:
    """Two values in three bytes, which Pillow reads and does not write."""
    values = RAMP.astype(np.uint16).ravel() * 16
    first, second = values[::2], values[1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1)
    strip = packed.astype(np.uint8).tobytes()
    tags = {256: 16, 257: 16, BITSPERSAMPLE: 12, 259: 1, PHOTOMETRIC_INTERPRETATION: 1}
    tags |= {273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 16, 279: len(strip)}  # where the strip is
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items())
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + strip)


def cmyk(adobe: bool) -> Save:
    """As JPEG: Adobe's are inverted, others are not, and a marker tells them apart."""

    def save(path: Path) -> None:
        written = io.BytesIO()
        ink = Image.fromarray(255 - RAMP)
        blank = Image.new("L", ink.size)
        image = Image.merge("CMYK", (blank, blank, blank, ink))
        # Pillow writes the marker of Adobe and inverts.
        (image if adobe else ImageChops.invert(image)).save(written, "JPEG", quality=100)
        content = written.getvalue()
        start = content.index(b"\xff\xee")
        end = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
        path.write_bytes(content if adobe else content[:start] + content[end:])

    return save


FLOATS = RAMP.astype(np.float32)
INTEGERS = RAMP.astype(np.int32) * 257
READ: dict[str, tuple[str, Save, Remark]] = {
    "8 bits": ("a.png", image_of(RAMP), Remark.NONE),
    "16 bits": ("a.png", image_of(RAMP.astype(np.uint16) * 257), Remark.NONE),
    "12 bits in a TIFF that says so": ("a.tif", twelve_bit_tiff, Remark.NONE),
    "white is zero": ("a.tiff", image_of(RAMP, tiffinfo=WHITE_IS_ZERO), Remark.NONE),  # inverted
    "16 bits, white is zero": (
        "a.tiff",
        image_of((255 - RAMP).astype(np.uint16) * 257, tiffinfo=WHITE_IS_ZERO),
        Remark.NONE,
    ),
    "floats, white is zero": (
        "a.tiff",
        image_of(255 - FLOATS, tiffinfo=WHITE_IS_ZERO),
        Remark.NONE,
    ),
    "floats": ("a.tiff", image_of(FLOATS), Remark.NONE),
    "integers of 32 bits": ("a.tiff", image_of(INTEGERS), Remark.NONE),
    "Adobe's CMYK": ("a.jpg", cmyk(adobe=True), Remark.NONE),
    "CMYK": ("a.jpg", cmyk(adobe=False), Remark.NONE),
}  # fmt: skip


@pytest.mark.parametrize("what", READ)
def test_read_picture_reads_one_ramp_however_it_is_stored(what: str, tmp_path: Path):
    name, save, remark = READ[what]
    save(tmp_path / name)
    pixels, remarks = grey(tmp_path / name)
    assert np.abs(pixels.astype(int) - RAMP).max() <= (2 if name == "a.jpg" else 0)
    assert remarks == remark


@pytest.mark.parametrize("none", [np.nan, np.inf, -np.inf, 5000, -5000])
def test_read_picture_clips_floats_beyond_the_range_and_says_so(none: float, tmp_path: Path):
    floats = FLOATS.copy()
    floats[3, 4] = none
    image_of(floats)(tmp_path / "a.tiff")
    pixels, remarks = grey(tmp_path / "a.tiff")
    assert remarks == Remark.CLIPPED
    assert pixels[3, 4] == (255 if none > 255 else 0)
    assert np.array_equal(np.delete(pixels, 52), np.delete(RAMP, 52))  # no other pixel changes


@pytest.mark.parametrize("beyond", [70_000, -1])
def test_read_picture_clips_integers_beyond_16_bits_and_says_so(beyond: int, tmp_path: Path):
    integers = INTEGERS.copy()
    integers[0, 0] = beyond
    image_of(integers)(tmp_path / "a.tiff")
    pixels, remarks = grey(tmp_path / "a.tiff")
    assert remarks == Remark.CLIPPED
    assert pixels[0, 0] == (255 if beyond > 0 else 0)
    assert np.array_equal(pixels[1:], RAMP[1:])


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
@pytest.mark.parametrize(
    ("colour", "shown"),
    [(0, (255, 0)), (255, (0, 255)), (120, (255, 120))],  # beside it and in it
)
def test_read_picture_shows_a_picture_that_is_in_the_alpha_channel_alone(
    colour: int, shown: tuple[int, int], suffix: str, tmp_path: Path
):
    """On white, or on black where it would vanish on white."""
    pixels = np.full((20, 20, 4), colour, np.uint8)
    pixels[..., 3] = 0
    pixels[5:15, 5:15, 3] = 255
    how = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", **how)
    read, remarks = grey(tmp_path / f"a.{suffix}")
    assert (read[0, 0], read[10, 10]) == shown
    assert remarks & Remark.TRANSPARENT


@pytest.mark.parametrize(
    ("alpha", "remark"), [(255, Remark.NONE), (0, Remark.TRANSPARENT)], ids=["opaque", "hidden"]
)
def test_read_picture_takes_pixels_as_they_are_where_transparency_says_nothing(
    alpha: int, remark: Remark, tmp_path: Path
):
    pixels = np.dstack([RAMP, RAMP, RAMP, np.full_like(RAMP, alpha)])
    image_of(pixels)(tmp_path / "a.png")
    read, remarks = grey(tmp_path / "a.png")
    assert np.array_equal(read, RAMP)
    assert remarks == remark


def test_read_picture_makes_the_key_colour_of_a_deep_png_transparent(tmp_path: Path):
    deep = RAMP.astype(np.uint16) * 257
    image_of(deep, transparency=0)(tmp_path / "a.png")
    read, remarks = grey(tmp_path / "a.png")
    assert read[0, 0] == 255
    assert np.array_equal(read.ravel()[1:], RAMP.ravel()[1:])
    assert remarks == Remark.TRANSPARENT


def pages(second: Image.Image, **how: object) -> Save:
    def save(path: Path) -> None:
        first = Image.fromarray(RAMP).convert("RGB")
        first.save(path, save_all=True, append_images=[second], **how)

    return save


def with_thumbnail(path: Path) -> None:
    """A TIFF whose second page is the first, smaller, as scanners and slides have it."""
    with TiffImagePlugin.AppendingTiffWriter(str(path), True) as file:
        Image.fromarray(RAMP).save(file, "TIFF")
        file.newFrame()
        Image.fromarray(RAMP[::2, ::2]).save(file, "TIFF", tiffinfo={NEW_SUBFILE_TYPE: 1})


OTHER = Image.fromarray(RAMP.T.copy()).convert("RGB")


@pytest.mark.parametrize(
    ("name", "save", "has_pages"),
    [
        ("a.tif", pages(OTHER), True),
        ("a.tif", pages(OTHER, compression="tiff_lzw"), True),
        ("a.tif", image_of(RAMP), False),
        ("a.tif", with_thumbnail, False),
        ("a.webp", pages(OTHER, lossless=True), True),
        ("a.webp", image_of(RAMP, lossless=True), False),
        ("a.png", pages(OTHER), True),
        ("a.gif", pages(OTHER), True),
        ("a.gif", image_of(RAMP), False),
        ("a.mpo", pages(OTHER), False),  # the second eye's view, or a preview
    ],
)
def test_read_picture_says_that_there_are_further_pages(
    name: str, save: Save, has_pages: bool, tmp_path: Path
):
    save(tmp_path / name)
    pixels, remarks = grey(tmp_path / name)
    assert bool(remarks & Remark.PAGES) == has_pages
    assert np.abs(pixels.astype(int) - RAMP).max() <= (3 if name == "a.mpo" else 1)  # the first


def test_a_deep_image_is_dark_where_all_but_stray_pixels_are(tmp_path: Path):
    """12 bits in a file of 16, and a few pixels of the sensor that are always bright."""
    dark = np.full((64, 64), 4095, np.uint16)
    for stray, is_dark in ((0, True), (4, True), (400, False)):
        dark.ravel()[:stray] = 65535
        image_of(dark)(tmp_path / "a.png")
        assert bool(grey(tmp_path / "a.png")[1] & Remark.DARK) == is_dark


@pytest.mark.parametrize(("n_dark", "said"), [(9, True), (1, True), (0, False)])
def test_remarks_in_words_counts_dark_images_among_bright_ones(
    n_dark: int, said: bool, tmp_path: Path
):
    remarks = list[int]()
    for number in range(10):
        image_of(np.full((8, 8), 4095 if number < n_dark else 60_000, np.uint16))(
            tmp_path / "a.png"
        )
        examined = examine(tmp_path / "a.png").picture
        assert examined is not None
        remarks.append(examined.remarks)
    lines = list(remarks_in_words(np.array(remarks, np.uint8)))
    assert [line.split(".")[0] for line in lines] == (
        [f"{n_dark} of 10 images are nearly black"] if said else []
    )


@pytest.mark.parametrize(
    ("remark", "words"),
    [
        (Remark.TRANSPARENT, "2 of 30 images are transparent in parts"),
        (Remark.PAGES, "2 of 30 images have further pages or frames"),
        (Remark.CLIPPED, "2 of 30 images have values beyond the range that is read"),
        (Remark.DARK, ""),  # taken at night
    ],
)
def test_remarks_in_words_counts_what_was_lost(remark: Remark, words: str):
    flags = np.array([remark, remark, *[Remark.NONE] * 28], np.uint8)
    assert [line[: len(words)] for line in remarks_in_words(flags)] == [words] * bool(words)
