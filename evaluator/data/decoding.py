"""What the pixels of an image file are: upright, and 8-bit RGB."""

import struct

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

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


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image upright and as 8-bit RGB; 16-bit grey is scaled, where Pillow would clip it."""
    if turn := TURNS.get(orientation(image)):
        image = image.transpose(turn)
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        image = Image.fromarray(grey)
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
