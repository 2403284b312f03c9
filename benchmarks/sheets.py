"""How fast painted sheets are made, and whether a recipe leaves something to gain by buying well.

    python benchmarks/sheets.py          # speed at 64 and 256 px, and file formats
    python benchmarks/sheets.py --calibrate demo --buy 200 --seeds 5

Calibration trains the pipeline `quick` on the training split alone, with `--buy` random labels,
and with every label, and prints macro-F1 and F1 per class on the validation split.
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
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluator.datasets.sheets import RECIPES, SPLITS, Recipe, generate, render, true_labels


def main() -> None:
    """Parse the flags and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calibrate", choices=sorted(RECIPES), help="train instead of timing")
    parser.add_argument("--buy", type=int, default=621, help="labels bought at random")
    parser.add_argument("--seeds", type=int, default=3, help="purchases and trainings per arm")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--arms", nargs="+", default=["none", "random", "all"])
    parser.add_argument("--size", type=int, help="side in pixels; the recipe's own by default")
    parser.add_argument("--visits", type=int, default=110_000, help="images seen at most per fit")
    parser.add_argument("--sheets", type=int, default=14_000, help="sheets to time")
    parser.add_argument("--data", type=Path, help="keep the sheets here")
    flags = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = flags.data or Path(scratch)
        if flags.calibrate:
            calibrate(RECIPES[flags.calibrate], folder, flags)
        else:
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
    recipe = RECIPES["round2"].replace(
        training=share, unlabelled=sheets - 4 * share, validation=3 * share
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


def calibrate(recipe: Recipe, folder: Path, flags: argparse.Namespace) -> None:
    """Macro-F1 with no purchase, a random one and everything, on one data set."""
    import torch

    from evaluator.training.pipelines import PIPELINES
    from evaluator.training.trainer import ZEWDPCTrainer

    quick = PIPELINES["quick"]
    out = generate(recipe, folder / f"{recipe.name}-{flags.size}", size=flags.size)
    pixels: dict[str, torch.Tensor] = {}
    labels: dict[str, NDArray[np.uint8]] = {}
    for split in SPLITS:
        read, labels[split] = _read(out / split, quick.size or recipe.size)
        pixels[split] = torch.from_numpy(read).permute(0, 3, 1, 2)  # (N, 3, S, S)
    truth = true_labels(recipe, 0, "validation", range(recipe.validation))
    print(f"| arm | seed | labels | epochs | macro-F1 | {' | '.join(recipe.class_names)} | s |")
    print("|" + "-|" * (6 + len(recipe.class_names)))
    for arm in flags.arms:
        scores = []
        for seed in range(flags.first_seed, flags.first_seed + flags.seeds):
            bought = {"none": 0, "random": flags.buy, "all": recipe.unlabelled}[arm]
            rows = np.random.default_rng(seed).permutation(recipe.unlabelled)[:bought]
            images = torch.cat([pixels["training"], pixels["unlabelled"][rows]])
            targets = np.concatenate([labels["training"], labels["unlabelled"][rows]])
            epochs = max(1, min(quick.epochs, flags.visits // len(images)))
            started = time.perf_counter()
            trainer = ZEWDPCTrainer(replace(quick, epochs=epochs), recipe.class_names, seed=seed)
            guess = trainer.fit(images, targets).predict(pixels["validation"]).numpy()
            seconds = time.perf_counter() - started
            scores.append(_f1(truth, guess))
            cells = " | ".join(f"{value:.2f}" for value in scores[-1])
            print(
                f"| {arm} | {seed} | {len(images)} | {epochs} | {scores[-1].mean():.3f} "
                f"| {cells} | {seconds:.0f} |",
                flush=True,
            )
        macro = np.mean(scores, axis=1)
        spread = f"{macro.std(ddof=1):.3f}" if len(macro) > 1 else "-"
        cells = " | ".join(f"{value:.2f}" for value in np.mean(scores, axis=0))
        print(f"| {arm} | mean | sd {spread} | n={len(macro)} | {macro.mean():.3f} | {cells} | |")


def _read(folder: Path, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images uint8 (n, size, size, 3), brought down but never up, and labels uint8 (n, C)."""
    lines = (folder / "labels.csv").read_text(encoding="utf-8").splitlines()[1:]
    images = []
    for line in lines:
        with Image.open(folder / "images" / line.partition(",")[0]) as file:
            side = min(size, file.width)
            images.append(np.asarray(file.resize((side, side), Image.Resampling.BILINEAR)))
    labels = np.array([line.split(",")[1:] for line in lines]).astype(np.uint8)
    return np.stack(images), labels


def _f1(truth: NDArray[np.uint8], guess: NDArray[np.uint8]) -> NDArray[np.float64]:
    """F1 per class (C,); 0 where a class is neither there nor claimed."""
    hits = (truth & guess).sum(0)
    return np.asarray(2 * hits / np.maximum(truth.sum(0) + guess.sum(0), 1), np.float64)


if __name__ == "__main__":
    main()
