"""One's own pictures: folders of labelled ones, and a pool that nobody has labelled."""

import logging
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelling.fingerprints import Fingerprint, identities, shrink, take_fingerprints
from labelling.resaved import find_resaved
from shared.errors import DatasetError
from shared.images.decoding import BROKEN, read_picture
from shared.images.layout import SplitFiles, read_split
from shared.images.listing import IMAGE_SUFFIXES, is_folder, list_images
from shared.images.remarks import remarks_in_words
from shared.images.soundness import in_words

logger = logging.getLogger(__name__)

SMALLEST = 8  # pixels of an image's longer side, below which a learner has nothing to look at
NAMED = 3  # images of a kind that are listed by name
REASONS = LABELLED, PENDING, EXCLUDED, DUPLICATE = (
    "labelled",
    "waiting for labels",
    "excluded",
    "duplicates",
)


@dataclass(frozen=True)
class Images:
    """Image files as a data set of the challenge: `{"idx", "image" (H, W, 3), "label" (C,)}`.

    side : pixels at which either side is handed out, if it has more: photographs would fill the
        memory, and the learner makes a square of them anyway.
    fingerprints : of the files, with small images where these were read at that size and kept.
    n_left_out : images of a pool that need no label: labelled already, excluded or duplicates.
    """

    files: tuple[Path, ...]
    labels: NDArray[np.uint8]  # (N, C); zeros where nobody knows
    side: int
    fingerprints: Mapping[Path, Fingerprint] = field(default_factory=dict)
    n_left_out: int = 0

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        fingerprint = self.fingerprints.get(self.files[idx])
        if fingerprint is None or (image := fingerprint.small) is None:
            image = np.asarray(shrink(self._upright(idx), self.side))
        return {"idx": idx, "image": image, "label": self.labels[idx]}

    @property
    def longest_sides(self) -> list[int]:
        """In pixels, of each image as it lies on disk, as far as that is known."""
        known = (self.fingerprints.get(file) for file in self.files)
        return [max(fingerprint.size) for fingerprint in known if fingerprint]

    def in_proportion(self, idx: int) -> NDArray[np.uint8]:
        """The image (H, W, 3), shrunk to `side` without being squeezed."""
        upright = self._upright(idx)
        upright.thumbnail((self.side, self.side))
        return np.asarray(upright)

    def _upright(self, idx: int) -> Image.Image:
        try:
            return read_picture(self.files[idx], self.side).rgb
        except BROKEN as error:
            raise _unreadable(self.files[idx], error) from error


@dataclass(frozen=True)
class Labelled:
    """What the `--labelled` folders hold.

    images : those that are labelled.
    drawn : so many of them, the first ones, are of the first folder.
    pending : files that wait for their labels.
    fingerprints : of all files, also of those that stand twice.
    """

    images: Images
    drawn: int
    class_names: tuple[str, ...]
    pending: tuple[Path, ...]
    fingerprints: Mapping[Path, Fingerprint]


