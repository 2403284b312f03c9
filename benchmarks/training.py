"""Images per second of post-purchase training: the kit, a plain loop, and the hardware's limit.

    python benchmarks/training.py --quick                       # small, for a CPU: minutes
    python benchmarks/training.py --size 256                    # a GPU: the sizes of the challenge
    python benchmarks/training.py --scores 5 --pipelines quick  # do kit and plain loop score alike?

Side by side in one run, for each pipeline:

kit      the judge's trainer: images decoded once, augmented in batches where they are trained on.
plain    as a kit is usually written: PIL decodes each image anew each epoch, torchvision's
         transforms, a DataLoader with 4 workers, full precision.
limit    the same network, precision and batch on one batch that stays where it is: no decoding,
         no augmentation, nothing but steps.

Each is timed over whole epochs after a first one that warms up; the limit over as many steps.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluator.datasets.dataset import Splits, open_splits
from evaluator.datasets.layout import find_splits, read_split
from evaluator.datasets.sheets import RECIPES, generate
from evaluator.grid.provenance import device_name
from evaluator.training.augmentation import normalise
from evaluator.training.device import autocast, chosen_device, half_precision
from evaluator.training.metrics import score
from evaluator.training.networks import build_network, set_training
from evaluator.training.optimisation import build_optimisers, build_schedule
from evaluator.training.pipelines import PIPELINES, Pipeline
from evaluator.training.trainer import ZEWDPCTrainer, resize_images

WORKERS = 4
NAMES = ("organiser", "unfrozen", "b0-unfrozen", "quick")
TIMED_EPOCHS = 2


@dataclass(frozen=True)
class Bench:
    """One pipeline at one size on one device."""

    pipeline: Pipeline
    splits: Splits
    device: torch.device
    n: int  # training images

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.splits.class_names


class Files(Dataset[tuple[Tensor, Tensor]]):
    """Images read from their files whenever they are asked for."""

    def __init__(self, files: Sequence[Path], labels: np.ndarray, pipeline: Pipeline) -> None:
        self.files = files
        self.labels = torch.from_numpy(labels.astype(np.float32))
        size, steps = pipeline.size, list[Callable[..., object]]()
        if size:
            steps.append(transforms.Resize(size))
        if pipeline.flips:
            steps += [transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip()]
        if pipeline.quarter_turns:
            steps.append(transforms.RandomApply([transforms.RandomRotation((90, 90))]))
        if pipeline.blur:
            steps.append(transforms.GaussianBlur(5))
        steps += [
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB")), self.labels[index]


def kit(bench: Bench) -> float:
    """Images per second of the judge's trainer."""
    first_steps: list[float] = []  # when the first batch of each epoch was done
    rows = bench.n - int(bench.n * bench.pipeline.validation_share)
    batches = -(-rows // bench.pipeline.batch_size)
    seen = 0

    def watch(_: float) -> None:
        nonlocal seen
        if seen % batches == 0:  # the loss of the epoch before was read: the device is idle
            synchronise(bench.device)
            first_steps.append(time.perf_counter())
        seen += 1

    pipeline = replace(bench.pipeline, epochs=TIMED_EPOCHS + 2, minimum_steps=0)
    images = resize_images(bench.splits.training.images[: bench.n], pipeline.size)
    trainer = ZEWDPCTrainer(
        pipeline, bench.class_names, seed=0, device=bench.device, weights="none", progress=watch
    )
    trainer.fit(images, np.array(bench.splits.training.labels[: bench.n]))
    return TIMED_EPOCHS * rows / (first_steps[-1] - first_steps[-1 - TIMED_EPOCHS])


def plain(bench: Bench) -> float:
    """Images per second of the plain loop, over the same images, decoded from their files."""
    seconds: list[float] = []
    fit_plainly(bench, TIMED_EPOCHS + 1, 0, lambda: seconds.append(time.perf_counter()))
    return TIMED_EPOCHS * bench.n / (seconds[-1] - seconds[0])


def fit_plainly(
    bench: Bench, epochs: int, seed: int, after_epoch: Callable[[], None] = lambda: None
) -> nn.Module:
    """Train in full precision from a DataLoader, as a kit is usually written."""
    torch.manual_seed(seed)
    pipeline, device = bench.pipeline, bench.device
    data = Files(training_files(bench.splits)[: bench.n], bench.splits.training.labels, pipeline)
    loader = DataLoader(data, pipeline.batch_size, shuffle=True, num_workers=WORKERS)
    network = build_network(pipeline.architecture, len(bench.class_names)).to(device)
    set_training(network, frozen_features=pipeline.frozen_features)
    optimisers = build_optimisers(network, pipeline)
    steps = epochs * len(loader)
    schedules = [build_schedule(optimiser, pipeline, steps) for optimiser in optimisers]
    for _ in range(epochs):
        for batch, labels in loader:
            loss = loss_of(network, batch.to(device), labels.to(device), pipeline)
            network.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimiser, schedule in zip(optimisers, schedules, strict=True):
                optimiser.step()
                if isinstance(schedule, torch.optim.lr_scheduler.LambdaLR):
                    schedule.step()
        synchronise(device)
        after_epoch()
    return network.eval()


def limit(bench: Bench) -> float:
    """Images per second of steps on one resident batch, in the trainer's own precision."""
    pipeline, device = bench.pipeline, bench.device
    network = build_network(pipeline.architecture, len(bench.class_names)).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    set_training(network, frozen_features=pipeline.frozen_features)
    optimisers = build_optimisers(network, pipeline)
    scaler = GradScaler(device.type, enabled=half_precision(device) is torch.float16)
    images = resize_images(bench.splits.training.images[: pipeline.batch_size], pipeline.size)
    batch = normalise(images.to(device))
    labels = torch.from_numpy(
        bench.splits.training.labels[: pipeline.batch_size].astype(np.float32)
    ).to(device)
    started, steps = 0.0, TIMED_EPOCHS * -(-bench.n // pipeline.batch_size)
    for step in range(steps + 2):
        if step == 2:
            synchronise(device)
            started = time.perf_counter()
        with autocast(device):
            logits = network(batch)
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels)
        network.zero_grad()
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        for optimiser in optimisers:
            scaler.step(optimiser)
        scaler.update()
    synchronise(device)
    return steps * len(batch) / (time.perf_counter() - started)


def loss_of(network: nn.Module, batch: Tensor, labels: Tensor, pipeline: Pipeline) -> Tensor:
    weight = torch.tensor(pipeline.positive_weight, device=batch.device)
    return F.binary_cross_entropy_with_logits(network(batch), labels, pos_weight=weight)


def training_files(splits: Splits) -> tuple[Path, ...]:
    """The image files of the training split, in the order of its labels."""
    found = find_splits(splits.root)
    return tuple(read_split("training", found["training"], splits.class_names).images)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compare_scores(bench: Bench, seeds: int) -> str:
    """Macro-F1 on the held-out split of kit and plain loop, each over `seeds` seeds."""
    held_out = resize_images(bench.splits.validation.images, bench.pipeline.size)
    training = resize_images(bench.splits.training.images[: bench.n], bench.pipeline.size)
    labels = np.array(bench.splits.training.labels[: bench.n])
    found: dict[str, list[float]] = {"kit": [], "plain": []}
    for seed in range(seeds):
        trainer = ZEWDPCTrainer(
            bench.pipeline, bench.class_names, seed=seed, device=bench.device, weights="none"
        )
        trainer.fit(training, labels)
        kits = trainer.predict(held_out).numpy()
        batches = -(-bench.n // bench.pipeline.batch_size)
        network = fit_plainly(bench, bench.pipeline.epochs_for(batches), seed)
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


def main() -> None:
    """Parse the flags, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pipelines", nargs="+", default=NAMES, choices=sorted(PIPELINES))
    parser.add_argument("--data", type=Path, help="a data set (default: painted sheets)")
    parser.add_argument("--size", type=int, default=256, help="pixels of the painted sheets")
    parser.add_argument("--images", type=int, default=1000, help="training images")
    parser.add_argument("--device")
    parser.add_argument("--quick", action="store_true", help="64 px; 128 images for EfficientNets")
    parser.add_argument("--scores", type=int, metavar="SEEDS", help="compare macro-F1 instead")
    flags = parser.parse_args()
    device = chosen_device(flags.device)
    with tempfile.TemporaryDirectory() as folder:
        root = flags.data
        if root is None:
            recipe = RECIPES["demo"].replace(training=flags.images, unlabelled=1, validation=64)
            root = generate(recipe, Path(folder) / "sheets", size=64 if flags.quick else flags.size)
        splits = open_splits(root)
        side = splits.training.images.shape[1]
        print(f"{device_name(flags.device)}, torch {torch.__version__}")
        print(f"{splits.name}, {side} px\n")
        if not flags.scores:
            print("| pipeline | images | kit | plain | limit | kit / plain | kit / limit |")
            print("|---|-:|-:|-:|-:|-:|-:|")
        for name in flags.pipelines:
            n = min(flags.images, len(splits.training))
            if flags.quick and name != "quick":
                n = min(n, 128)
            bench = Bench(PIPELINES[name], splits, device, n)
            if flags.scores:
                found = compare_scores(bench, flags.scores)
                print(f"{name}, {n:,} images, {flags.scores} seeds: {found}", flush=True)
                continue
            speeds = [measure(bench) for measure in (kit, plain, limit)]
            a, b, c = speeds
            cells = " | ".join(f"{speed:,.0f}/s" for speed in speeds)
            print(f"| `{name}` | {n:,} | {cells} | {a / b:.2f}x | {a / c:.0%} |", flush=True)


if __name__ == "__main__":
    main()
