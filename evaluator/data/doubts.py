"""What may be wrong with data that can be read."""

from collections.abc import Callable, Iterator

import numpy as np

from evaluator.data.cache import image_digests
from evaluator.data.class_coverage import coverage_doubts
from evaluator.data.dataset import Splits
from evaluator.data.layout import SPLITS

LOOKED_AT = 100  # images of a split, at most
DARK = 64  # of 255: no pixel of 14 bits in 16 is brighter


def doubts(splits: Splits) -> Iterator[str]:
    """What a person should know before the data are trusted, a line each."""
    labels = {name: getattr(splits, name).labels for name in SPLITS}
    yield from coverage_doubts(labels, splits.class_names)
    yield from repeated_images(splits)
    for name in SPLITS:
        images = getattr(splits, name).images
        if words := nearly_black(len(images), images.__getitem__, LOOKED_AT):
            yield f"{name}: {words}"


def repeated_images(splits: Splits) -> Iterator[str]:
    """In words: which split has images of another, pixel for pixel, or one of its own twice.

    Held-out images that are learned from are a leak: their score says nothing of new images.
    """
    digests = {name: image_digests(splits.image_files[name]).tolist() for name in SPLITS}
    for name, other in (
        ("validation", "training"),
        ("validation", "unlabelled"),
        ("unlabelled", "training"),
    ):
        known = set(digests[other])
        if rows := [row for row, digest in enumerate(digests[name]) if digest in known]:
            yield (
                f"{len(rows):,} of {len(digests[name]):,} {name} images are in {other}, too, pixel "
                f"for pixel; the first is image {rows[0] + 1} of its labels.csv"
            )
    for name, own in digests.items():
        if twice := len(own) - len(set(own)):
            yield f"{twice:,} of {len(own):,} {name} images are there before, pixel for pixel"


def nearly_black(n: int, image: Callable[[int], np.ndarray], at_most: int) -> str:
    """In words, where uint8 images are dark all over; empty where one is bright somewhere.

    Of the `n` images that `image` gives by row, `at_most` are looked at, evenly spread. A camera's
    10 or 12 bits in a file of 16 come out so, because such a file is taken to use all.
    """
    brightest: list[int] = []
    for row in range(0, n, max(1, -(-n // at_most))):
        brightest.append(int(image(row).max()))
        if brightest[-1] >= DARK:
            return ""
    if not brightest:
        return ""
    return (
        f"no pixel of {len(brightest)} images is brighter than {max(brightest)} of 255. Are these "
        "10 or 12 bits of a camera in files of 16? Scale them to the whole range first"
    )
