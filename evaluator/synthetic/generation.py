"""A whole data set on disk, in the challenge's layout, whole or not at all."""

import csv
import dataclasses
import io
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from evaluator.synthetic.recipes import Recipe
from evaluator.synthetic.render import DRAWING, Labels, checked_size, render
from shared.atomic_io import atomic_directory
from shared.errors import ConfigurationError, DatasetError
from shared.images.layout import SPLITS

# Measured in docs/sheets.md: at 160 px, JPEG at 95 without chroma subsampling is written 8 times
# as fast as PNG in half the bytes. PNG is exact, but what it keeps exactly is our own noise.
SUFFIX, QUALITY = ".jpg", 95
_CHUNK = 32  # sheets per task: a fraction of a second of work, so progress shows and workers share
_POOL_PIXELS = 4_000_000  # less than this is drawn sooner than a pool has started
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclasses.dataclass(frozen=True)
class _Task:
    recipe: Recipe
    seed: int
    split: str
    start: int
    stop: int
    size: int
    folder: str


def generate(
    recipe: Recipe,
    out: str | Path,
    *,
    seed: int = 0,
    size: int | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write `<out>/{training,unlabelled,validation}/{images/*,labels.csv}`; returns `out`.

    seed: 0 or more. size: side in pixels, the recipe's own by default. workers: processes, all
    processors that this process may use by default; the files do not depend on it. The set is
    written beside `out` and renamed when it is complete. If `out` already holds the very same set
    nothing is done; if it holds anything else, ConfigurationError is raised and nothing touched.
    Raises DatasetError where the disk refuses.
    """
    side, target = checked_size(recipe, size), Path(out)
    if seed < 0:
        raise ConfigurationError("sheets-setting", f"seed {seed}: expected 0 or more")
    if workers is not None and workers < 1:
        raise ConfigurationError(
            "sheets-setting", f"workers {workers}: expected 1 or more, or None for all"
        )
    description = _description(recipe, seed, side)
    if _already_there(target, description):
        return target
    try:
        with atomic_directory(target) as part:
            _write_splits(recipe, part, seed, side, workers, progress)
            (part / "recipe.json").write_text(description, encoding="utf-8")
    except DatasetError:
        if not _already_there(target, description):  # else somebody made it in the meantime
            raise
    return target


def _write_splits(
    recipe: Recipe, part: Path, seed: int, size: int, workers: int | None, progress: bool
) -> None:
    tasks = []
    for split in SPLITS:
        folder = part / split / "images"
        folder.mkdir(parents=True)
        count = recipe.count(split)
        tasks += [
            _Task(recipe, seed, split, start, min(start + _CHUNK, count), size, str(folder))
            for start in range(0, count, _CHUNK)
        ]
    sold: dict[str, list[Labels]] = {split: [] for split in SPLITS}
    total = sum(recipe.count(split) for split in SPLITS)
    bar = tqdm(
        total=total,
        desc=f"{recipe.name} at {size} px",
        unit="sheet",
        disable=None if progress else True,  # None: off where there is no terminal
    )
    with bar, _mapped(tasks, total * size * size, workers) as results:
        for task, labels in zip(tasks, results, strict=True):
            sold[task.split].append(labels)
            bar.update(len(labels))
    for split in SPLITS:
        (part / split / "labels.csv").write_text(
            _table(recipe, np.concatenate(sold[split])), encoding="utf-8", newline=""
        )


@contextmanager
def _mapped(tasks: list[_Task], pixels: int, workers: int | None) -> Iterator[Iterator[Labels]]:
    """The tasks' results in order, from this process or from a pool of fresh ones."""
    if workers is None:
        workers = 1 if pixels < _POOL_PIXELS else len(os.sched_getaffinity(0))
    if workers == 1:
        yield map(_write_chunk, tasks)
        return
    # Each worker has one processor; libraries that start a thread per processor would only
    # get in each other's way. They read these variables when they are first imported.
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool.map(_write_chunk, tasks)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _write_chunk(task: _Task) -> Labels:
    """Draw and write one chunk in a worker; returns its sold labels, uint8 (n, C)."""
    indices = range(task.start, task.stop)
    images, labels = render(task.recipe, task.seed, task.split, indices, task.size)
    for index, pixels in zip(indices, images, strict=True):
        Image.fromarray(pixels).save(
            Path(task.folder) / file_name(index), quality=QUALITY, subsampling=0
        )
    return labels


def file_name(index: int) -> str:
    """The name of a sheet's file; says nothing about what is on it."""
    return f"{index:06d}{SUFFIX}"


def _table(recipe: Recipe, labels: Labels) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["filename", *recipe.class_names])
    writer.writerows([file_name(i), *row] for i, row in enumerate(labels.tolist()))
    return text.getvalue()


def _description(recipe: Recipe, seed: int, size: int) -> str:
    """What decides every byte of the set, as it stands in recipe.json."""
    content = {
        "recipe": dataclasses.asdict(recipe), "seed": seed, "size": size, "drawing": DRAWING,
        "file": f"{SUFFIX} quality {QUALITY}",
    }  # fmt: skip
    return json.dumps(content, indent=2) + "\n"


def _already_there(target: Path, description: str) -> bool:
    """True if `target` is this very set, False if it is free; raises if it is something else."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    mark = target / "recipe.json"
    if mark.is_file() and mark.read_text(encoding="utf-8") == description:
        return True
    raise ConfigurationError(
        "folder-taken",
        f"{target} already holds something else (another recipe, version, seed, size or data set); "
        "choose another folder or remove it first",
    )
