"""How fast synthetic images are made, what file formats cost, and how hard the images are.

    python benchmarks/sheets.py                                     # speed and file formats
    python benchmarks/sheets.py --score round2 --pipeline lite      # macro-F1 by what is bought

Scores are the evaluator's own, of three purchases: nothing, the first 500 images of the pool (the
purchase whose five seeds the challenge's forum published) and all of it. Each seed is another
training. With frozen features, `--purchases all` needs five views of the whole pool;
`--pipeline lite:flips=false` trains on one of them and needs two.
"""

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

from benchmarks.tables import hardware, print_table
from evaluator.data.dataset import open_splits
from evaluator.synthetic import RECIPES, generate, render
from evaluator.training.pipelines import parse_pipeline
from evaluator.training.scoring import Scorer

FORUM_PURCHASE = 500


def main() -> None:
    """Parse the flags and print what they ask for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sheets", type=int, default=14_000, help="sheets to time")
    parser.add_argument("--data", type=Path, help="keep the sheets here")
    parser.add_argument("--score", choices=RECIPES, metavar="RECIPE", help="scores, and no times")
    parser.add_argument("--pipeline", nargs="+", default=["lite"], help="for --score (lite)")
    parser.add_argument(
        "--purchases", nargs="+", choices=("none", "first", "all"), default=["none", "first"]
    )
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each purchase (5)")
    flags = parser.parse_args()
    if flags.score:
        folder = flags.data or Path("data") / f"sheets-{flags.score}"
        score(flags.score, folder, flags.pipeline, flags.purchases, flags.seeds)
        return
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = flags.data or Path(scratch)
        time_formats()
        time_generation(folder, flags.sheets)


def score(
    recipe: str, folder: Path, pipelines: list[str], purchases: list[str], seeds: int
) -> None:
    """Macro-F1, and F1 of each class, by pipeline and purchase; means over `seeds` trainings."""
    splits = open_splits(generate(RECIPES[recipe], folder))
    scorer, n_pool = Scorer(splits, weights="imagenet"), len(splits.unlabelled)
    n_bought = {"none": 0, "first": min(FORUM_PURCHASE, n_pool), "all": n_pool}
    print(f"{hardware('cpu')}; {recipe}, {len(splits.validation):,} images scored", flush=True)
    rows = []
    for pipeline in map(parse_pipeline, pipelines):
        for purchase in purchases:
            records = [
                scorer.score("", range(n_bought[purchase]), pipeline, seed) for seed in range(seeds)
            ]
            crashed = [record.reason for record in records if record.status != "ok"]
            if crashed:
                raise SystemExit(f"{pipeline.name}, {purchase}: {crashed[0]}")
            macro = np.array([record.macro_f1 for record in records], float)
            spread = f"{macro.std(ddof=1):.3f}" if seeds > 1 else "-"
            by_class = [
                f"{np.mean([record.f1_per_class[name] for record in records]):.2f}"
                for name in splits.class_names
            ]
            bought = f"{n_bought[purchase]:,}"
            row = [pipeline.name, bought, str(seeds), f"{macro.mean():.3f}", spread, *by_class]
            rows.append(row)
            print(" ".join(row), file=sys.stderr, flush=True)
    print_table(("pipeline", "bought", "n", "macro-F1", "sd", *splits.class_names), rows)


def time_formats() -> None:
    """Seconds and bytes per file for the formats that could hold a sheet."""
    formats: dict[str, dict[str, Any]] = {
        "JPEG 95 4:4:4": {"format": "JPEG", "quality": 95, "subsampling": 0},
        "JPEG 95 4:2:0": {"format": "JPEG", "quality": 95, "subsampling": 2},
        "PNG level 1": {"format": "PNG", "compress_level": 1},
    }
    print("| size | format | write ms | read ms | kB | mean error, grey levels |\n|-|-|-|-|-|-|")
    for size in (64, 160):
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
    for size in (64, 160):
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
