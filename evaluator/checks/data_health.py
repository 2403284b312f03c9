"""Whether the data sets in a folder are whole, told from their files without decoding them all."""

from pathlib import Path

from PIL import Image

from evaluator.checks.checks import Check
from evaluator.data.decoding import BROKEN
from evaluator.data.layout import SplitFiles, find_splits, read_split
from evaluator.errors import DatasetError

PAINT = "python -m evaluator data make --recipe demo"


def data_checks(data: Path) -> list[Check]:
    """One check per folder in `data`; one that says so where there is none."""
    folders = [path for path in sorted(data.glob("[!.]*")) if path.is_dir()]
    if not folders:
        detail = f"no data set in {data}; the evaluation paints sheets when it finds none"
        return [Check("data", "warn", detail, PAINT)]
    return [_check(folder) for folder in folders]


def _check(root: Path) -> Check:
    name = f"data: {root.name}"
    if next(root.rglob("labels.csv"), None) is None:
        return Check(name, "warn", f"{root} is no data set: no labels.csv in it", PAINT)
    try:
        splits = _read(root)
        sizes = {_size(split.images[0]) for split in splits}
    except (DatasetError, OSError) as error:
        return Check(name, "fail", str(error), f"python -m evaluator data check {root}")
    counts = ", ".join(f"{len(split.images):,} {split.name}" for split in splits)
    classes = len(splits[0].class_names)
    return Check(name, "ok", f"{counts}; {classes} classes; {', '.join(sorted(sizes))} px")


def _read(root: Path) -> list[SplitFiles]:
    files = find_splits(root)
    training = read_split("training", files.pop("training"))
    return [training, *(read_split(*split, training.class_names) for split in files.items())]


def _size(path: Path) -> str:
    try:
        with Image.open(path) as image:
            image.load()
            return f"{image.width} x {image.height}"
    except BROKEN as error:
        raise OSError(f"the image {path} cannot be read ({error})") from error
