"""What runs on the workers of a Ray cluster: the tasks, and the data set put in place for them."""

import fcntl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from evaluator.data.cache import load_images
from evaluator.data.dataset import Splits, ZEWDPCBaseDataset
from evaluator.data.layout import SPLITS
from evaluator.experiment.plan import Plan
from evaluator.experiment.run_trial import Purchase, buy
from evaluator.records.journal import Record
from evaluator.records.trial import Trial
from evaluator.training.pipelines import Pipeline
from evaluator.training.scoring import Scorer
from evaluator.training.trainer import Steps
from evaluator.worker.cpu_affinity import reserve_cores
from evaluator.worker.runner import Runner
from evaluator.worker.temp_dirs import private_folder

FOLDERS = ("logs", "notes", "vault")  # what a purchase writes besides its record

_SCORERS: dict[tuple[str, str, str | None, Steps], Scorer] = {}  # of this worker process


@dataclass(frozen=True)
class Shipment:
    """A data set on its way to a node: labels, and where to get the images."""

    name: str
    class_names: tuple[str, ...]
    fingerprint: str
    labels: Mapping[str, NDArray[Any]]  # split -> (N, C)
    files: Mapping[str, str]  # split -> where its images lie on the driver's machine
    images: Mapping[str, Any]  # split -> reference to (N, H, W, 3) in the object store


@dataclass(frozen=True)
class Job:
    """What every task needs; sent once per node."""

    shipment: Shipment
    plan: Mapping[str, Any]  # the fields of the plan but for its splits
    weights: str
    steps: Steps
    device: str | None
    runner: Runner
    cpus: int  # of a task; torch's threads, too: part of a score's configuration on a CPU


def purchase(job: Job, trial: Trial) -> tuple[Purchase, dict[str, bytes]]:
    """Make a purchase; its records, and the files it wrote by their names inside OUT."""
    plan = Plan(splits=_splits_here(job.shipment), **job.plan)
    with tempfile.TemporaryDirectory(prefix="zewdpc-") as folder:
        out = Path(folder)
        with reserve_cores(job.cpus):
            purchase = buy(trial, plan, out, job.runner, lambda phase, share: None)
        written = [path for part in FOLDERS for path in (out / part).glob("*") if path.is_file()]
        return purchase, {str(path.relative_to(out)): path.read_bytes() for path in written}


def training(job: Job, trial: str, purchased: list[int], pipeline: Pipeline, seed: int) -> Record:
    """Train and score what a trial has bought; the record."""
    with reserve_cores(job.cpus):
        return _scorer(job).score(trial, purchased, pipeline, seed).as_json()


def configurations(job: Job) -> dict[str, str]:
    """Pipeline -> configuration, as a worker sees it: with its device, by its code."""
    scorer = _scorer(job)
    return {p.name: scorer.configuration(p) for p in job.plan["pipelines"]}


def _scorer(job: Job) -> Scorer:
    torch.set_num_threads(job.cpus)
    key = job.shipment.fingerprint, job.weights, job.device, job.steps
    if key not in _SCORERS:  # a worker serves many tasks; its images are resized once
        _SCORERS[key] = Scorer(
            _splits_here(job.shipment),
            weights=job.weights,
            device=job.device,
            steps=job.steps,
        )
    return _SCORERS[key]


def _splits_here(shipment: Shipment) -> Splits:
    """The data set on this node, its images mapped from a file that is made once per node."""
    files = {name: _file_here(shipment, name) for name in SPLITS}
    parts = {
        name: ZEWDPCBaseDataset(load_images(path), shipment.labels[name], shipment.class_names)
        for name, path in files.items()
    }
    return Splits(
        name=shipment.name,
        root=next(iter(files.values())).parent,
        class_names=shipment.class_names,
        image_files=files,
        fingerprint=shipment.fingerprint,
        **parts,
    )


def _file_here(shipment: Shipment, split: str) -> Path:
    original = Path(shipment.files[split])  # its name holds a digest of the files it was made of
    if original.is_file():
        return original
    folder = private_folder(shipment.fingerprint)
    path = folder / original.name
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            half = path.with_suffix(".part")
            with half.open("wb") as file:
                np.save(file, ray.get(shipment.images[split]))
            half.replace(path)
    return path
