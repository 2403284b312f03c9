"""What a plan will do and how long it will take here, measured before it starts."""

import math
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from core.precision import synchronise
from evaluator.data.dataset import Splits
from evaluator.data.doubts import doubts
from evaluator.experiment.evaluation import Evaluation
from evaluator.records.trial import REFERENCES, Trial
from evaluator.training.augmentation import resize_images
from evaluator.training.batches import Batches
from evaluator.training.device import (
    chosen_device,
    device_name,
    release_memory,
    too_little_memory,
)
from evaluator.training.frozen import HeadTrainer, training_views
from evaluator.training.networks import check_images
from evaluator.training.pipelines import Pipeline
from evaluator.training.scoring import Scorer
from evaluator.training.trainer import ZEWDPCTrainer
from shared.errors import ConfigurationError
from shared.formatting import format_duration

LONG = 2 * 3600.0  # seconds from which a shorter command is offered
BUYING, FEATURES = "buying", "computing features"
HEAD_FEATURES = 1792  # as many as the largest of the networks has
START_UP = 12.0  # seconds a submission's process takes to begin and end
TRIAL_IMAGES = (32, 256)  # images of the measuring run; the larger where the smaller is too quick
TOO_QUICK = 5.0  # seconds
EPOCHS = 3  # on a GPU, which looks for kernels in the first, and in the look at its held-out images


class TrainingCost(NamedTuple):
    """What a pipeline's training takes here, in seconds."""

    start: float  # whatever its length: a network, and a device getting ready for its batches
    image: float  # for each image and epoch


def measure_training(pipeline: Pipeline, splits: Splits, device: str | None) -> TrainingCost:
    """What training `pipeline` costs, measured on the first images there are.

    Weights do not change the time, so none are loaded. Raises ConfigurationError where the
    pipeline cannot train on this device.
    """
    if pipeline.frozen_features:
        return _measure_head(pipeline, splits)
    where = chosen_device(device)
    few, more = (min(size, len(splits.training)) for size in TRIAL_IMAGES)
    whole, _ = _train(pipeline, splits, few, 1, where)
    cost = TrainingCost(0.0, whole / few)
    if where.type == "cuda":  # that was start-up, once in a process: the driver, its libraries
        whole, epoch = _train(pipeline, splits, more, EPOCHS, where)
        cost = TrainingCost(max(0.0, whole - EPOCHS * epoch), epoch / more)
    elif whole <= TOO_QUICK:
        whole, _ = _train(pipeline, splits, more, 1, where)
        cost = TrainingCost(0.0, whole / more)
    release_memory()
    return cost


def _measure_head(pipeline: Pipeline, splits: Splits) -> TrainingCost:
    """Of a linear head on kept features, which is trained on the CPU."""
    labels = np.array(splits.training.labels[: TRIAL_IMAGES[1]])
    plain = torch.zeros(len(labels), HEAD_FEATURES)
    trainer = HeadTrainer(replace(pipeline, epochs=1), splits.class_names, seed=0)
    for _ in range(2):  # the first is start-up
        started = time.monotonic()
        trainer.fit([plain] * len(training_views(pipeline)), plain, labels)
        seconds = time.monotonic() - started
    return TrainingCost(0.0, seconds / len(labels))


def _train(
    pipeline: Pipeline, splits: Splits, n: int, epochs: int, device: torch.device
) -> tuple[float, float]:
    """Seconds that training on the first `n` images takes, and those of the last of `epochs`."""
    ends = [time.monotonic()]

    def watch(done: float) -> None:
        if done * epochs >= len(ends):
            synchronise(device)
            ends.append(time.monotonic())

    images = resize_images(splits.training.images[:n], pipeline.size)
    labels = torch.from_numpy(np.array(splits.training.labels[:n]))
    trainer = ZEWDPCTrainer(
        replace(pipeline, epochs=epochs, minimum_steps=0, pretrained=False),
        splits.class_names,
        seed=0,
        device=device,
        weights="none",
        progress=watch,
    )
    try:
        trainer.fit(images, labels)
    except torch.OutOfMemoryError as error:
        raise too_little_memory(
            f"--pipeline {pipeline.name}",
            error,
            "choose another --pipeline or --device; nothing was bought yet",
        ) from error
    return time.monotonic() - ends[0], ends[-1] - ends[-2]


