"""Where a data set's splits lie on disk, and what their `labels.csv` says.

The challenge's archives are read tolerantly: `labels.csv` at any depth, columns matched by
class name. What is written in them is read strictly: every refusal names the file and line.
"""

import logging
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.errors import DatasetError
from shared.images.image_names import ImageNames
from shared.images.label_table import (
    Row,
    class_columns,
    columns_named,
    read_rows,
    unclosed_quote,
)
from shared.images.listing import (
    IMAGE_SUFFIXES,
    folders_below,
    is_file,
    is_folder,
    visible_below,
    where_content_is,
    why_absent,
)
from shared.images.names import canonical, forms_in_words
from shared.images.split_names import plain, split_called

logger = logging.getLogger(__name__)

SPLITS = ("training", "unlabelled", "validation")
TEST = "test"
ZERO_ONE = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


@dataclass(frozen=True)
class SplitFiles:
    """One split as it lies on disk: image paths and their labels, in the order of labels.csv."""

    name: str
    labels_csv: Path
    class_names: tuple[str, ...]
    images: tuple[Path, ...]  # N paths
    lines: tuple[int, ...]  # N line numbers in labels_csv
    labels: np.ndarray  # (N, C) uint8 of 0/1
    pending: tuple[Path, ...] = ()  # images whose cells are all empty, where that is allowed


def find_splits(root: Path) -> dict[str, Path]:
    """The `labels.csv` of each split below `root`, by split name.

    A test split counts as the validation split where there is no other, as in many exports.
    Raises DatasetError where a split is missing or stands there twice.
    """
    if not is_folder(root):
        raise DatasetError(
            "missing-split", f"{root} is not a folder. Give the folder that holds {_wanted()}."
        )
    found: dict[str, list[Path]] = {split: [] for split in (*SPLITS, TEST)}
    tables = (
        folder / "labels.csv" for folder, names in folders_below(root) if "labels.csv" in names
    )
    for labels_csv in sorted(tables):
        split = _split_of(labels_csv.relative_to(root))
        if split in found:
            found[split].append(labels_csv)
    tests = found.pop(TEST)
    if not found["validation"]:
        found["validation"] = tests
    elif tests:
        logger.info(
            "notice: %s is not read; held out is %s",
            *(paths[0].parent for paths in (tests, found["validation"])),
        )
    for split, paths in found.items():
        if not paths:
            raise DatasetError(
                "missing-split",
                f"{root} has no labels.csv for the split {split!r}: expected {_wanted()}, "
                f"each with images/ and labels.csv, at any depth.",
            )
        if len(paths) > 1:
            raise DatasetError(
                "split-twice",
                f"{root} has {len(paths)} splits named {split!r}: "
                f"{', '.join(str(path.parent) for path in paths)}. Keep one.",
            )
    return {split: paths[0] for split, paths in found.items()}


def read_split(
    name: str,
    labels_csv: Path,
    class_names: tuple[str, ...] | None = None,
    *,
    half_filled: bool = False,
) -> SplitFiles:
    """Read one split, its columns put in the order of `class_names` where given.

    A `name` that is none of SPLITS says that folders of other kinds are read one after another.
    `half_filled` sets lines without any label apart, as `pending`; else they are refused.
    """
    rows = read_rows(labels_csv)
    header = columns_named(rows[0].cells)
    others = "the training split" if name in SPLITS else "the first folder"
    columns = class_columns(labels_csv, rows[0].cells, class_names, others=others)
    folder = _images_folder(labels_csv)
    names, lines, labels = _parse_rows(labels_csv, folder, header, columns, rows[1:], half_filled)
    _check_files(labels_csv, folder, names, lines)
    files = [folder / file for file in names]
    known = [row for row, values in enumerate(labels) if values]
    return SplitFiles(
        name,
        labels_csv,
        tuple(columns),
        tuple(files[row] for row in known),
        tuple(lines[row] for row in known),
        np.array([labels[row] for row in known], np.uint8).reshape(len(known), len(columns)),
        tuple(file for file, values in zip(files, labels, strict=True) if not values),
    )


def _wanted() -> str:
    return ", ".join(f"{split}/" for split in SPLITS)


def _split_of(path: Path) -> str:
    """The split whose name the folders of `path` carry, the innermost first; empty where none."""
    for part in reversed(path.parts[:-1]):
        first = plain(part).split()[:1]  # archives have a version behind it: training-v0.2-rc4
        if first == ["pool"]:
            return "unlabelled"
        if split := split_called(part) or split_called("".join(first)):
            return split
    return ""


def _images_folder(labels_csv: Path) -> Path:
    folder = labels_csv.parent / "images"
    if not is_folder(folder):
        raise DatasetError(
            "missing-image",
            f"{labels_csv} has no folder images/ beside it ({folder}).{where_content_is(folder)}",
        )
    return folder


