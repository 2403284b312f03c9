"""Images of a pool as a browser can show them."""

import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from shared.errors import DatasetError
from shared.images.decoding import BROKEN, LOSSLESS, open_image, orientation, picture_of
from shared.images.soundness import in_words

SHOWN = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
LARGEST_FILE = 3 << 20  # bytes that are sent as they are
QUALITY = 90  # of JPEG


class Encoded(NamedTuple):
    """An image file for a browser."""

    content: bytes
    media_type: str


def for_browser(file: Path, side: int | None) -> Encoded:
    """The image in `file` as it is, where a browser shows that upright; else encoded anew.

    side : pixels that the longer side needs at most; None for all that there are.
    Raises DatasetError where it cannot be read.
    """
    try:
        with open_image(file) as image:
            fits = side is None or max(image.size) <= side
            plain = image.mode in {"1", "L", "P", "RGB", "RGBA", "LA"} and orientation(image) == 1
            if fits and plain and image.format in SHOWN and file.stat().st_size <= LARGEST_FILE:
                return Encoded(file.read_bytes(), SHOWN[image.format])
            lossless = image.format in LOSSLESS
            rgb = picture_of(image, side).rgb
    except BROKEN as error:
        raise DatasetError(
            "unreadable-image",
            f"The image {file} cannot be read ({in_words(file, error)}). Replace it or move it "
            "away.",
        ) from error
    if side is not None:
        rgb.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    content = io.BytesIO()
    if lossless and side is None:
        rgb.save(content, "PNG", compress_level=1)
        return Encoded(content.getvalue(), "image/png")
    rgb.save(content, "JPEG", quality=QUALITY, subsampling=0)
    return Encoded(content.getvalue(), "image/jpeg")
