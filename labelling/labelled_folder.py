"""A labelled folder as a table: names, labels and, where they were kept, what a learner expects."""

import csv
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from shared.errors import DatasetError
from shared.images.decoding import BROKEN, open_image
from shared.images.layout import read_split

PREDICTED = "p "  # begins the column of a class in chosen.csv


@dataclass(frozen=True)
class LabelledFolder:
    """What `images/`, `labels.csv` and `chosen.csv` say.

    names : of the images below images/.
    shown : the classes of each; None where its line is not filled in.
    predicted : name -> the probability of each class, as far as there are any.
    """

    folder: Path
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    shown: tuple[tuple[str, ...] | None, ...]
    predicted: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "LabelledFolder":
        """Raises DatasetError where the folder is not what it must be."""
        split = read_split("labelled", folder / "labels.csv", half_filled=True)
        shown = dict[Path, tuple[str, ...] | None]()
        for file, row in zip(split.images, split.labels.tolist(), strict=True):
            shown[file] = tuple(
                name for name, value in zip(split.class_names, row, strict=True) if value
            )
        shown |= dict.fromkeys(split.pending)
        names = [file.relative_to(folder / "images").as_posix() for file in shown]
        predicted = _predictions(folder / "chosen.csv", split.class_names)
        return cls(folder, split.class_names, tuple(names), tuple(shown.values()), predicted)

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each image, as it is stored."""
        return tuple(size_of(self.folder / "images" / name) for name in self.names)


def size_of(file: Path) -> tuple[int, int]:
    """Width and height of an image, as it is stored. Raises DatasetError where it is none."""
    try:
        with open_image(file) as image:
            return image.size
    except BROKEN as error:
        raise DatasetError(
            "unreadable-image", f"The image {file} cannot be read ({error}). Replace it."
        ) from error


def _predictions(path: Path, class_names: tuple[str, ...]) -> dict[str, list[float]]:
    """Of chosen.csv, where it is there and a learner has looked."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    columns = [PREDICTED + name for name in class_names]
    if not rows or not set(columns) <= rows[0].keys():
        return {}
    return {
        row["filename"]: [float(row[column]) for column in columns]
        for row in rows
        if all(row[column] for column in columns)
    }
