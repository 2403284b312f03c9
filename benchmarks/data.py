"""Decoding a data set once: how long, in how much memory, and how soon it opens afterwards.

    python benchmarks/data.py                          # makes 14,000 images of 256 px before
    python benchmarks/data.py --data data/pcb_boards   # files there are already

Building reads labels, decodes every image of the three splits and writes them as they are mapped
into memory; opening does all that `open_splits` does when the decoded images are there. Each runs
in a process of its own, its clock started after its imports. Beside them Pillow decodes the same
files one after the other in one thread. Files that were just written lie in the system's page
cache; a cold disk adds its own time.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import hardware, print_table
from evaluator.data.cache import cached_images, load_images
from evaluator.synthetic import RECIPES, generate
from shared.images.layout import SPLITS, SplitFiles, find_splits, read_split

GOAL_BUILD_S, GOAL_OPEN_S, GOAL_GB = 60, 1, 3


@dataclass(frozen=True)
class Measured:
    """Seconds; peak of resident memory in GB, mapped pages included; images handled."""

    seconds: float
    peak_gb: float
    images: int


def read(root: Path) -> list[SplitFiles]:
    """Files and labels of the three splits."""
    found, splits = find_splits(root), list[SplitFiles]()
    for name in SPLITS:
        splits.append(read_split(name, found[name], splits[0].class_names if splits else None))
    return splits


def open_cached(root: Path, folder: Path, workers: int) -> int:
    """What `open_splits` does, with the decoded images in `folder` and not beside the data."""
    arrays = [
        load_images(cached_images(split, folder, workers=workers, progress=False))
        for split in read(root)
    ]
    return sum(len(array) for array in arrays)


def decode_one_by_one(root: Path, _folder: Path, _workers: int) -> int:
    """Pillow in one thread, nothing kept."""
    files = [file for split in read(root) for file in split.images]
    for file in files:
        with Image.open(file) as image:
            np.asarray(image.convert("RGB"))
    return len(files)


def measured(
    work: Callable[[Path, Path, int], int], root: Path, folder: Path, workers: int
) -> Measured:
    """`work` under the clock, in this process, which does nothing else."""
    # From here on, VmHWM is this work's peak.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    started = time.perf_counter()
    images = work(root, folder, workers)
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return Measured(seconds, int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9, images)


def alone(
    work: Callable[[Path, Path, int], int], root: Path, folder: Path, workers: int
) -> Measured:
    """`measured` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(measured, work, root, folder, workers).result()


def main() -> None:
    """Parse the flags, measure, print a Markdown table and the goals."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="a data set (default: synthetic images)")
    parser.add_argument("--images", type=int, default=14_000, help="synthetic images")
    parser.add_argument("--size", type=int, default=256, help="pixels of the synthetic images")
    parser.add_argument("--workers", type=int, default=2, help="threads that decode")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = flags.data
        if root is None:  # in the shares of the challenge: 1,000, 10,000 and 3,000 of 14,000
            share = max(1, flags.images // 14)
            recipe = replace(
                RECIPES["round2"],
                training=share,
                unlabelled=flags.images - 4 * share,
                validation=3 * share,
            )
            root = generate(recipe, Path(scratch) / "sheets", size=flags.size)
        folder = Path(scratch) / "decoded"
        folder.mkdir()
        one_by_one = alone(decode_one_by_one, root, folder, 1)
        built = alone(open_cached, root, folder, flags.workers)
        opened = alone(open_cached, root, folder, flags.workers)
        shape = load_images(next(folder.glob("training-*.npy"))).shape
    print(f"{hardware('cpu')}; {root.name}, {built.images:,} images, {shape[2]} x {shape[1]} px")
    rows = [
        [name, f"{one.seconds:.2f}", f"{one.images / one.seconds:,.0f}", f"{one.peak_gb:.2f}", goal]
        for name, one, goal in (
            (
                f"decode and keep, {flags.workers} threads",
                built,
                f"under {GOAL_BUILD_S} s and {GOAL_GB} GB for 14,000 images of 256 px",
            ),
            ("open afterwards", opened, f"under {GOAL_OPEN_S} s"),
            ("Pillow, one thread, nothing kept", one_by_one, ""),
        )
    ]
    print_table(("", "seconds", "images/s", "peak, GB", "goal"), rows)
    ratio = one_by_one.seconds / built.seconds
    print(
        f"one pass of the plain loop takes {ratio:.2f} times as long as decoding once and keeping"
    )


if __name__ == "__main__":
    main()
