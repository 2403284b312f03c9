"""How fast synthetic images are made, at 64 and 256 px, and what file formats cost."""

import argparse
import io
import os
import platform
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluator.synthetic import RECIPES, generate, render


def main() -> None:
    """Parse the flags and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sheets", type=int, default=14_000, help="sheets to time")
    parser.add_argument("--data", type=Path, help="keep the sheets here")
    flags = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = flags.data or Path(scratch)
        time_formats()
        time_generation(folder, flags.sheets)


def time_formats() -> None:
    """Seconds and bytes per file for the formats that could hold a sheet."""
    formats: dict[str, dict[str, Any]] = {
        "JPEG 95 4:4:4": {"format": "JPEG", "quality": 95, "subsampling": 0},
        "JPEG 95 4:2:0": {"format": "JPEG", "quality": 95, "subsampling": 2},
        "PNG level 1": {"format": "PNG", "compress_level": 1},
    }
    print("| size | format | write ms | read ms | kB | mean error, grey levels |\n|-|-|-|-|-|-|")
    for size in (64, 256):
        sheets, _ = render(RECIPES["round2"], 0, "training", range(100), size)
        for name, options in formats.items():
            files, started = [], time.perf_counter()
            for sheet in sheets:
                buffer = io.BytesIO()
                Image.fromarray(sheet).save(buffer, **options)
                files.append(buffer)
            written = time.perf_counter() - started
            started = time.perf_counter()
            back = np.stack([np.asarray(Image.open(file)) for file in files])
            read = time.perf_counter() - started
            error = np.abs(back.astype(np.float32) - sheets).mean()
            kilobytes = sum(file.getbuffer().nbytes for file in files) / 1e3
            print(
                f"| {size} | {name} | {10 * written:.2f} | {10 * read:.2f} "
                f"| {kilobytes / 100:.1f} | {error:.2f} |"
            )


def time_generation(folder: Path, sheets: int) -> None:
    """Seconds to write a data set of `sheets` sheets, with every processor.

    Processor seconds are given beside them: other work on the machine leaves those alone.
    """
    print("| size | sheets | seconds | processor seconds | sheets/s | MB |\n|-|-|-|-|-|-|")
    share = sheets // 14
    recipe = replace(
        RECIPES["round2"], training=share, unlabelled=sheets - 4 * share, validation=3 * share
    )
    for size in (64, 256):
        started, worked = time.perf_counter(), _processor_seconds()
        out = generate(recipe, folder / f"speed-{size}", size=size)
        seconds, worked = time.perf_counter() - started, _processor_seconds() - worked
        megabytes = sum(file.stat().st_size for file in out.rglob("*.jpg")) / 1e6
        print(
            f"| {size} | {sheets} | {seconds:.1f} | {worked:.1f} | {sheets / seconds:.0f} "
            f"| {megabytes:.0f} |",
            flush=True,
        )


def _processor_seconds() -> float:
    mine, finished = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return mine.ru_utime + mine.ru_stime + finished.ru_utime + finished.ru_stime


if __name__ == "__main__":
    main()
