"""Pascal VOC image sets: `ImageSets/Main/scratch_train.txt`, a stem and 1 or -1 in each line."""

import re
from collections import Counter, defaultdict
from pathlib import Path

from labelling.formats.registry import reads
from labelling.formats.table import Entry, Source, Table, Wishes
from shared.errors import DatasetError

SET = re.compile(r"(?P<class_name>.+)_(?P<split>train|val|trainval|test)\.txt")
MEANINGS = {"1": True, "-1": False, "0": True}  # 0: it is there, and hard to see


def _is_voc(source: Source) -> bool:
    return source.is_folder and bool(_sets(source.path))


@reads("voc", _is_voc)
def read(source: Source, _: Wishes) -> Table:
    """One file for each class and split, which says of each image whether it shows the class.

    All splits are read. Raises DatasetError where a file leaves images out that another has:
    nothing is known of them, and a line of labels.csv is known in all classes, or in none.
    """
    known = defaultdict[str, dict[str, bool]](dict)  # image -> class -> whether it is shown
    lost = Counter[str]()
    for file, class_name in _sets(source.path):
        for number, line in Source(file).lines:
            stem, value = line.strip().rpartition(" ")[::2]
            if value not in MEANINGS:
                raise DatasetError(
                    "bad-label", f"{file}, line {number}: {line!r}; expected a name and 1, 0 or -1."
                )
            lost["marks as difficult (0): the image shows the class"] += value == "0"
            shown, before = MEANINGS[value], known[stem.strip()]
            if before.setdefault(class_name, shown) != shown:
                raise DatasetError(
                    "labels-disagree",
                    f"{file}, line {number}: {stem.strip()} shows {class_name} in one set and not "
                    "in another. Correct one of them.",
                )
    class_names = tuple(sorted({name for own in known.values() for name in own}))
    for stem, own in known.items():
        if len(own) < len(class_names):
            lacking = ", ".join(name for name in class_names if name not in own)
            raise DatasetError(
                "bad-import",
                f"{source.path}: nothing is said of {stem} and {lacking}. Every image needs a line "
                "in the sets of every class.",
            )
    entries = (
        Entry(stem, tuple(name for name, shown in own.items() if shown), f"image {stem}")
        for stem, own in known.items()
    )
    root = _home(source.path).parent.parent
    images = root / "JPEGImages"
    return Table(
        source.path,
        class_names,
        tuple(entries),
        images if images.is_dir() else root,
        lost=lost,
    )


def _home(path: Path) -> Path:
    inside = path / "ImageSets" / "Main"
    return inside if inside.is_dir() else path


def _sets(path: Path) -> list[tuple[Path, str]]:
    """The files of one class each, and the class."""
    found = ((file, SET.fullmatch(file.name)) for file in sorted(_home(path).glob("*.txt")))
    return [(file, match["class_name"]) for file, match in found if match]
