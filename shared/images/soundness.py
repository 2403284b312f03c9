"""Whether an image file is sound, known before it is needed."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.TiffImagePlugin import (
    COMPRESSION,
    JPEGTABLES,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILEOFFSETS,
    TiffImageFile,
)

from shared.images import jpeg
from shared.images.decoding import (
    BROKEN,
    ON_THEIR_SIDE,
    Picture,
    is_dark,
    open_image,
    orientation,
    picture_of,
    upright,
)
from shared.images.remarks import Remark

JPEG_INSIDE, DEFLATED = 7, {8, 32946}  # compressions of a TIFF


@dataclass(frozen=True)
class Examined:
    """What is wrong with an image file, in words, or empty; and what it shows if nothing is."""

    damage: str
    picture: Picture | None = None


def examine(file: Path, side: int = 1) -> Examined:
    """Read an image file to its end, to know now whether it can be used later.

    A JPEG is decoded no larger than it must be for sides of `side` pixels.
    """
    try:
        str(file).encode()
        with open_image(file) as image:
            if image.format in jpeg.FORMATS:
                damage, small = jpeg.check(file.read_bytes())
                return Examined(damage, None if damage else _of_jpeg(image, small, side))
            if damage := hidden_damage(file, image):
                return Examined(damage)
            return Examined("", picture_of(image))
    except UnicodeEncodeError:
        return Examined("its name is not UTF-8")
    except BROKEN as error:
        return Examined(in_words(file, error))


def _of_jpeg(image: Image.Image, small: Image.Image, side: int) -> Picture:
    """Its picture: `small`, at an eighth of its size, where no more is needed.

    It has neither transparency nor values out of range.
    """
    remarks = Remark.DARK if is_dark(small, deep=False) else Remark.NONE
    if min(image.size) // 8 < side or image.mode not in {"L", "RGB"}:
        return picture_of(image, side)._replace(remarks=remarks)
    turn = orientation(image)
    size = image.size[::-1] if turn in ON_THEIR_SIDE else image.size
    return Picture(upright(small, turn), size, True, remarks)


def in_words(file: Path, error: Exception) -> str:
    """Why Pillow could not read `file`, without its name, which stands beside."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__ if str(file) in str(error) else str(error)


def hidden_damage(file: Path, image: Image.Image) -> str:
    """In words, what is wrong with an opened image's data that decoding lets pass; else empty."""
    if image.format in jpeg.FORMATS:
        return jpeg.check(file.read_bytes()).damage
    if isinstance(image, TiffImageFile):
        return next(filter(None, _of_parts(file, image)), "")
    return ""


def _of_parts(file: Path, image: TiffImageFile) -> Iterator[str]:
    """What is wrong with each strip or tile of a TIFF."""
    tags = image.tag_v2
    compression = tags.get(COMPRESSION)
    if compression != JPEG_INSIDE and compression not in DEFLATED:
        return
    tables = tags.get(JPEGTABLES, b"")[:-2]  # without the marker at the end
    starts = tags.get(STRIPOFFSETS) or tags.get(TILEOFFSETS) or ()
    lengths = tags.get(STRIPBYTECOUNTS) or tags.get(TILEBYTECOUNTS) or ()
    with file.open("rb") as opened:
        for start, length in zip(starts, lengths, strict=False):
            opened.seek(start)
            part = opened.read(length)
            if compression == JPEG_INSIDE:
                yield jpeg.check(tables + part[2:] if tables else part).damage
            else:
                yield _of_deflated(part)


def _of_deflated(part: bytes) -> str:
    try:
        zlib.decompress(part)
    except zlib.error as error:
        return f"its data are damaged ({error})"
    return ""
