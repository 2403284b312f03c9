"""Images per second of post-purchase training: the kit, a plain loop, and the hardware's limit.

    python benchmarks/training.py --quick                       # small, for a CPU: minutes
    python benchmarks/training.py --size 256                    # a GPU: the sizes of the challenge
    python benchmarks/training.py --scores 5 --pipelines quick  # do kit and plain loop score alike?

Side by side in one run, for each pipeline:

kit      the judge's trainer: images decoded once, augmented in batches where they are trained on.
plain    as a kit is usually written: PIL decodes each image anew each epoch, torchvision's
         transforms, a DataLoader with 4 workers, full precision.
limit    the kit's passes through the same network, in the same precision and batches of the same
         sizes, on images that stay where they are: no decoding, no augmentation.

The three take turns, `--repeats` times, each after an epoch that warms it up; a speed is the median
of its turns, a ratio the median of the ratios within a turn, so that a machine that is busy for a
while slows all three. An epoch is the images trained on, and the look at those held out after it.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.plain import fit_plainly
from benchmarks.tables import hardware
from evaluator.datasets.dataset import Splits, open_splits
from evaluator.datasets.sheets import RECIPES, generate
from evaluator.training.augmentation import normalise
from evaluator.training.device import autocast, chosen_device, half_precision
from evaluator.training.metrics import score
from evaluator.training.networks import build_network, set_training
from evaluator.training.optimisation import build_optimisers
from evaluator.training.pipelines import PIPELINES, Pipeline
from evaluator.training.trainer import ZEWDPCTrainer, resize_images

NAMES = ("organiser", "unfrozen", "b0-unfrozen", "quick")
TIMED_STEPS = 8  # at least: fewer, and one stall decides
PLAIN_EPOCHS = 2


@dataclass(frozen=True)
class Bench:
    """One pipeline at one size on one device."""

    pipeline: Pipeline
    splits: Splits
    device: torch.device
    n: int  # images, some of them held out

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.splits.class_names

    @property
    def held_out(self) -> int:
        return int(self.n * self.pipeline.validation_share)

    @property
    def rows(self) -> int:
        """Images of one epoch."""
        return self.n - self.held_out

    @property
    def batches(self) -> int:
        return math.ceil(self.rows / self.pipeline.batch_size)

    @property
    def epochs(self) -> int:
        """How many are timed."""
        return max(2, math.ceil(TIMED_STEPS / self.batches))

    def images(self) -> Tensor:
        return resize_images(self.splits.training.images[: self.n], self.pipeline.size)

    def labels(self) -> np.ndarray:
        return np.array(self.splits.training.labels[: self.n])


def kit(bench: Bench) -> float:
    """Images per second of the judge's trainer."""
    first_steps: list[float] = []  # when the first batch of each epoch was done
    seen = 0

    def watch(_: float) -> None:
        nonlocal seen
        if seen % bench.batches == 0:  # the loss of the epoch before was read: the device is idle
            synchronise(bench.device)
            first_steps.append(time.perf_counter())
        seen += 1

    pipeline = replace(bench.pipeline, epochs=bench.epochs + 2, minimum_steps=0)
    trainer = ZEWDPCTrainer(
        pipeline, bench.class_names, seed=0, device=bench.device, weights="none", progress=watch
    )
    trainer.fit(bench.images(), bench.labels())
    return bench.epochs * bench.rows / (first_steps[-1] - first_steps[-1 - bench.epochs])


def plain(bench: Bench) -> float:
    """Images per second of the plain loop, over the same images, decoded from their files."""
    seconds: list[float] = []

    def watch() -> None:
        synchronise(bench.device)
        seconds.append(time.perf_counter())

    epochs = PLAIN_EPOCHS + 1
    fit_plainly(
        bench.splits,
        bench.n,
        bench.pipeline,
        bench.device,
        epochs=epochs,
        seed=0,
        after_epoch=watch,
    )
    return PLAIN_EPOCHS * bench.n / (seconds[-1] - seconds[0])


