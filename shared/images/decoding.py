"""What the pixels of an image file are: upright, and 8-bit RGB; and what was lost on the way."""

import io
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    EXTRASAMPLES,
    PHOTOMETRIC_INTERPRETATION,
    TiffImageFile,
)

from shared.images.remarks import Remark

BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises
TURNS = {  # what makes an image upright, by its orientation tag; from 5 on it lies on its side
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ON_THEIR_SIDE = range(5, 9)  # orientation tags that swap width and height
# Formats that keep the pixels they are given.
LOSSLESS = {"PNG", "BMP", "DIB", "GIF", "PPM", "TIFF"}
MOST_PIXELS = 178_956_970  # of one image, as in Pillow: half a gigabyte as RGB
DARK = 64  # of 255: no pixel of 14 bits in 16 is brighter
STRAY = 0.001  # of a deep image's pixels may be brighter: defects of the sensor, a date printed in

PNG = b"\x89PNG\r\n\x1a\n"
PNG_TEXT = {b"tEXt", b"zTXt", b"iTXt", b"iCCP"}
MUCH_TEXT = 1000  # bytes of it; compressed a thousandfold they are what Pillow reads at most
ONE_PICTURE = {"MPO", "PSD"}  # further frames are another view or layer of the same picture
LISTED_AFTERWARDS = {"GIF", "TIFF"}  # formats whose further pages are looked for in the file
NEW_SUBFILE_TYPE, SMALLER_OR_MASK = 254, 0b101  # pages of a TIFF that repeat another
WHITE_IS_ZERO = 0  # which Pillow heeds in 8 bits alone

HEIC = "HEIC, which Pillow does not read: docs/your-pictures.md#heic says what makes JPEG of it"
KINDS = {  # what a file is that is no image to Pillow, by how it begins
    rb".{4}ftyp(hei|hev|mif1|msf1)": HEIC,
    rb".{4}ftypavi[fs]": "an AVIF image that is damaged, or of a kind that Pillow does not read",
    rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI ": "a film: save its frames as PNG or JPEG",
    rb"\xff\x0a|\0\0\0\x0cJXL ": "JPEG XL, which Pillow does not read: convert it to PNG",
    rb".{128}DICM": "DICOM: convert it to PNG",
    rb"%PDF": "a PDF: save its pages as PNG",
    rb"(\xef\xbb\xbf)?\s*<(\?xml[^>]*>\s*(<!--.*?-->\s*)*<)?svg": "a drawing (SVG): save it as PNG",
    rb"(\xef\xbb\xbf)?\s*<": "a web page: its download has failed",
    rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf": "an archive: unpack it",
    rb"II[*+]\0|MM\0[*+]": "a TIFF, damaged or of a kind that Pillow does not read: save it as RGB",
    rb"\xff\xd8|\x89PNG|RIFF.{4}WEBP|BM|GIF8": "damaged in its header, or of a rare kind",
    rb"\0+\Z": "nothing but zeros: it has not been copied to its end",
    rb"\Z": "empty",
}
BEGINNING = 1024  # bytes by which a kind is known

# Pillow tells of damage, and of tags and sizes that it finds odd, in Python's words and without the
# file's name. Here an image is sound or refused.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Decoded(NamedTuple):
    """An image, upright and as 8-bit RGB, and what is to be said of it."""

    rgb: Image.Image
    remarks: Remark


class Picture(NamedTuple):
    """What an image file shows.

    rgb : upright; a JPEG may have been decoded smaller than it is.
    size : the width and height of the file's image, upright.
    is_lossy : whether its format may have changed the pixels that it was given.
    remarks : what is to be said of it.
    """

    rgb: Image.Image
    size: tuple[int, int]
    is_lossy: bool
    remarks: Remark


def open_image(file: Path) -> Image.Image:
    """The opened image of a file, not decoded.

    Raises one of BROKEN where it is none, in words where it is known to be something else.
    """
    try:
        return Image.open(_without_text(file) or file)
    except UnidentifiedImageError as error:
        raise ValueError(f"it is {_other_kind(file)}") from error
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        raise ValueError(
            f"its {int(found[0]) if found else 0:,} pixels are more than the {MOST_PIXELS:,} that "
            "are read: shrink it, or cut it into tiles"
        ) from error


def read_picture(file: Path, side: int | None = None) -> Picture:
    """The picture of an image file, a JPEG no larger than it must be for sides of `side` pixels.

    Raises one of BROKEN where it cannot be decoded.
    """
    with open_image(file) as image:
        return picture_of(image, side)


def picture_of(image: Image.Image, side: int | None = None) -> Picture:
    """The same of an image that was opened and not loaded."""
    stored, turned = image.size, orientation(image) in ON_THEIR_SIDE
    is_lossy = image.format not in LOSSLESS or image.info.get("compression") == "jpeg"
    if side is not None:
        image.draft("RGB", (side, side))
    smaller = image.size != stored
    rgb, remarks = decode(image)
    size = (stored[::-1] if turned else stored) if smaller else rgb.size
    return Picture(rgb, size, is_lossy, remarks)


def decode(image: Image.Image) -> Decoded:
    """The picture of an image that was opened and not loaded; of several pages the first.

    Transparent parts become white, as viewers show them, or black where the picture stands out
    from that far more. Integers of more than 8 bits are scaled from the whole range of 16, and
    those of a TIFF of 12 bits from that; floats are taken as 0 to 255.
    """
    turn = orientation(image)
    remarks = Remark.PAGES if _has_pages(image) else Remark.NONE
    deep = image.mode[0] in "IF" or ";16" in str(getattr(image, "tile", ""))
    flat, lost = _flat(image)
    rgb = flat.convert("RGB")
    if is_dark(rgb, deep):
        remarks |= Remark.DARK
    return Decoded(upright(rgb, turn), remarks | lost)


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """`image` turned as its orientation tag says."""
    turn = TURNS.get(orientation)
    return image.transpose(turn) if turn else image


def orientation(image: Image.Image) -> int:
    """The orientation tag of an image that was opened and not decoded; 1, upright, without one.

    A tag that cannot be read is none: its pixels are sound.
    """
    if image.format == "TIFF":  # Pillow itself turns it
        return 1
    if image.format == "PNG" and "exif" not in image.info:  # it would be decoded whole to look
        return 1
    try:
        return int(image.getexif().get(Base.Orientation, 1))
    except (SyntaxError, ValueError, TypeError, OSError, KeyError, struct.error):
        return 1


def _without_text(file: Path) -> io.BytesIO | None:
    """A PNG without the text in it, if that may be more than Pillow reads; else None."""
    with file.open("rb") as opened:
        if opened.read(len(PNG)) != PNG:
            return None
        chunks = list(_png_chunks(opened))
        if sum(length for kind, _, length in chunks if kind in PNG_TEXT) <= MUCH_TEXT:
            return None
        parts = [PNG]
        for kind, start, length in chunks:
            if kind not in PNG_TEXT:
                opened.seek(start)
                parts.append(opened.read(8 + length + 4))
    return io.BytesIO(b"".join(parts))


def _png_chunks(opened: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each chunk, where it starts, and the length of what is in it."""
    start = len(PNG)
    while len(header := opened.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        yield kind, start, length
        start = opened.seek(start + 8 + length + 4)


def _other_kind(file: Path) -> str:
    with file.open("rb") as opened:
        begin = opened.read(BEGINNING)
    known = (what for start, what in KINDS.items() if re.match(start, begin, re.DOTALL))
    return next(known, "no image that Pillow knows")


def _has_pages(image: Image.Image) -> bool:
    """Whether there are further pages or frames that are other pictures."""
    if image.format in ONE_PICTURE:
        return False
    file = getattr(image, "filename", "")
    if image.format not in LISTED_AFTERWARDS or not file:
        return bool(getattr(image, "is_animated", False))
    try:
        with Image.open(file) as pages:  # another, which may be left on any page
            if not isinstance(pages, TiffImageFile):
                return bool(getattr(pages, "is_animated", False))
            for page in range(1, getattr(pages, "n_frames", 1)):
                pages.seek(page)
                if not pages.tag_v2.get(NEW_SUBFILE_TYPE, 0) & SMALLER_OR_MASK:
                    return True
    except (*BROKEN, EOFError, KeyError, TypeError, struct.error):
        return True  # there is something, whatever it is
    return False


def _flat(image: Image.Image) -> tuple[Image.Image, Remark]:
    """The picture in 8 bits and without transparency, and what was lost or decided."""
    clipped = Remark.NONE
    tags: Mapping[int, Any] = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    if image.mode == "F":
        image, clipped = _from_floats(image, tags)
    elif image.mode.startswith("I"):
        image, clipped = _from_integers(image, tags)
    elif image.mode == "CMYK" and image.format in {"JPEG", "MPO"} and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes each for one of Adobe's, which are inverted
    if not image.has_transparency_data or (tags and EXTRASAMPLES not in tags):
        return image, clipped  # a fourth channel of a TIFF that has no name is infrared, or so
    flat, transparent = _on_background(image)
    return flat, clipped | transparent


def _from_floats(image: Image.Image, tags: Mapping[int, Any]) -> tuple[Image.Image, Remark]:
    values = np.asarray(image)
    in_range = np.isfinite(values) & (values > -1) & (values < 256)
    if in_range.all() and tags.get(PHOTOMETRIC_INTERPRETATION) != WHITE_IS_ZERO:
        return image, Remark.NONE
    values = np.clip(np.nan_to_num(values), 0, 255)
    if tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO:
        values = 255 - values
    return Image.fromarray(values), Remark.NONE if in_range.all() else Remark.CLIPPED


def _from_integers(image: Image.Image, tags: Mapping[int, Any]) -> tuple[Image.Image, Remark]:
    """Of more than 8 bits; Pillow would clip them."""
    bits = 12 if tags.get(BITSPERSAMPLE) == (12,) else 16
    values = np.asarray(image)
    most = 2**bits - 1
    beyond = values.size > 0 and not 0 <= values.min() <= values.max() <= most
    if beyond:
        values = np.clip(values, 0, most)
    grey = (values >> (bits - 8)).astype(np.uint8)
    if tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO:
        grey = 255 - grey
    shallow = Image.fromarray(grey)
    if isinstance(key := image.info.get("transparency"), int):  # of a PNG
        opaque = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
        shallow = Image.merge("LA", (shallow, opaque))
    return shallow, Remark.CLIPPED if beyond else Remark.NONE


def _on_background(image: Image.Image) -> tuple[Image.Image, Remark]:
    """Without transparency: on white, or on black where that shows more than twice as much.

    An image that is transparent all over is taken as it is without: nobody meant to hide all.
    """
    if image.mode in {"La", "PA"}:
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    picture = image.convert("RGBA")
    least, most = picture.getchannel("A").getextrema()
    if least == 255:
        return image, Remark.NONE
    if most == 0:
        return picture.convert("RGB"), Remark.TRANSPARENT
    white, black = (
        Image.alpha_composite(Image.new("RGBA", picture.size, colour), picture).convert("RGB")
        for colour in ("white", "black")
    )
    darker = _contrast(black) > 2 * _contrast(white)
    return black if darker else white, Remark.TRANSPARENT


def _contrast(rgb: Image.Image) -> int:
    """How far the brightest pixel is from the darkest, of 255."""
    return int(np.ptp(np.asarray(rgb.convert("L"))))


def is_dark(rgb: Image.Image, deep: bool) -> bool:
    """Whether all pixels are dark; of a deep image, all but stray ones."""
    if np.asarray(rgb).max(initial=0) < DARK:
        return True
    return deep and bool((np.asarray(rgb.convert("L")) >= DARK).mean() <= STRAY)
