"""What the page's process and the learner's tell each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelling.forecast import Forecast
from labelling.page.answers import Label


@dataclass(frozen=True)
class Job:
    """What the learner is to work on; everything in it can be sent to another process.

    names : of the pool's images; order : their random order, which they are read in.
    extra : labelled images from elsewhere, which are learned from and never asked for.
    """

    pool: Path
    names: tuple[str, ...]
    order: tuple[int, ...]
    class_names: tuple[str, ...]
    features: Path
    strategy: str
    seed: int
    pixels: int
    extra: tuple[tuple[Path, Label], ...] = ()


@dataclass(frozen=True)
class Labels:
    """To the learner: labels that have changed, None where there is none any more.

    fair : the rows of the fair sample, all of them.
    """

    changed: Mapping[int, Label | None]
    fair: tuple[int, ...]


@dataclass(frozen=True)
class Progress:
    """From the learner: images whose features are known, of how many.

    damaged : row -> why it cannot be used; known_elsewhere : rows with the pixels of a labelled
    image from elsewhere; groups : row -> its near-duplicates, itself too.
    """

    done: int
    total: int
    damaged: Mapping[int, str]
    groups: Mapping[int, list[int]]
    known_elsewhere: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ranking:
    """From the learner: what to ask for next, the most wanted first, and what chose it.

    alike : row -> the open images most like it.
    """

    rows: tuple[int, ...]
    by: str
    alike: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class Doubt:
    """A label that the learner contradicts: row, class and its probability out of fold."""

    row: int
    class_index: int
    probability: float
    label: Label


@dataclass(frozen=True)
class Scores:
    """From the learner: how good it is, and what it expects of every image.

    f1 : per class, out of fold on the fair sample; not a number for a class that it does not show.
    n_fair : images that this was measured on; n_labels : it was trained on.
    is_fair : whether those are the fair sample, or all, because it is small yet.
    near_chance : whether a random ranking would do as well in most classes.
    probabilities : (N, C), calibrated; not numbers where an image has not been read yet.
    """

    f1: tuple[float, ...]
    macro_f1: float
    n_fair: int
    is_fair: bool
    n_labels: int
    near_chance: bool
    probabilities: NDArray[np.float16]
    doubts: tuple[Doubt, ...]
    seconds: float


@dataclass(frozen=True)
class Outlook:
    """From the learner: what `more` labels would bring, or why that cannot be forecast.

    macro : of the mean over classes; of_class : of each class that has a forecast.
    """

    n_labels: int
    more: int
    macro: Forecast | None
    of_class: Mapping[int, Forecast] = field(default_factory=dict)
    refusal: str = ""


Message = Progress | Ranking | Scores | Outlook