def limit(bench: Bench) -> float:
    """Images per second of the kit's passes on images at rest, in the trainer's own precision."""
    pipeline, device = bench.pipeline, bench.device
    network = build_network(pipeline.architecture, len(bench.class_names)).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    set_training(network, frozen_features=pipeline.frozen_features)
    optimisers = build_optimisers(network, pipeline)
    scaler = GradScaler(device.type, enabled=half_precision(device) is torch.float16)
    images, labels = bench.images(), torch.from_numpy(bench.labels().astype(np.float32)).to(device)
    sizes = [len(part) for part in torch.arange(bench.rows).tensor_split(bench.batches)]
    at_rest = {n: normalise(images[:n].to(device)) for n in {*sizes, bench.held_out} if n}
    started = 0.0
    for epoch in range(bench.epochs + 1):
        if epoch == 1:
            synchronise(device)
            started = time.perf_counter()
        for n in sizes:
            loss = loss_of(network, at_rest[n], labels[:n])
            network.zero_grad()
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            for optimiser in optimisers:
                scaler.step(optimiser)
            scaler.update()
        if bench.held_out:
            network.eval()
            with torch.no_grad():
                loss_of(network, at_rest[bench.held_out], labels[: bench.held_out])
            set_training(network, frozen_features=pipeline.frozen_features)
    synchronise(device)
    return bench.epochs * bench.rows / (time.perf_counter() - started)


def loss_of(network: nn.Module, batch: Tensor, labels: Tensor) -> Tensor:
    with autocast(batch.device):
        logits = network(batch)
    return F.binary_cross_entropy_with_logits(logits.float(), labels)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
        f"{name} {statistics.fmean(own):.3f} (sd {statistics.stdev(own) if seeds > 1 else 0:.3f})"
        for name, own in found.items()
    )


def compare_speeds(bench: Bench, repeats: int) -> str:
    """A row of the table: median speeds, and medians of the ratios within a turn."""
    limit(bench)  # the first network of a process is slow, whoever runs it
    turns = [[measure(bench) for measure in (kit, limit, plain)] for _ in range(repeats)]
    kits, limits, plains = (statistics.median(turn[i] for turn in turns) for i in range(3))
    of_plain = statistics.median(turn[0] / turn[2] for turn in turns)
    shares = [turn[0] / turn[1] for turn in turns]
    return (
        f"| `{bench.pipeline.name}` | {bench.n:,} | {kits:,.0f}/s | {plains:,.0f}/s | "
        f"{limits:,.0f}/s | {of_plain:.2f}x | {statistics.median(shares):.0%} | "
        f"{min(shares):.0%} to {max(shares):.0%} |"
    )


def main() -> None:
    """Parse the flags, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pipelines", nargs="+", default=NAMES, choices=sorted(PIPELINES))
    parser.add_argument("--data", type=Path, help="a data set (default: painted sheets)")
    parser.add_argument("--size", type=int, default=256, help="pixels of the painted sheets")
    parser.add_argument("--images", type=int, default=1000, help="training images")
    parser.add_argument("--device")
    parser.add_argument("--quick", action="store_true", help="64 px; 128 images for EfficientNets")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each")
    parser.add_argument("--scores", type=int, metavar="SEEDS", help="compare macro-F1 instead")
    flags = parser.parse_args()
    warnings.filterwarnings("ignore", message="pipeline .* frozen features drawn at random")
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    device = chosen_device(flags.device)
    with tempfile.TemporaryDirectory() as folder:
        root = flags.data
        if root is None:
            recipe = RECIPES["demo"].replace(training=flags.images, unlabelled=1, validation=64)
            root = generate(recipe, Path(folder) / "sheets", size=64 if flags.quick else flags.size)
        splits = open_splits(root)
        side = splits.training.images.shape[1]
        print(f"{hardware(flags.device)}; {splits.name}, {side} px, {flags.repeats} turns\n")
        if not flags.scores:
            print("| pipeline | images | kit | plain | limit | kit / plain | kit / limit | range |")
            print("|---|-:|-:|-:|-:|-:|-:|-:|")
        for name in flags.pipelines:
            n = min(flags.images, len(splits.training))
            if flags.quick and name != "quick":
                n = min(n, 128)
            bench = Bench(PIPELINES[name], splits, device, n)
            if flags.scores:
                found = compare_scores(bench, flags.scores)
                print(f"{name}, {n:,} images, {flags.scores} seeds: {found}", flush=True)
            else:
                print(compare_speeds(bench, flags.repeats), flush=True)


if __name__ == "__main__":
    main()
