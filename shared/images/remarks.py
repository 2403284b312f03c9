"""What a person should know of images that can be read."""

import enum
from collections.abc import Iterator

import numpy as np

SHARE_DARK = 0.1  # of the images, from which on it is said: single ones may be taken at night


class Remark(enum.IntFlag):
    """What is to be said of one image; kept as a byte."""

    NONE = 0
    TRANSPARENT = 1
    PAGES = 2  # further ones, which nobody looks at
    CLIPPED = 4  # values beyond the range that is read
    DARK = 8  # all over


SAID = {
    Remark.TRANSPARENT: "images are transparent in parts (an alpha channel), and read as on white, "
    "or on black where they would vanish on white",
    Remark.PAGES: "images have further pages or frames, of which nobody looks at more than the "
    "first. Save each as a file of its own if it matters",
    Remark.CLIPPED: "images have values beyond the range that is read, 0 to 65,535 of integers and "
    "0 to 255 of floats, and are cut off there. Scale them to it first",
    Remark.DARK: "images are nearly black. Are these 10 or 12 bits of a camera in files of 16, or "
    "floats from 0 to 1? Scale them to the whole range first",
}


def remarks_in_words(remarks: np.ndarray) -> Iterator[str]:
    """A line for each remark that is to be said of N images; their flags are (N,) uint8."""
    for remark, words in SAID.items():
        count = int(np.count_nonzero(remarks & remark.value))
        if count and (remark is not Remark.DARK or count >= SHARE_DARK * len(remarks)):
            yield f"{count:,} of {len(remarks):,} {words}"
