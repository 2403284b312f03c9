"""`python -m evaluator calibrate`: how many minutes of a T4 is one minute here?"""

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
from tabulate import tabulate

from evaluator.atomic_io import ensure_writable
from evaluator.experiment.estimate import spoken
from evaluator.experiment.hardware import FILE, T4, Calibration
from evaluator.training.device import device_name, too_little_memory, usable_device
from evaluator.training.throughput import MODEL, PIXELS, Throughput, measure_throughput
from evaluator.worker.supervisor import Limits

CONTRIBUTE = """\
Nobody has published these speeds for a T4: they are scaled from other GPUs by memory bandwidth
and pixels (evaluator/experiment/hardware.py says from which). If you can reach one, on the platform
or for an hour in a cloud, run this command there on an idle GPU and send the file it writes, with
the driver's version, as an issue or a change of `T4` in that module."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `calibrate`."""
    parser.add_argument("--device", help="what is measured, e.g. cpu or cuda:0 (a GPU, if any)")
    parser.add_argument("--out", type=Path, default=FILE, metavar="FILE", help=f"({FILE})")
    parser.add_argument("--json", action="store_true", help="print the file's content")
    parser.set_defaults(run=_run)


def calibrate(device: str | None = None) -> Calibration:
    """Measure the challenge's network here; progress goes to the error output."""
    processors = Limits().cpus  # what a submission is given
    threads = min(processors, torch.get_num_threads())
    try:
        found = measure_throughput(device, threads=threads, tell=lambda line: _say(f"{line} ..."))
    except torch.OutOfMemoryError as error:
        raise too_little_memory(MODEL, error, "choose another --device") from error
    return Calibration(
        device=device_name(device),
        torch=torch.__version__,
        model=MODEL,
        pixels=PIXELS,
        batch_size=found.batch_size,
        precision=found.precision,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        training=found.training,
        inference=found.inference,
    )


def told(found: Calibration, path: Path) -> str:
    """A calibration for a person."""
    low, high = found.worth_range
    rows = [
        ["training", _spoken(found.training), "{:g} to {:g}".format(*T4.training), found.worth],
        ["inference", _spoken(found.inference), "{:g} to {:g}".format(*T4.inference),
         found.worth_of_looking],
    ]  # fmt: skip
    headers = [
        "images per second",
        "here (slowest to fastest)",
        "T4, estimated",
        "T4 minutes in one here",
    ]
    lines = [
        f"{found.device}, torch {found.torch}: {found.model}, all layers, {found.pixels} px, "
        f"batches of {found.batch_size}, {found.precision}; n = {found.training.turns} turns",
        "",
        tabulate(rows, headers, floatfmt=".3g", colalign=("left", "right", "right", "right")),
        "",
        f"One minute here is worth about {found.worth:.2g} minutes of a T4 ({low:.2g} to "
        f"{high:.2g}), by training;",
        f"17 minutes of the challenge are {_here(found, 17)} here, 51 are {_here(found, 51)}. What "
        "a submission does without the GPU is not scaled.",
        "",
        f"Written to {path}. `python local_evaluation.py --hardware t4 ...` goes by it.",
        "",
        CONTRIBUTE,
    ]
    if "T4" in found.device:
        lines += ["", f"This is a T4: {path} is such a measurement."]
    return "\n".join(lines)


def _run(flags: argparse.Namespace) -> int:
    usable_device(flags.device)  # what is wrong is refused before anything is measured
    ensure_writable(flags.out)
    found = calibrate(flags.device)
    found.write(flags.out)
    print(json.dumps(asdict(found), indent=2) if flags.json else told(found, flags.out))
    return 0


def _here(found: Calibration, minutes: float) -> str:
    return spoken(60 * found.minutes_here(minutes))


def _spoken(speed: Throughput) -> str:
    median, low, high = (f"{float(f'{n:.3g}'):,g}" for n in (speed.median, speed.low, speed.high))
    return f"{median} ({low} to {high})"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
