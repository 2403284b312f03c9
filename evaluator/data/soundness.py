"""Whether an image file is sound, told before it is needed."""

import os
from pathlib import Path

from PIL import Image, TiffImagePlugin

from evaluator.data.decoding import BROKEN

ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}  # of files that are whole, most often


def trouble_of(file: Path) -> str:
    """Why nothing can be done with an image, as far as its name, beginning and end tell."""
    try:
        str(file).encode()
        if not file.stat().st_size:
            return "it is empty"
        with Image.open(file) as image:
            if not _seems_whole(file, image):
                image.load()  # cut short, or something stands behind the picture
            return ""
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    except BROKEN as error:
        return type(error).__name__ if str(file) in str(error) else str(error)


def _seems_whole(file: Path, image: Image.Image) -> bool:
    """Whether nothing is missing at the end, as far as the format says where that is."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # strips or tiles: offsets, and bytes
        parts = [image.tag_v2.get(tag) or () for tag in (273, 279, 324, 325)]
        ends = [*map(sum, zip(*parts[:2], strict=False)), *map(sum, zip(*parts[2:], strict=False))]
        return max(ends, default=0) <= file.stat().st_size
    if end := ENDS.get(image.format or ""):
        with file.open("rb") as opened:
            opened.seek(-len(end), os.SEEK_END)
            return opened.read() == end
    return image.format != "BMP"  # which is loaded as fast as it is read
