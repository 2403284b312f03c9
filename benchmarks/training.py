"""Images per second of post-purchase training: the kit, a plain loop, and the hardware's limit.

    python benchmarks/training.py --quick                       # small, for a CPU: minutes
    python benchmarks/training.py --size 256                    # a GPU: the sizes of the challenge
    python benchmarks/training.py --scores 5 --pipelines quick  # do kit and plain loop score alike?
    python benchmarks/training.py --steps --pipelines quick     # from when does compiling pay?
    python benchmarks/training.py --profile --pipelines quick   # where does a step's time go?

Side by side in one run, for each pipeline:

kit      the evaluator's trainer: images decoded once, augmented in batches on the device.
plain    as a kit is usually written: PIL decodes each image in each epoch, torchvision's
         transforms, a DataLoader with 4 workers, full precision.
limit    the kit's passes through the same network, in the same precision and batches of the same
         sizes, on images that stay where they are: no decoding, no augmentation.

The three take turns, `--repeats` times, each after an epoch that warms it up; a speed is the median
of its turns, a ratio the median of the ratios within a turn, so that a machine that is busy for a
while slows all three. An epoch is the images trained on, and the look at those held out after it.

With `--steps` the kit is compared with itself: its steps eager, as they are by default, and under
`torch.compile`. How much longer does compiling take to start, how fast is it then, and from how
many images, each counted once per epoch, does the one outweigh the other?

With `--profile` one epoch of the kit is watched: the milliseconds of a step, how many of them the
device computes in, and the kernels that cost most.
"""

import argparse
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, median, stdev

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import Bench, Fit, fit_kit, kit, limit, plain, profile_kit
from benchmarks.plain import fit_plainly
from benchmarks.tables import hardware
from evaluator.data.dataset import open_splits
from evaluator.synthetic import RECIPES, generate
from evaluator.training.augmentation import normalise, resize_images
from evaluator.training.device import chosen_device
from evaluator.training.metrics import score
from evaluator.training.pipelines import PIPELINES
from evaluator.training.trainer import Steps, ZEWDPCTrainer

NAMES = ("organiser", "unfrozen", "b0-unfrozen", "quick")


def compare_scores(bench: Bench, seeds: int) -> str:
    """Macro-F1 on the held-out split of kit and plain loop, each over `seeds` seeds."""
    held_out = resize_images(bench.splits.validation.images, bench.pipeline.size)
    found: dict[str, list[float]] = {"kit": [], "plain": []}
    for seed in range(seeds):
        trainer = ZEWDPCTrainer(
            bench.pipeline, bench.class_names, seed=seed, device=bench.device, weights="none"
        )
        trainer.fit(bench.images(), bench.labels())
        kits = trainer.predict(held_out).numpy()
        epochs = bench.pipeline.epochs_for(math.ceil(bench.n / bench.pipeline.batch_size))
        network = fit_plainly(
            bench.splits, bench.n, bench.pipeline, bench.device, epochs=epochs, seed=seed
        )
        with torch.no_grad():
            logits = [
                network(normalise(part.to(bench.device))) for part in torch.split(held_out, 128)
            ]
        plains = (torch.cat(logits) >= 0).to(torch.uint8).cpu().numpy()
        for name, predictions in (("kit", kits), ("plain", plains)):
            truth = bench.splits.validation.labels
            found[name].append(score(truth, predictions, bench.class_names).macro_f1)
    return "; ".join(
        f"{name} {fmean(own):.3f} (sd {stdev(own) if seeds > 1 else 0:.3f})"
        for name, own in found.items()
    )


def compare_speeds(bench: Bench, repeats: int) -> str:
    """A row of the table: median speeds, and medians of the ratios within a turn."""
    limit(bench)  # the first network of a process is slow, whoever runs it
    turns = [[measure(bench) for measure in (kit, limit, plain)] for _ in range(repeats)]
    kits, limits, plains = (median(turn[i] for turn in turns) for i in range(3))
    of_plain = median(turn[0] / turn[2] for turn in turns)
    shares = [turn[0] / turn[1] for turn in turns]
    return (
        f"| `{bench.pipeline.name}` | {bench.n:,} | {kits:,.0f}/s | {plains:,.0f}/s | "
        f"{limits:,.0f}/s | {of_plain:.2f}x | {median(shares):.0%} | "
        f"{min(shares):.0%} to {max(shares):.0%} |"
    )


