"""The terminal's summary of a batch, and of the images it comes from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from labelling.batch import Choice
from labelling.pictures import say

HARD_SHRINKING = 4  # how many times larger an image is, whose small defects may not survive


def summary(choice: Choice, class_names: Sequence[str], n_pool: int, out: Path) -> str:
    """What was chosen and, per class, how good the learner is and what it expects in the batch."""
    lines = [f"{len(choice.rows):,} of {n_pool:,} images are in {out}: fill in labels.csv."]
    if choice.uses_model and choice.n_read < n_pool:
        lines.append(
            f"There was time to read {choice.n_read:,} of the {n_pool:,}, drawn at random; the "
            "others were no candidates. With more --minutes they are."
        )
    expected = [choice.expected[row] for row in choice.rows if choice.expected[row]]
    if expected:
        sums = np.sum(expected, axis=0)
        rows = zip(class_names, choice.f1, sums, choice.prevalence * len(expected), strict=True)
        headers = ["", "F1 (cross-validated)", "expected positives", "in a random batch"]
        # A class may be called 1.10, and is not to be shown as 1.1.
        table = tabulate(rows, headers, floatfmt=("", ".2f", ".0f", ".0f"), disable_numparse=[0])
        lines += ["", table]
    if choice.near_chance:
        lines += [
            "",
            "notice: in most classes the learner is no better than a random ranking yet: random or "
            "typiclust may serve better (docs/strategies.md#which-one).",
        ]
    return "\n".join(lines)


def warn_of_shrinking(longest_sides: Sequence[int], pixels: int, image_size: int) -> None:
    """Say where images are so much larger than what the learner sees that details are lost.

    longest_sides : of the images, in pixels.
    pixels : of a side that it sees: `image_size`, or less where no labelled image has as many.
    """
    large = [side for side in longest_sides if side > HARD_SHRINKING * pixels]
    if not large:
        return
    way_out = (
        "Cut them into tiles, or raise image_size under [learner] in submission.toml"
        if pixels == image_size
        else "The labelled images have no more: label some as large as those of the pool"
    )
    say(
        f"notice: images of {max(large)} px are downscaled to {pixels} px: small defects may be "
        f"lost in {len(large):,} of {len(longest_sides):,}. {way_out}."
    )
