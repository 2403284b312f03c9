"""What may be wrong with data that can be read."""

from collections.abc import Iterator

from evaluator.data.cache import image_digests, image_remarks
from evaluator.data.dataset import Splits
from shared.images.class_coverage import coverage_doubts
from shared.images.layout import SPLITS
from shared.images.names import look_alikes_among
from shared.images.remarks import remarks_in_words


def doubts(splits: Splits) -> Iterator[str]:
    """What a person should know before the data are trusted, a line each."""
    labels = {name: getattr(splits, name).labels for name in SPLITS}
    yield from coverage_doubts(labels, splits.class_names)
    yield from (f"classes {words}" for words in look_alikes_among(splits.class_names))
    yield from repeated_images(splits)
    for name in SPLITS:
        for line in remarks_in_words(image_remarks(splits.image_files[name])):
            yield f"{name}: {line}"


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