def _parse_rows(
    labels_csv: Path,
    folder: Path,
    header: list[str],
    columns: dict[str, int],
    rows: list[Row],
    half_filled: bool,
) -> tuple[list[str], list[int], list[list[int]]]:
    """Names, lines and labels; no labels in a line without any, where that is allowed."""
    if not rows:
        raise DatasetError(
            "labels-unreadable", f"{labels_csv} names no image; at least one is needed."
        )
    seen: dict[str, int] = {}
    spelt: dict[str, str] = {}
    labels: list[list[int]] = []
    filename = header.index("filename")
    for row in rows:
        line, cells = row.line, row.cells
        where = f"{labels_csv}, line {line}"
        if row.last_line > line and not _may_span_lines(folder, cells, filename):
            raise unclosed_quote(labels_csv, row)
        if len(cells) != len(header):
            raise DatasetError(
                "labels-row", f"{where}: {len(cells)} cells where the header has {len(header)}."
            )
        name = _as_on_disk(folder, cells[filename])
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise DatasetError("labels-row", f"{where}: {name!r} is no file name inside images/.")
        name = Path(name).as_posix()  # "./a.png" and "a.png" are one image
        if name in seen:
            raise DatasetError(
                "duplicate-image",
                f"{where}: {name} stands on line {seen[name]} already"
                f"{forms_in_words([spelt[name], cells[filename].strip()])}.",
            )
        seen[name], spelt[name] = line, cells[filename].strip()
        values = [cells[column].strip() for column in columns.values()]
        if half_filled and not any(values):
            labels.append([])
            continue
        for class_name, value in zip(columns, values, strict=True):
            if value not in ZERO_ONE:
                raise DatasetError(
                    "bad-label", f"{where}: {class_name} is {value!r}; a label is 0 or 1."
                )
        labels.append([ZERO_ONE[value] for value in values])
    return list(seen), list(seen.values()), labels


def _may_span_lines(folder: Path, cells: Sequence[str], filename: int) -> bool:
    """Whether only a name has a line break in it, and a file is called so."""
    broken = [column for column, cell in enumerate(cells) if len(cell.strip().splitlines()) > 1]
    return not broken or (broken == [filename] and is_file(folder / cells[filename]))


def _as_on_disk(folder: Path, name: str) -> str:
    """The name as its file has it: with spaces around it or none, in whichever Unicode form.

    Where there is no such file, the name without spaces around it.
    """
    bare = name.strip()
    if name == bare and name.isascii():
        return name
    spellings = (name, bare, *(unicodedata.normalize(form, bare) for form in ("NFC", "NFD")))
    return next((one for one in spellings if is_file(folder / one)), _in_any_form(folder, bare))


def _in_any_form(folder: Path, name: str) -> str:
    """The name with each of its folders, and the file, in the Unicode form that it has on disk."""
    found = Path()
    for part in Path(name).parts:
        try:
            here = [path.name for path in (folder / found).iterdir()]
        except (OSError, ValueError):  # the folder before was not found
            return name
        alike = [other for other in here if canonical(other) == canonical(part)]
        if len(alike) != 1:
            return name
        found /= alike[0]
    return found.as_posix()


def _check_files(labels_csv: Path, folder: Path, names: list[str], lines: list[int]) -> None:
    # Behind a link may lie more than this split's own images, and these under another name.
    own = visible_below(folder, links=False)
    images = (path for path in own if path.suffix.lower() in IMAGE_SUFFIXES)
    present = {path.relative_to(folder).as_posix() for path in images}
    for name, line in zip(names, lines, strict=True):
        file = folder / name
        if why := why_absent(file) if os.path.lexists(file) else "":
            raise DatasetError(
                "missing-image",
                f"{labels_csv}, line {line}: the image {file} is not on this disk ({why}).",
            )
        if name not in present and not is_file(file):
            raise DatasetError(
                "missing-image",
                f"{labels_csv}, line {line}: the image {name} is missing from {folder}."
                + (where_content_is(file) or _did_you_mean(folder, name, present)),
            )
    unlabelled = sorted(present.difference(Path(name).as_posix() for name in names))
    if unlabelled:
        raise DatasetError(
            "image-without-label",
            f"{folder / unlabelled[0]} has no line in {labels_csv} "
            f"({len(unlabelled)} such images). Add the lines or move the images away.",
        )


def _did_you_mean(folder: Path, name: str, present: set[str]) -> str:
    """The images that may have been meant by a name from elsewhere, or from another tool."""
    names = ImageNames(folder, [folder / image for image in sorted(present)])
    alike = [*names.meant_by(name).files, *names.called_alike(name)][:1]
    return "".join(f" Did you mean {file.relative_to(folder).as_posix()!r}?" for file in alike)
