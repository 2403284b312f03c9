"""One's own pictures: folders of labelled ones, and a pool that nobody has labelled."""

import hashlib
import sys
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from evaluator.data.decoding import BROKEN, decode, open_image
from evaluator.data.layout import SplitFiles, read_split
from evaluator.data.listing import IMAGE_SUFFIXES, is_folder, list_images
from evaluator.data.remarks import remarks_in_words
from evaluator.data.soundness import Examined, examine, in_words
from evaluator.errors import DatasetError

SEVERAL = 8  # threads that read files
NAMED = 3  # unusable images that are told by name


@dataclass(frozen=True)
class Images:
    """Image files as a data set of the challenge: `{"idx", "image" (H, W, 3), "label" (C,)}`.

    side : pixels at which either side is handed out, if it has more: photographs would fill the
        memory, and the learner makes a square of them anyway.
    """

    files: tuple[Path, ...]
    labels: NDArray[np.uint8]  # (N, C); zeros where nobody knows
    side: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        upright = self._upright(idx)
        small = (min(upright.width, self.side), min(upright.height, self.side))
        if small != upright.size:
            upright = upright.resize(small, reducing_gap=2.0)
        return {"idx": idx, "image": np.asarray(upright), "label": self.labels[idx]}

    def in_proportion(self, idx: int) -> NDArray[np.uint8]:
        """The image (H, W, 3), shrunk to `side` without being squeezed."""
        upright = self._upright(idx)
        upright.thumbnail((self.side, self.side))
        return np.asarray(upright)

    def _upright(self, idx: int) -> Image.Image:
        try:
            with open_image(self.files[idx]) as image:
                image.draft("RGB", (self.side, self.side))  # a JPEG is decoded no larger
                return decode(image).rgb
        except BROKEN as error:
            raise _unreadable(self.files[idx], error) from error


@dataclass(frozen=True)
class Labelled:
    """What the `--labelled` folders hold.

    images : those that are labelled.
    drawn : so many of them, the first ones, are of the first folder.
    pending : files that wait for their labels.
    """

    images: Images
    drawn: int
    class_names: tuple[str, ...]
    pending: tuple[Path, ...]


def read_labelled(folders: Sequence[Path], side: int) -> Labelled:
    """What all `folders` hold; the names of the classes must be the same in each.

    Images that are the same to the byte count once. Raises DatasetError with file and line where a
    folder is not what it must be, where such images have different labels, where no image is
    labelled, and where one cannot be used.
    """
    tables = [_table(folder) for folder in folders]
    parts: list[SplitFiles] = []
    for table in tables:
        class_names = parts[0].class_names if parts else None
        part = read_split("labelled", table, class_names, half_filled=True)
        if waiting := len(part.pending):
            total = len(part.images) + waiting
            say(f"{waiting} of {total} images in {table.parent} are not labelled yet")
        parts.append(part)
    files = tuple(file for part in parts for file in part.images)
    if not files:
        raise DatasetError(
            "nothing-labelled",
            f"No image in {', '.join(str(table.parent) for table in tables)} is labelled yet. Fill "
            "in some lines of labels.csv, or add a folder with labels.",
        )
    labels = np.concatenate([part.labels for part in parts])
    first: dict[Hashable, int] = {}
    for row, content in enumerate(contents_of(files)):
        other = first.setdefault(content, row)
        if not np.array_equal(labels[row], labels[other]):
            raise DatasetError(
                "labels-disagree",
                f"{files[other]} and {files[row]} are the same image, and have different labels. "
                "Correct one of them, or leave one out.",
            )
    rows = list(first.values())
    if len(rows) < len(files):
        say(f"{len(files) - len(rows)} of {len(files)} labelled images stand twice and count once")
    images = Images(tuple(files[row] for row in rows), labels[rows], side)
    examined = examine_all("labelled", images.files)
    if bad := {file: one.damage for file, one in examined.items() if one.damage}:
        raise DatasetError(
            "unreadable-image",
            f"{len(bad)} of {len(files)} labelled images cannot be used ({first_of(bad)}). "
            "Replace them, or remove their files and lines.",
        )
    _say_remarks("labelled", examined.values())
    pending = tuple(file for part in parts for file in part.pending)
    drawn = sum(row < len(parts[0].images) for row in rows) or len(rows)
    return Labelled(images, drawn, parts[0].class_names, pending)


def _table(given: Path) -> Path:
    """The labels.csv of a labelled folder, or the one that was given itself."""
    return given if not is_folder(given) and given.is_file() else given / "labels.csv"


