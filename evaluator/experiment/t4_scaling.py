"""Minutes of the platform's T4 as minutes of this machine.

`python -m evaluator calibrate` measures how many images per second the challenge's network trains
here and writes a file; `local_evaluation.py --hardware t4` divides the minutes of each pair by the
ratio of that speed to a T4's.
"""

import argparse
import json
import logging
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import torch

from core.precision import half_precision, synchronise
from evaluator.records.trial import Pair
from evaluator.training.device import (
    chosen_device,
    device_name,
    release_memory,
    too_little_memory,
    usable_device,
)
from evaluator.training.pipelines import PIPELINES, Pipeline
from evaluator.training.trainer import ZEWDPCTrainer
from evaluator.worker.outcome import Limits
from shared.atomic_io import ensure_writable, write_file
from shared.console import show_result
from shared.errors import ConfigurationError
from shared.formatting import format_duration

logger = logging.getLogger(__name__)

FILE = Path("results/calibration.json")
LEAST_MINUTES = 0.1  # that a scaled pair still has

# Images per second that a T4 trains, from and to: EfficientNet-b4, every layer, 256 px. Nobody has
# published it. This is scaled from GPUs that were measured with mixed precision and channels-last,
# by memory bandwidth (the network waits for memory; a T4 has 320 GB/s) and by pixels (all but the
# smallest layers grow with the image):
#   V100, 900 GB/s: 204/s at 380 px (NVIDIA DeepLearningExamples)   -> 160
#   A100 80 GB, 2,039 GB/s: 331/s at 380 px (the same)              -> 114
#   RTX 3090, 936 GB/s: 242/s at 380 px, 355/s at 320 px (timm's
#   results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv)       -> 182, 190
T4_IMAGES_PER_SECOND = (114.0, 190.0)

NETWORK = PIPELINES["unfrozen"]
PIXELS = 256  # what the platform's images have is not known
CLASSES = 6
BATCH_SIZES = {"cuda": (64, 32, 16, 8), "cpu": (8,)}  # the first that fits; the kit's own is 64
BATCHES = 4  # of an epoch; only its end is timed, where a GPU has nothing left to do
SECONDS = 20.0  # of measuring, after warming up
TURNS = 5  # parts of the measurement, whose spread is shown

CONTRIBUTE = """\
Nobody has published this speed for a T4: the estimate is scaled from other GPUs
(evaluator/experiment/t4_scaling.py says from which). If you can reach one, run this command there
while it is idle and send the file, with what `nvidia-smi` prints."""


@dataclass(frozen=True)
class Speed:
    """Images per second: the median of `turns` parts, the slowest and the fastest of them."""

    median: float
    low: float
    high: float
    turns: int


@dataclass(frozen=True)
class Calibration:
    """The training speed measured on one processor, as it stands in the file."""

    device: str  # as journals name it
    torch: str
    model: str
    pixels: int
    batch_size: int
    precision: str
    measured: str  # ISO date and time
    training: Speed

    @property
    def speed_ratio(self) -> float:
        """T4 minutes that one minute here is worth, by the middle of the T4's range."""
        return self.training.median / math.sqrt(math.prod(T4_IMAGES_PER_SECOND))

    @property
    def speed_ratio_range(self) -> tuple[float, float]:
        """The same by both ends of the T4's range."""
        slow, fast = T4_IMAGES_PER_SECOND
        return self.training.median / fast, self.training.median / slow

    def scale_minutes(self, minutes: float) -> float:
        """Minutes here that do the work of so many on a T4, to hundredths."""
        return max(LEAST_MINUTES, round(minutes / self.speed_ratio, 2))

    def scale_pairs(self, pairs: Sequence[Pair]) -> tuple[Pair, ...]:
        """Pairs in minutes of a T4 as pairs in minutes of this processor; equal ones are one."""
        return tuple(dict.fromkeys(Pair(p.budget, self.scale_minutes(p.minutes)) for p in pairs))

    def write(self, path: Path) -> None:
        write_file(path, f"{json.dumps(asdict(self), indent=2)}\n".encode())