def estimate_seconds(
    evaluation: Evaluation,
    missing: Iterable[tuple[Trial, Pipeline | None]],
    costs: dict[str, TrainingCost],
) -> dict[str, float]:
    """Seconds for the `missing` steps of an evaluation, at most: by pipeline, and for buying.

    A purchase is taken to use its whole compute budget. `costs` are those of the pipelines, by
    name. The largest comes first.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    for trial, pipeline in missing:
        what = pipeline.name if pipeline else BUYING
        seconds[what] += _step_seconds(evaluation, costs, trial, pipeline)
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def feature_seconds(scorer: Scorer, pipelines: Sequence[Pipeline]) -> float:
    """Seconds to compute the features that `pipelines` need and nobody kept, at most."""
    return sum(
        count * scorer.seconds_for_a_feature(pipeline)
        for pipeline, count in scorer.features_to_compute(pipelines).items()
        if count
    )


def pipelines_of(steps: Iterable[tuple[Trial, Pipeline | None]]) -> list[Pipeline]:
    """The pipelines that still have something to train."""
    return list(dict.fromkeys(pipeline for _, pipeline in steps if pipeline))


def _step_seconds(
    evaluation: Evaluation, costs: dict[str, TrainingCost], trial: Trial, pipeline: Pipeline | None
) -> float:
    splits = evaluation.plan.splits
    if pipeline is None:
        minutes = trial.pair.minutes if trial.pair else 0.0
        return 0.0 if trial.strategy in REFERENCES else minutes * 60 + START_UP
    if trial.strategy == "all":
        n_bought = len(splits.unlabelled)
    else:
        n_bought = trial.pair.budget if trial.pair else 0
    n_images = len(splits.training) + n_bought
    epochs = pipeline.epochs_for(math.ceil(n_images / pipeline.batch_size))
    cost = costs[pipeline.name]
    # Prediction costs about a third of a training step an image, once.
    return cost.start + cost.image * (n_images * epochs + len(splits.validation) / 3)


def check_pipelines(pipelines: Sequence[Pipeline], splits: Splits) -> None:
    """Before hours are spent on purchases that cannot be scored."""
    for pipeline in pipelines:
        try:
            few = resize_images(splits.training.images[:2], pipeline.size)
            check_images(few, pipeline)
            Batches(pipeline, 0, few, torch.zeros(len(few), 1), torch.device("cpu"))
        except ValueError as error:
            raise ConfigurationError(
                "pipeline-data", f"--pipeline {pipeline.name}: {error}"
            ) from error


def announce(
    evaluation: Evaluation, device: str | None, *, estimated: bool, in_detail: bool
) -> str:
    """What will be done and how long it will take; where that is hours, what is shorter.

    Parameters
    ----------
    device : where pipelines are trained.
    estimated : whether trainings are measured, which makes sense on the machine that trains only.
    in_detail : whether the estimate is shown by pipeline.
    """
    plan, splits = evaluation.plan, evaluation.plan.splits
    missing = list(evaluation.missing())
    todo = f"{len(missing)} steps"
    needed = pipelines_of(missing)
    check_pipelines(needed, splits)
    seconds, parts = 0.0, dict[str, float]()
    if estimated:
        costs = {p.name: measure_training(p, splits, device) for p in needed}
        parts = estimate_seconds(evaluation, missing, costs)
        if seconds := feature_seconds(evaluation.scorer, needed):
            parts[FEATURES] = seconds
        seconds = sum(parts.values())
        todo += f", estimated at most {format_duration(seconds)}"
    names = ", ".join(pipeline.name for pipeline in plan.pipelines) or "own predictions"
    first = f" (from {plan.first_seed})" if plan.first_seed else ""
    height, width = splits.training.images.shape[1:3]
    lines = [
        f"data        {splits.name}: {len(splits.training):,} training, "
        f"{len(splits.unlabelled):,} unlabelled, {len(splits.validation):,} held out; "
        f"{len(splits.class_names)} classes, {width} x {height} px",
        f"strategies  {', '.join(plan.labels())}",
        f"pairs       {' '.join(map(str, plan.pairs))} (labels:minutes; {plan.conditions})",
        f"seeds       {plan.seeds} purchase{first} x {plan.training_seeds} training",
        f"pipelines   {names}",
        f"to do       {todo}",
    ]
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    threads = torch.get_num_threads() if estimated else 1
    if missing and load > cores and threads > 1:
        lines.append(
            f"            the machine is busy (load {load:.1f} on {cores} cores); consider "
            "OMP_NUM_THREADS=1. Scores with another thread count are stored separately"
        )
    lines += [f"warning     {line}" for line in doubts(splits)]
    if again := evaluation.outdated():
        lines.append(
            f"            {again} trainings of these were made before by other code, settings or "
            f"threads (now: {device_name(device)})"
        )
    if in_detail and seconds:
        lines += [
            f"            {what}: {format_duration(part)} ({part / seconds:.0%})"
            for what, part in parts.items()
        ]
    if seconds > LONG:
        lines += [
            "            that is long; for a first look in minutes:",
            "            python local_evaluation.py --recipe demo --pipeline quick --pairs 200:1 "
            "--strategy random entropy",
        ]
    return "\n".join(lines)
