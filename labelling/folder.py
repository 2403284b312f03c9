"""A labelled folder, as it is written: `images/` and `labels.csv`."""

import csv
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from labelling.fingerprints import SEVERAL


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
