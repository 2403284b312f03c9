"""What was chosen, as a folder for those who label."""

import csv
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from labelling.fingerprints import SEVERAL
from labelling.pictures import Images, copy_image
from labelling.sheet import contact_sheet
from shared.atomic_io import atomic_directory


@dataclass(frozen=True)
class Choice:
    """What was chosen: rows of the pool in the order of choice, and what is predicted of them.

    strategy : what chose.
    expected : row -> one probability per class; empty where the strategy uses no model.
    uses_model : whether the strategy chooses by what a model makes of the images.
    n_read : so many images of the pool were candidates.
    f1 : the learner's F1 per class, cross-validated on what is labelled; empty without a model.
    prevalence : (C,) the share of each class in the images that this was measured on.
    near_chance : whether it went by probabilities that rank hardly better than at random.
    log : what the buyer logged.
    """

    strategy: str
    rows: list[int]
    expected: dict[int, list[float]]
    uses_model: bool
    n_read: int
    f1: list[float]
    prevalence: NDArray[np.float64]
    near_chance: bool
    log: str


def export_batch(
    choice: Choice, pool: Images, root: Path, class_names: Sequence[str], out: Path
) -> None:
    """Write the folder for those who label, whole or not at all.

    Images keep their paths below `root`, the pool's folder.
    """
    files = [pool.files[row] for row in choice.rows]

    def put(number: int, target: Path) -> None:
        copy_image(files[number], target)

    with atomic_directory(out) as folder:
        names = [file.relative_to(root).as_posix() for file in files]
        empty = [""] * len(class_names)
        write_labelled(folder, names, class_names, [empty] * len(names), put)
        write_table(
            folder / "chosen.csv",
            ["rank", "filename", *(f"p {name}" for name in class_names)],
            (
                [rank, name, *(choice.expected[row] or empty)]
                for rank, (row, name) in enumerate(zip(choice.rows, names, strict=True), start=1)
            ),
        )
        title = f"{choice.strategy}: {len(names):,} of {len(pool):,} images in {root}"
        expected = [choice.expected[row] for row in choice.rows]
        page = contact_sheet(title, names, class_names, expected)
        (folder / "chosen.html").write_text(page, encoding="utf-8")
        (folder / "buyer.log").write_text(choice.log, encoding="utf-8")


def write_labelled(
    folder: Path,
    names: Sequence[str],
    class_names: Sequence[str],
    labels: Sequence[Sequence[Any]],
    put: Callable[[int, Path], None],
) -> None:
    """Write `images/`, the n-th by `put(n, where)` under the n-th of `names`, and `labels.csv`."""

    def write(number: int) -> None:
        target = folder / "images" / names[number]
        target.parent.mkdir(parents=True, exist_ok=True)
        put(number, target)

    with ThreadPoolExecutor(SEVERAL) as threads:
        done = threads.map(write, range(len(names)))
        for _ in tqdm(done, f"writing {folder.name}", len(names), disable=None):
            pass
    table = ([name, *values] for name, values in zip(names, labels, strict=True))
    write_table(folder / "labels.csv", ["filename", *class_names], table)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file that spreadsheets read, too."""
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # or Excel takes it for cp1252
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
