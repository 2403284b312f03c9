"""A post-purchase training three ways, each under the clock: the kit, a plain loop, the limit."""

import math
import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.profiler import ProfilerActivity

from benchmarks.plain import fit_plainly
from core.precision import half_precision, synchronise
from evaluator.data.dataset import Splits
from evaluator.training.augmentation import normalise, resize_images
from evaluator.training.device import autocast
from evaluator.training.networks import build_network, set_training
from evaluator.training.optimisers import build_optimisers
from evaluator.training.pipelines import Pipeline
from evaluator.training.trainer import Steps, ZEWDPCTrainer

TIMED_STEPS = 8  # at least: fewer, and one stall decides
PLAIN_EPOCHS = 2
COSTLIEST = 6  # kernels named by a profile


@dataclass(frozen=True)
class Bench:
    """One pipeline at one size on one device."""

    pipeline: Pipeline
    splits: Splits
    device: torch.device
    n: int  # images, some of them held out
    least_epochs: int = 2  # that are timed

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
        return max(self.least_epochs, math.ceil(TIMED_STEPS / self.batches))

    def images(self) -> Tensor:
        return resize_images(self.splits.training.images[: self.n], self.pipeline.size)

    def labels(self) -> np.ndarray:
        return np.array(self.splits.training.labels[: self.n])


@dataclass(frozen=True)
class Fit:
    """A training of the kit: images per second, and the seconds that are no such training."""

    speed: float
    overhead: float


def kit(bench: Bench) -> float:
    """Images per second of the evaluator's trainer."""
    return fit_kit(bench).speed


def fit_kit(bench: Bench, steps: Steps = "eager") -> Fit:
    """Train with the evaluator's trainer for `bench.epochs` timed epochs, one before and after."""
    first_steps: list[float] = []  # when the first batch of each epoch was done
    seen = 0

    def watch(_: float) -> None:
        nonlocal seen
        if seen % bench.batches == 0:  # the loss of the epoch before was read: the device is idle
            synchronise(bench.device)
            first_steps.append(time.perf_counter())
        seen += 1

    trainer = trainer_of(bench, bench.epochs + 2, watch, steps)
    images, labels = bench.images(), bench.labels()
    started = time.perf_counter()
    trainer.fit(images, labels)
    synchronise(bench.device)
    whole = time.perf_counter() - started
    speed = bench.epochs * bench.rows / (first_steps[-1] - first_steps[-1 - bench.epochs])
    return Fit(speed, whole - (bench.epochs + 2) * bench.rows / speed)


def trainer_of(
    bench: Bench,
    epochs: int,
    progress: Callable[[float], None],
    steps: Steps = "eager",
) -> ZEWDPCTrainer:
    """The evaluator's trainer, for so many epochs, from weights drawn at random."""
    return ZEWDPCTrainer(
        replace(bench.pipeline, epochs=epochs, minimum_steps=0),
        bench.class_names,
        seed=0,
        device=bench.device,
        weights="none",
        progress=progress,
        steps=steps,
    )


@dataclass(frozen=True)
class Profile:
    """What the device did in one step of the kit, its share of the look at what is held out too."""

    milliseconds: float  # by the clock, without the profiler
    computing: float  # milliseconds of them in which the device computes
    kernels: float  # how many it ran, copies included
    costliest: list[tuple[str, float]]  # its kernels (operations, on a CPU), milliseconds of each


def profile_kit(bench: Bench) -> Profile:
    """One epoch of the evaluator's trainer under torch's profiler, beside one without it."""
    on_gpu = bench.device.type == "cuda"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    profiler = torch.profiler.profile(activities=[activity], acc_events=True)
    speed = kit(bench)
    seen = 0

    def watch(_: float) -> None:
        nonlocal seen
        seen += 1
        if seen % bench.batches == 0 and seen // bench.batches in (2, 3):
            synchronise(bench.device)
            profiler.start() if seen // bench.batches == 2 else profiler.stop()

    trainer_of(bench, 4, watch).fit(bench.images(), bench.labels())
    events = [event for event in profiler.key_averages() if busy(event, on_gpu)]
    cost: defaultdict[str, float] = defaultdict(float)
    for event in events:
        cost[short(event.key)] += busy(event, on_gpu) / bench.batches
    return Profile(
        milliseconds=1000 * bench.rows / bench.batches / speed,
        computing=sum(cost.values()),
        kernels=sum(event.count for event in events) / bench.batches,
        costliest=sorted(cost.items(), key=itemgetter(1), reverse=True)[:COSTLIEST],
    )


def short(kernel: str) -> str:
    """A kernel's name without its template's arguments, but for what is computed elementwise."""
    outer, _, inner = kernel.removeprefix("void ").replace("at::native::", "").partition("<")
    computes = re.findall(r"\w*(?:Functor|_cuda)\b", inner)
    return f"{outer} {computes[-1]}" if computes else outer


def busy(event: Any, on_gpu: bool) -> float:
    """Milliseconds that the device itself spent on what `event` sums up."""
    microseconds: float = event.self_device_time_total if on_gpu else event.self_cpu_time_total
    return microseconds / 1000


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
            network.zero_grad()
            loss = loss_of(network, at_rest[n], labels[:n])
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
