"""How long a plan will take on this machine, measured before it starts."""

import math
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

from evaluator.datasets.dataset import Splits
from evaluator.errors import ConfigurationError
from evaluator.grid.evaluation import Evaluation
from evaluator.grid.oracle import NETWORK, oracle_trainings
from evaluator.grid.trial import REFERENCES, Trial
from evaluator.training.device import chosen_device, release_memory, too_little_memory
from evaluator.training.pipelines import Pipeline
from evaluator.training.trainer import ZEWDPCTrainer, resize_images

BUYING = "buying"
START_UP = 12.0  # seconds a submission's process takes to begin and end
TRIAL_IMAGES = (32, 256)  # images of the measuring run; the larger where the smaller is too quick
TOO_QUICK = 5.0  # seconds; also, the first run pays for warming up


def seconds_per_image(pipeline: Pipeline, splits: Splits, device: str | None) -> float:
    """Seconds one training image costs for one epoch, measured on the first images there are.

    Weights do not change the time, so none are loaded. Raises ConfigurationError where the
    pipeline cannot train on these images, or not on this device.
    """
    one_epoch = replace(pipeline, epochs=1, minimum_steps=0, pretrained=False)
    elapsed, n = 0.0, 0
    for n in TRIAL_IMAGES:
        n = min(n, len(splits.training))
        images = resize_images(splits.training.images[:n], pipeline.size)
        labels = torch.from_numpy(np.array(splits.training.labels[:n]))
        trainer = ZEWDPCTrainer(
            one_epoch, splits.class_names, seed=0, device=device, weights="none"
        )
        started = time.monotonic()
        try:
            trainer.fit(images, labels)
        except ConfigurationError:  # a kind of ValueError that has its own code: the device's, say
            raise
        except ValueError as error:  # before hours are spent on purchases that cannot be scored
            raise ConfigurationError(
                "pipeline-data", f"--pipeline {pipeline.name}: {error}"
            ) from error
        except torch.OutOfMemoryError as error:
            raise too_little_memory(
                f"--pipeline {pipeline.name}",
                error,
                "choose another --pipeline or --device; nothing was bought yet",
            ) from error
        elapsed = time.monotonic() - started
        # On a GPU the first run is mostly start-up: the driver, its libraries, the kernels.
        if elapsed > TOO_QUICK and chosen_device(device).type == "cpu":
            break
    release_memory()
    return elapsed / n


def estimate_seconds(
    evaluation: Evaluation,
    missing: Iterable[tuple[Trial, Pipeline | None]],
    rates: dict[str, float],
) -> dict[str, float]:
    """Seconds for the `missing` steps of an evaluation, at most: by pipeline, and for buying.

    A purchase is taken to use its whole compute budget; what the oracle trains is counted as
    buying. `rates` are seconds per image and epoch by pipeline name. The largest comes first.
    """
    steps, splits = list(missing), evaluation.plan.splits
    seconds: defaultdict[str, float] = defaultdict(float)
    for trial, pipeline in steps:
        what = pipeline.name if pipeline else BUYING
        seconds[what] += _step_seconds(evaluation, rates, trial, pipeline)
    asked = [
        (step[0].pair.budget, step[0].seed)
        for step in steps
        if _is_oracles(*step) and step[0].pair is not None
    ]
    size = len(splits.unlabelled)
    for one in oracle_trainings(len(splits.training), size, asked):
        seconds[BUYING] += _training_seconds(rates, *one, size)
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def pipelines_of(steps: Iterable[tuple[Trial, Pipeline | None]]) -> list[Pipeline]:
    """The pipelines that still have something to train, the oracle's network among them."""
    needed = (NETWORK if _is_oracles(*step) else step[1] for step in steps)
    return list(dict.fromkeys(pipeline for pipeline in needed if pipeline))


def _is_oracles(trial: Trial, pipeline: Pipeline | None) -> bool:
    """Whether the step is a purchase of the oracle's."""
    return pipeline is None and trial.strategy == "oracle"


def _step_seconds(
    evaluation: Evaluation, rates: dict[str, float], trial: Trial, pipeline: Pipeline | None
) -> float:
    splits = evaluation.plan.splits
    if pipeline is None:
        return 0.0 if trial.strategy in REFERENCES else _minutes(trial) * 60 + START_UP
    if trial.strategy == "all":
        n_bought = len(splits.unlabelled)
    else:
        n_bought = trial.pair.budget if trial.pair else 0
    n_images = len(splits.training) + n_bought
    return _training_seconds(rates, pipeline, n_images, len(splits.validation))


def _training_seconds(
    rates: dict[str, float], pipeline: Pipeline, n_images: int, n_predicted: int
) -> float:
    epochs = pipeline.epochs_for(math.ceil(n_images / pipeline.batch_size))
    # Prediction costs about a third of a training step an image, once.
    return rates[pipeline.name] * (n_images * epochs + n_predicted / 3)


def _minutes(trial: Trial) -> float:
    return trial.pair.minutes if trial.pair else 0.0


def spoken(seconds: float) -> str:
    """A duration for a person: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