def compare_ways(bench: Bench, repeats: int) -> str:
    """Rows of the table: the kit with its steps eager and compiled."""
    fits: dict[Steps, list[Fit]] = {"eager": [], "compiled": []}
    fit_kit(bench, "eager")  # the first network of a process is slow, however it steps
    for _ in range(repeats):
        for way, own in fits.items():
            own.append(fit_kit(bench, way))
    eager, compiled = fits["eager"], fits["compiled"]
    rows = [f"| `{bench.pipeline.name}` | eager | {median_speed(eager):,.0f}/s | | |"]
    rows.append(way_row("compiled, the first time", compiled, eager, compiled[:1]))
    if repeats > 1:  # torch keeps what it compiled
        rows.append(way_row("compiled, later", compiled, eager, compiled[1:]))
    return "\n".join(rows)


def way_row(way: str, own: list[Fit], other: list[Fit], starts: list[Fit] | None = None) -> str:
    """One row: how much longer `own` takes to start than `other`, and when that has paid."""
    longer = median(fit.overhead for fit in starts or own) - median(fit.overhead for fit in other)
    saved = median(
        1 / before.speed - 1 / after.speed for before, after in zip(other, own, strict=True)
    )
    pays = "never" if saved <= 0 else f"{max(0.0, longer) / saved:,.0f}"
    return f"| | {way} | {median_speed(own):,.0f}/s | {longer:.1f} s | {pays} |"


def median_speed(fits: list[Fit]) -> float:
    """Images per second."""
    return median(fit.speed for fit in fits)


def profile(bench: Bench) -> str:
    """A row of the table: a step by the clock, what of it the device computes, and in what."""
    found = profile_kit(bench)
    costliest = ", ".join(f"`{name}` {own:.2f}" for name, own in found.costliest)
    return (
        f"| `{bench.pipeline.name}` | {found.milliseconds:.1f} | {found.computing:.1f} | "
        f"{found.kernels:,.0f} | {costliest} |"
    )


HEADER = """| pipeline | images | kit | plain | limit | kit / plain | kit / limit | range |
|---|-:|-:|-:|-:|-:|-:|-:|"""
WAYS_HEADER = """| pipeline | steps are | speed | longer to start | pays from, images x epochs |
|---|---|-:|-:|-:|"""
PROFILE_HEADER = """| pipeline | step, ms | computing, ms | kernels | costliest, ms |
|---|-:|-:|-:|---|"""


def main() -> None:
    """Parse the flags, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pipelines", nargs="+", default=NAMES, choices=sorted(PIPELINES))
    parser.add_argument("--data", type=Path, help="a data set (default: synthetic images)")
    parser.add_argument("--size", type=int, default=256, help="pixels of the synthetic images")
    parser.add_argument("--images", type=int, default=1000, help="training images")
    parser.add_argument("--device")
    parser.add_argument("--quick", action="store_true", help="64 px; 128 images for EfficientNets")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each")
    parser.add_argument("--epochs", type=int, default=2, help="timed in a turn, at least")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--scores", type=int, metavar="SEEDS", help="compare macro-F1 instead")
    instead.add_argument("--steps", action="store_true", help="eager and compiled")
    instead.add_argument("--profile", action="store_true", help="what a step is spent on")
    flags = parser.parse_args()
    warnings.filterwarnings("ignore", message="pipeline .* frozen features drawn at random")
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    device = chosen_device(flags.device)
    header = HEADER
    row: Callable[[Bench], str] = partial(compare_speeds, repeats=flags.repeats)
    if flags.steps:
        header, row = WAYS_HEADER, partial(compare_ways, repeats=flags.repeats)
    elif flags.profile:
        header, row = PROFILE_HEADER, profile
    with tempfile.TemporaryDirectory() as folder:
        root = flags.data
        if root is None:
            recipe = replace(RECIPES["demo"], training=flags.images, unlabelled=1, validation=64)
            root = generate(recipe, Path(folder) / "sheets", size=64 if flags.quick else flags.size)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/compiled"  # of no earlier run
        splits = open_splits(root)
        side = splits.training.images.shape[1]
        print(f"{hardware(flags.device)}; {splits.name}, {side} px, {flags.repeats} turns\n")
        if not flags.scores:
            print(header)
        for name in flags.pipelines:
            n = min(flags.images, len(splits.training))
            if flags.quick and name != "quick":
                n = min(n, 128)
            bench = Bench(PIPELINES[name], splits, device, n, flags.epochs)
            if flags.scores:
                found = compare_scores(bench, flags.scores)
                print(f"{name}, {n:,} images, {flags.scores} seeds: {found}", flush=True)
            else:
                print(row(bench), flush=True)


if __name__ == "__main__":
    main()