def read_labelled(folders: Sequence[Path], side: int) -> Labelled:
    """What all `folders` hold; the names of the classes must be the same in each.

    Images with the same pixels count once. Raises DatasetError with file and line where a folder is
    not what it must be, where such images have different labels, where one cannot be read, and
    where none is labelled.
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
    pending = tuple(file for part in parts for file in part.pending)
    fingerprints = take_fingerprints([*files, *pending], side, keep=True, what="labelled")
    if bad := {file: why for file, one in fingerprints.items() if (why := _useless(one))}:
        raise DatasetError(
            "unreadable-image",
            f"{len(bad)} of {len(fingerprints)} labelled images cannot be used ({first_of(bad)}). "
            "Replace them, or remove their files and lines.",
        )
    same = identities(fingerprints)
    first: dict[Hashable, int] = {}
    for row, file in enumerate(files):
        other = first.setdefault(same[file], row)
        if not np.array_equal(labels[row], labels[other]):
            raise DatasetError(
                "labels-disagree",
                f"{files[other]} and {files[row]} are the same image, and have different labels. "
                "Correct one of them, or leave one out.",
            )
    rows = list(first.values())
    if len(rows) < len(files):
        say(f"{len(files) - len(rows)} of {len(files)} labelled images stand twice and count once")
    kept = tuple(files[row] for row in rows)
    images = Images(kept, labels[rows], side, fingerprints)
    _say_remarks("labelled", [fingerprints[file] for file in kept])
    drawn = sum(row < len(parts[0].images) for row in rows) or len(rows)
    return Labelled(images, drawn, parts[0].class_names, pending, fingerprints)


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
    elsewhere = {one: _excluded_files(one) for one in excluded}
    side, known = labelled.images.side, dict(labelled.fingerprints)
    for one, own in elsewhere.items():
        fingerprints = take_fingerprints(own, side, known=known, what="excluded")
        if bad := {file: one.damage for file, one in fingerprints.items() if one.damage}:
            raise DatasetError(
                "unreadable-image",
                f"--exclude {one}: {len(bad)} of {len(own)} images cannot be used "
                f"({first_of(bad)}), nor recognised in the pool. Replace them, or move them "
                "elsewhere.",
            )
        known |= fingerprints
    fingerprints = take_fingerprints(files, side, known=known, keep=True, what="pool")
    same = identities(known | fingerprints)
    reasons = _reasons(same, labelled, elsewhere)
    fresh, left_out = dict[Hashable, Path](), Counter[str]()
    bad = dict[Path, str]()
    for file in files:
        if why := _useless(fingerprints[file]):
            bad[file] = why
        elif reason := reasons.get(same[file]):
            left_out[reason] += 1
        elif fresh.setdefault(same[file], file) != file:
            left_out[DUPLICATE] += 1
    firsts = {same[file]: file for file in reversed(known)}
    resaved = find_resaved(
        {file: known[file] for file in firsts.values()},
        {file: fingerprints[file] for file in fresh.values()},
    )
    left_out.update(reasons[same[other]] for other in resaved.values())
    if bad:
        say(f"{len(bad)} of {len(files)} images cannot be used and are left out ({first_of(bad)})")
    _say_what_is_left_out(left_out, len(files))
    _say_what_was_saved_anew(resaved)
    in_pool = {same[file] for file in (*files, *resaved.values())}
    _say_what_was_found(labelled, elsewhere, {file for file in known if same[file] in in_pool})
    chosen_from = tuple(file for file in fresh.values() if file not in resaved)
    _say_remarks("pool", [fingerprints[file] for file in chosen_from])
    if not chosen_from:
        raise DatasetError(
            "empty-pool",
            f"{folder} holds {len(files)} images, and none that can be chosen: all are labelled "
            "already, excluded or broken. Give the folder with the images to choose from.",
        )
    nobody_knows = np.zeros((len(chosen_from), len(labelled.class_names)), np.uint8)
    return Images(chosen_from, nobody_knows, side, fingerprints, left_out.total())


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


def _useless(fingerprint: Fingerprint) -> str:
    """Why nobody can learn from an image; empty where one can."""
    if fingerprint.damage or max(fingerprint.size) >= SMALLEST:
        return fingerprint.damage
    width, height = fingerprint.size
    return f"it has {width} x {height} pixels, and one side must have at least {SMALLEST}"


def _reasons(
    same: Mapping[Path, Hashable], labelled: Labelled, excluded: Mapping[Path, Sequence[Path]]
) -> dict[Hashable, str]:
    """Why images of the pool are no candidates, by what they show; the first reason that fits."""
    found = dict[Hashable, str]()
    pending = set(labelled.pending)
    for file in labelled.fingerprints:
        found.setdefault(same[file], PENDING if file in pending else LABELLED)
    for file in (file for files in excluded.values() for file in files):
        found.setdefault(same[file], EXCLUDED)
    return found


def _say_what_is_left_out(reasons: Counter[str], images: int) -> None:
    if reasons:
        of_each = ", ".join(f"{reasons[reason]} {reason}" for reason in REASONS if reasons[reason])
        say(
            f"{reasons.total()} of {images} images are labelled already, excluded or duplicates "
            f"({of_each})"
        )


def _say_what_was_saved_anew(resaved: Mapping[Path, Path]) -> None:
    if resaved:
        named = "; ".join(
            f"{str(file)!r} is {str(other)!r}" for file, other in list(resaved.items())[:NAMED]
        )
        say(
            f"{len(resaved)} of them are no longer the same pixel for pixel, but one picture that "
            f"was compressed or resized ({named})"
        )


def _say_what_was_found(
    labelled: Labelled, excluded: Mapping[Path, Sequence[Path]], found: Collection[Path]
) -> None:
    """How many of the images that are not to be chosen are in the pool."""
    if not any(file in found for file in labelled.images.files):
        say(f"none of the {len(labelled.images)} labelled images is in the pool")
    for folder, files in excluded.items():
        if there := sum(file in found for file in files):
            say(f"--exclude {folder}: {there} of its {len(files)} images are in the pool")
        else:
            say(
                f"notice: --exclude {folder}: none of its {len(files)} images is in the pool. They "
                "are recognised by their pixels, also compressed or resized, but not cropped, "
                "rotated or retouched."
            )


def _say_remarks(name: str, fingerprints: Iterable[Fingerprint]) -> None:
    for line in remarks_in_words(np.array([one.remarks for one in fingerprints], np.uint8)):
        say(f"notice: {name}: {line}.")


def first_of(bad: Mapping[Path, str]) -> str:
    """The first of the files that cannot be used, and why."""
    named = [f"{str(file)!r}: {damage}" for file, damage in list(bad.items())[:NAMED]]
    return "; ".join(named + ["..."] * (len(bad) > NAMED))


def say(line: str) -> None:
    """Log what a person should know beside the result."""
    logger.info("%s", line)


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