def read_pool(folder: Path, labelled: Labelled, excluded: Sequence[Path] = ()) -> Images:
    """The images below `folder` that can be read and are not labelled yet, each once.

    What they are called does not matter; nor is any chosen that waits for its labels, or lies
    below an `excluded` folder.
    Raises DatasetError where there is none.
    """
    if not is_folder(folder):
        raise DatasetError(
            "empty-pool", f"{folder} is not a folder. Give the one with the images to choose from."
        )
    listing = list_images(folder)
    files, others = listing.images, listing.others_in_words
    if not files:
        listing.refuse_absent()
        raise DatasetError(
            "empty-pool",
            f"{folder} holds no image: what is read is {', '.join(sorted(IMAGE_SUFFIXES))}; "
            f"{others or 'nothing else lies there'}. Convert them, or give the folder with the "
            "images to choose from.",
        )
    if others:
        say(others)
    if absent := listing.absent_in_words:
        say(f"{absent}, and are left out")
    elsewhere = [file for one in excluded for file in _excluded_files(one)]
    not_these = [*labelled.images.files, *labelled.pending, *elsewhere]
    contents = contents_of([*not_these, *files])
    known = set(contents[: len(not_these)])
    fresh: dict[Hashable, Path] = {}
    for file, content in zip(files, contents[len(not_these) :], strict=True):
        if content not in known:
            fresh.setdefault(content, file)
    if left_out := len(files) - len(fresh):
        say(f"{left_out} of {len(files)} images are labelled already, excluded or duplicates")
    examined = examine_all("pool", list(fresh.values()))
    if bad := {file: one.damage for file, one in examined.items() if one.damage}:
        say(f"{len(bad)} of {len(files)} images cannot be used and are left out ({first_of(bad)})")
    _say_remarks("pool", examined.values())
    usable = tuple(file for file in fresh.values() if file not in bad)
    if not usable:
        raise DatasetError(
            "empty-pool",
            f"{folder} holds {len(files)} images, and none that can be chosen: all are labelled "
            "already, excluded or broken. Give the folder with the images to choose from.",
        )
    nobody_knows = np.zeros((len(usable), len(labelled.class_names)), np.uint8)
    return Images(usable, nobody_knows, labelled.images.side)


def _excluded_files(folder: Path) -> tuple[Path, ...]:
    """The images below a folder of which none may be chosen.

    Raises DatasetError where it holds none, or one is not on this disk: it could be chosen.
    """
    if not is_folder(folder):
        raise DatasetError("nothing-excluded", f"--exclude {folder} is not a folder.")
    listing = list_images(folder)
    listing.refuse_absent()
    if not listing.images:
        raise DatasetError(
            "nothing-excluded",
            f"--exclude {folder} holds no image: what is read is "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}; "
            f"{listing.others_in_words or 'nothing else lies there'}. Convert them, or leave the "
            "folder out.",
        )
    if listing.others:
        say(f"--exclude {folder}: {listing.others_in_words}")
    return listing.images


def examine_all(name: str, files: Sequence[Path]) -> dict[Path, Examined]:
    """What reading each file to its end has shown."""
    with ThreadPoolExecutor(SEVERAL) as threads:
        bar = tqdm(threads.map(examine, files), f"reading {name}", len(files), disable=None)
        return dict(zip(files, bar, strict=True))


def _say_remarks(name: str, examined: Iterable[Examined]) -> None:
    remarks = np.array([one.remarks for one in examined if not one.damage], np.uint8)
    for line in remarks_in_words(remarks):
        say(f"notice: {name}: {line}.")


def first_of(bad: dict[Path, str]) -> str:
    """The first of the files that cannot be used, and why."""
    named = [f"{str(file)!r}: {damage}" for file, damage in list(bad.items())[:NAMED]]
    return "; ".join(named + ["..."] * (len(bad) > NAMED))


def say(line: str) -> None:
    """Tell the person at the terminal, beside what the command prints as its result."""
    print(line, file=sys.stderr, flush=True)


def contents_of(files: Sequence[Path]) -> list[Hashable]:
    """One value for each file; equal for equal contents and for no others.

    Only files of one size are read: photographs are large, and seldom as large as another.
    """
    sizes = [file.stat().st_size for file in files]
    often = Counter(sizes)

    def content(file: Path, size: int) -> Hashable:
        try:
            return (size, hashlib.blake2b(file.read_bytes()).digest() if often[size] > 1 else file)
        except OSError as error:
            raise _unreadable(file, error) from error

    with ThreadPoolExecutor(SEVERAL) as threads:
        return list(threads.map(content, files, sizes))


def copy_image(file: Path, target: Path) -> None:
    """Copy `file` as it is. Raises DatasetError where it, and not `target`, is in the way.

    Nothing is written over: on some disks, names that differ in case or Unicode form are one.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error
    with target.open("xb") as opened:
        opened.write(content)


def _unreadable(file: Path, error: Exception) -> DatasetError:
    return DatasetError(
        "unreadable-image",
        f"The image {file} cannot be read ({in_words(file, error)}). Replace it or move it away.",
    )