def read_calibration(path: Path, device: str) -> Calibration:
    """The calibration in `path`, which must be that of `device`, named as journals name it.

    Raises ConfigurationError where there is none, it cannot be read, or it is another device's.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields.pop("inference", None)  # older files have it; nothing was ever scaled by it
        found = Calibration(training=Speed(**fields.pop("training")), **fields)
        if not 0 < found.training.median < math.inf:
            raise ValueError(f"the speed is {found.training.median}, expected a number above 0")
    except FileNotFoundError:
        raise ConfigurationError(
            "no-calibration",
            f"--hardware t4 needs to know how fast this machine is, and there is no {path}: run "
            "`python -m evaluator calibrate` first (a minute or two).",
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigurationError(
            "bad-calibration",
            f"{path} is not what `python -m evaluator calibrate` writes ({error}): run it again.",
        ) from None
    if found.device != device:
        raise ConfigurationError(
            "other-calibration",
            f"{path} was measured on {found.device}; here computes {device}. Run `python -m "
            "evaluator calibrate` here, with the same --device.",
        )
    return found


def calibrate(
    device: str | None = None,
    network: Pipeline = NETWORK,
    *,
    pixels: int = PIXELS,
    seconds: float = SECONDS,
) -> Calibration:
    """Measure how fast `network` is trained here, for about `seconds` after warming up.

    Raises ConfigurationError where not even the smallest batch fits into the device's memory.
    """
    where = chosen_device(device)
    for batch_size in BATCH_SIZES.get(where.type, BATCH_SIZES["cpu"]):
        pipeline = replace(
            network,
            name="calibration",
            batch_size=batch_size,
            pretrained=False,
            validation_share=0.0,
            minimum_steps=0,
        )
        try:
            speed = measure_speed(pipeline, where, pixels, seconds)
            break
        except torch.OutOfMemoryError as error:
            refused = too_little_memory(network.architecture, error, "choose another --device")
        release_memory()
    else:
        raise refused
    return Calibration(
        device=device_name(device),
        torch=torch.__version__,
        model=network.architecture,
        pixels=pixels,
        batch_size=batch_size,
        precision=str(half_precision(where) or torch.float32).removeprefix("torch."),
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        training=speed,
    )


def measure_speed(pipeline: Pipeline, device: torch.device, pixels: int, seconds: float) -> Speed:
    """Train `pipeline` on random images with the trainer that scores purchases, and time it."""
    generator = torch.Generator().manual_seed(0)
    n = pipeline.batch_size * BATCHES
    images = torch.randint(0, 256, (n, 3, pixels, pixels), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 2, (n, CLASSES), generator=generator)

    def seconds_of_epochs(epochs: int) -> list[float]:
        """Seconds of each epoch after the first, in which the device warms up."""
        ends: list[float] = []

        def note_end(share: float) -> None:
            if round(share * epochs * BATCHES) % BATCHES == 0:
                synchronise(device)
                ends.append(time.perf_counter())

        ZEWDPCTrainer(
            replace(pipeline, epochs=epochs),
            [str(number) for number in range(CLASSES)],
            seed=0,
            device=device,
            weights="none",
            progress=note_end,
            max_threads=min(Limits().cpus, torch.get_num_threads()),  # what a submission is given
        ).fit(images, labels)
        return [end - start for start, end in pairwise(ends)]

    (estimate,) = seconds_of_epochs(2)
    per_turn = max(1, round(seconds / TURNS / estimate))  # epochs
    passed = seconds_of_epochs(TURNS * per_turn + 1)
    starts = range(0, len(passed), per_turn)
    speeds = [n * per_turn / sum(passed[start : start + per_turn]) for start in starts]
    return Speed(statistics.median(speeds), min(speeds), max(speeds), TURNS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m evaluator calibrate`."""
    parser.add_argument("--device", help="what is measured, e.g. cpu or cuda:0 (a GPU, if any)")
    parser.add_argument("--out", type=Path, default=FILE, metavar="FILE", help=f"({FILE})")
    parser.add_argument("--json", action="store_true", help="print the file's content")
    parser.set_defaults(run=_run)


def _run(flags: argparse.Namespace) -> int:
    usable_device(flags.device)  # what is wrong is refused before anything is measured
    ensure_writable(flags.out)
    logger.info("Training for about %.0f s, after warming up ...", SECONDS)
    found = calibrate(flags.device)
    found.write(flags.out)
    show_result(
        json.dumps(asdict(found), indent=2) if flags.json else format_calibration(found, flags.out)
    )
    return 0


def format_calibration(found: Calibration, path: Path) -> str:
    """A calibration for a person."""
    speed, (low, high) = found.training, found.speed_ratio_range
    here = {minutes: format_duration(60 * found.scale_minutes(minutes)) for minutes in (17, 51)}
    lines = [
        f"{found.device}, torch {found.torch}: {found.model}, all layers, {found.pixels} px, "
        f"batches of {found.batch_size}, {found.precision}",
        "",
        f"images per second   {_digits(speed.median)} (n = {speed.turns} turns, "
        f"{_digits(speed.low)} to {_digits(speed.high)})",
        "of a T4, estimated  {:g} to {:g}".format(*T4_IMAGES_PER_SECOND),
        "",
        f"One minute here is worth about {found.speed_ratio:.2g} minutes of a T4 ({low:.2g} to "
        f"{high:.2g}): 17 minutes of the challenge are {here[17]} here, 51 are {here[51]}. What a "
        "submission does on the CPU alone is not scaled.",
        "",
        f"Written to {path}, which `local_evaluation.py --hardware t4` reads.",
        "",
        f"This is a T4: {path} is the missing measurement." if "T4" in found.device else CONTRIBUTE,
    ]
    return "\n".join(lines)


def _digits(speed: float) -> str:
    return f"{float(f'{speed:.3g}'):,g}"
