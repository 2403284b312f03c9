"""How fast this machine trains the challenge's network and looks with it, in images per second."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from core.precision import half_precision, synchronise
from evaluator.training.device import chosen_device, release_memory
from evaluator.training.pipelines import PIPELINES, Pipeline
from evaluator.training.trainer import ZEWDPCTrainer

MODEL = "efficientnet_b4"
PIXELS = 256  # of the images; what the platform's have is not known
CLASSES = 6
SECONDS = 20.0  # each of the two measurements lasts about so long, after warming up
TURNS = 5  # ... in so many parts, whose spread is reported
BATCHES = 4  # of an epoch; only its end is timed, where the GPU has nothing left to do
BATCH_SIZES = {"cuda": (64, 32, 16, 8), "cpu": (8,)}  # the first that fits; the kit's own is 64

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Throughput:
    """Images per second: the median of `turns` parts, the slowest and the fastest of them."""

    median: float
    low: float
    high: float
    turns: int

    @classmethod
    def of(cls, speeds: list[float]) -> "Throughput":
        return cls(statistics.median(speeds), min(speeds), max(speeds), len(speeds))


@dataclass(frozen=True)
class Measurement:
    """What was measured, and how."""

    training: Throughput
    inference: Throughput
    batch_size: int
    precision: str


def measure_throughput(
    device: str | None = None,
    *,
    threads: int | None = None,
    seconds: float = SECONDS,
    pixels: int = PIXELS,
    tell: Tell = lambda line: None,
) -> Measurement:
    """Train every layer of the network on random images, as the judge does, and look with it.

    `threads` bounds those of a CPU; `seconds` is what each of the two takes. Raises
    torch.OutOfMemoryError where not even the smallest batch fits on the GPU.
    """
    where = chosen_device(device)
    sizes = BATCH_SIZES.get(where.type, BATCH_SIZES["cpu"])
    for size in sizes[:-1]:
        try:
            return _measured(where, size, threads, seconds, pixels, tell)
        except torch.OutOfMemoryError:
            tell(f"a batch of {size} does not fit")
        release_memory()
    return _measured(where, sizes[-1], threads, seconds, pixels, tell)


def _measured(
    device: torch.device,
    batch_size: int,
    threads: int | None,
    seconds: float,
    pixels: int,
    tell: Tell,
) -> Measurement:
    dice = torch.Generator().manual_seed(0)
    shape = (batch_size * BATCHES, 3, pixels, pixels)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=dice)
    labels = torch.randint(0, 2, (len(images), CLASSES), generator=dice)
    pipeline = replace(
        PIPELINES["unfrozen"],
        name="calibration",
        batch_size=batch_size,
        pretrained=False,
        validation_share=0.0,
    )
    tell("training: warming up")
    warm, _ = _train(pipeline, images, labels, 2, device, threads)
    epochs = TURNS * max(1, round(seconds / TURNS * warm[-1] / len(images)))
    tell(f"training: about {epochs * len(images) / warm[-1]:.0f} s")
    speeds, trainer = _train(pipeline, images, labels, epochs + 1, device, threads)
    tell(f"inference: about {seconds:.0f} s")
    half = half_precision(device)
    return Measurement(
        training=Throughput.of(_in_turns(speeds)),
        inference=Throughput.of(_look(trainer, images, device, seconds)),
        batch_size=batch_size,
        precision=str(half or torch.float32).removeprefix("torch."),
    )


def _train(
    pipeline: Pipeline,
    images: torch.Tensor,
    labels: torch.Tensor,
    epochs: int,
    device: torch.device,
    threads: int | None,
) -> tuple[list[float], ZEWDPCTrainer]:
    """Images per second of every epoch but the first, and what trained."""
    ends: list[float] = []
    steps = 0

    def watch(_: float) -> None:
        nonlocal steps
        steps += 1
        if steps % BATCHES == 0:
            synchronise(device)
            ends.append(time.perf_counter())

    trainer = ZEWDPCTrainer(
        replace(pipeline, epochs=epochs),
        [str(number) for number in range(CLASSES)],
        seed=0,
        device=device,
        weights="none",
        progress=watch,
        max_threads=threads,
        steps="launched",  # as submissions train, whose minutes this is to scale
    ).fit(images, labels)
    speeds = [len(images) / (end - start) for start, end in pairwise(ends)]
    return speeds, trainer


def _in_turns(speeds: list[float]) -> list[float]:
    """The speeds of epochs, joined into `TURNS` parts of equally many: (TURNS,)."""
    size = len(speeds) // TURNS
    parts = (speeds[start : start + size] for start in range(0, size * TURNS, size))
    return [statistics.harmonic_mean(part) for part in parts]


def _look(
    trainer: ZEWDPCTrainer, images: torch.Tensor, device: torch.device, seconds: float
) -> list[float]:
    trainer.predict_probabilities(images)  # warms up
    speeds = []
    for _ in range(TURNS):
        looked, started, passed = 0, time.perf_counter(), 0.0
        while passed < seconds / TURNS:
            trainer.predict_probabilities(images)
            looked += len(images)
            synchronise(device)
            passed = time.perf_counter() - started
        speeds.append(looked / passed)
    return speeds
