"""One's own labelled pictures, divided at random into the three splits that the evaluator reads."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from core.random_streams import stream
from labelling.folder import write_labelled
from labelling.pictures import Labelled, copy_image, read_labelled, say
from shared.atomic_io import atomic_directory
from shared.errors import ConfigurationError
from shared.images.layout import SPLITS
from shared.images.names import canonical

AS_THEY_ARE = 1 << 30  # pixels of a side that no image has


@dataclass(frozen=True)
class Amount:
    """Images of a split: so many, or so large a share of all."""

    number: float
    is_share: bool

    @classmethod
    def parse(cls, text: str) -> "Amount":
        """`200`, or `20%`. Raises ValueError for what is neither."""
        is_share = text.endswith("%")
        found = cls(float(text[:-1]) if is_share else int(text), is_share)
        if not 0 < found.number < (100 if found.is_share else float("inf")):
            raise ValueError(f"{text} is not an amount of images")
        return found

    def of(self, n: int) -> int:
        """Of `n` images; at least one."""
        return max(1, round(n * self.number / 100)) if self.is_share else int(self.number)

    def __str__(self) -> str:
        return f"{self.number:g}%" if self.is_share else f"{self.number:g}"


@dataclass(frozen=True)
class Division:
    """Which images go where.

    names : of all images, as they will be called below images/.
    rows : split -> which of them, in an order drawn at random.
    """

    labelled: Labelled
    names: tuple[str, ...]
    rows: dict[str, list[int]]


def divide(
    folders: Sequence[Path],
    training: Amount,
    validation: Amount,
    *,
    together: str | None = None,
    side: int | None = None,
    seed: int = 0,
) -> Division:
    """Draw at random what is training, what is held out, and what is the pool.

    Images with the same pixels count once. Of those whose names (as the splits will have
    them) match the regular expression `together` alike, in its first group if it has one, all go to
    one split, so that amounts are met as nearly as whole groups allow. `side` is the most pixels
    that either side of an image will have. Raises DatasetError or ConfigurationError where the
    folders or the wishes are not what they must be.
    """
    labelled = read_labelled(folders, side or AS_THEY_ARE)
    names = _names(folders, labelled.images.files)
    groups = defaultdict[str, list[int]](list)
    for row, name in enumerate(names):
        groups[_key(name, together)].append(row)
    lots = [groups[key] for key in sorted(groups)]
    if together is not None:
        say(f"{len(names)} images in {len(lots)} groups, the largest of {max(map(len, lots))}")
    rng = stream(seed, "splits")
    rows: dict[str, list[int]] = {split: [] for split in SPLITS}
    wanted = {"validation": validation.of(len(names)), "training": training.of(len(names))}
    for lot in torch.randperm(len(lots), generator=rng).tolist():
        size = len(lots[lot])
        lacking = (s for s in wanted if wanted[s] - len(rows[s]) >= size / 2)
        rows[next(lacking, "unlabelled")] += lots[lot]
    for split, own in rows.items():
        if not own:
            raise ConfigurationError(
                "bad-split",
                f"{len(names)} images in {len(lots)} groups leave none for {split} where training "
                f"takes {training} and validation {validation}. Take less of them, add images, or "
                "let --together make smaller groups.",
            )
        rows[split] = [own[i] for i in torch.randperm(len(own), generator=rng).tolist()]
    return Division(labelled, names, rows)


def write_splits(division: Division, out: Path) -> None:
    """Write the three splits, whole or not at all; images no larger than they were asked for."""
    images, shrink = division.labelled.images, division.labelled.images.side < AS_THEY_ARE
    with atomic_directory(out) as whole:
        for split, rows in division.rows.items():

            def put(number: int, target: Path, rows: list[int] = rows) -> None:
                if shrink:
                    Image.fromarray(images.in_proportion(rows[number])).save(target)
                else:
                    copy_image(images.files[rows[number]], target)

            names = [division.names[row] + (".png" if shrink else "") for row in rows]
            labels = images.labels[rows].tolist()
            write_labelled(whole / split, names, division.labelled.class_names, labels, put)


def decoded_bytes(division: Division) -> int:
    """Bytes of all images decoded, as the evaluator keeps them, all as large as the first."""
    images = division.labelled.images
    return len(images) * images.in_proportion(0).nbytes


def _names(folders: Sequence[Path], files: Sequence[Path]) -> tuple[str, ...]:
    """What images are called below images/; of several folders, below the folder's own name."""
    homes = [folder.parent if folder.is_file() else folder for folder in folders]
    called = [home.resolve().name for home in homes]
    if len(set(called)) < len(called):
        raise ConfigurationError(
            "bad-split",
            f"Two of the folders are called {max(called, key=called.count)}, and so would their "
            "images. Rename one.",
        )
    of = dict(zip(homes, called, strict=True))

    def name(file: Path) -> str:
        home = next(parent for parent in file.parents if parent in of)
        own = file.relative_to(home / "images").as_posix()
        return own if len(of) == 1 else f"{of[home]}/{own}"

    return tuple(map(name, files))


def _key(name: str, together: str | None) -> str:
    if together is None:
        return name
    try:
        found = re.search(canonical(together), canonical(name))
    except re.error as error:
        raise ConfigurationError(
            "bad-split", f"--together '{together}' is not a regular expression: {error}."
        ) from None
    if found is None:
        raise ConfigurationError(
            "bad-split", f"--together '{together}' matches nothing in {name!r}. It must in all."
        )
    return found[1] if found.re.groups and found[1] is not None else found[0]
