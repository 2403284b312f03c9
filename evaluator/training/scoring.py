"""From what was bought to a score: the post-purchase pipeline on training + bought images.

Under the pipeline `quick` the network is the one that the buyer calls `small`
(`core.max_pool_mil`): its scores are of a buyer that knows its evaluator.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.precision import half_precision
from core.pretrained.feature_bank import content_hashes
from evaluator.data.dataset import (
    Splits,
    ZEWDPCBaseDataset,
    instantiate_purchased_dataset,
)
from evaluator.records.provenance import git_revision, library_versions
from evaluator.records.trial import ScoreRecord, digest_of
from evaluator.training.augmentation import resize_images
from evaluator.training.device import (
    chosen_device,
    device_name,
    release_memory,
    too_little_memory,
    usable_device,
)
from evaluator.training.frozen import (
    PREDICTION_VIEW,
    FrozenFeatures,
    HeadTrainer,
    pipeline_network,
    training_views,
)
from evaluator.training.metrics import score
from evaluator.training.pipelines import Pipeline
from evaluator.training.trainer import Steps, ZEWDPCTrainer

logger = logging.getLogger(__name__)

REPO_ROOT = Path(__file__).parents[2]
# Folders whose modules a score depends on, besides the data and the pipeline's fields.
SCORING_CODE = ("core", "shared/images", "evaluator/data", "evaluator/training")

NO_SCORES: dict[str, Any] = {
    "macro_f1": None,
    "accuracy": None,
    "hamming_loss": None,
    "f1_per_class": {},
}


class Scorer:
    """Scores purchases; resizes each split once per image size and keeps it.

    Parameters
    ----------
    weights : `imagenet`, `none` or a file, for pipelines that start from weights.
    device : where to train; the trainer's own choice where None.
    steps : how the trainer carries them out.
    """

    def __init__(
        self,
        splits: Splits,
        *,
        weights: str,
        device: str | None = None,
        steps: Steps = "eager",
    ) -> None:
        self.splits = splits
        self.weights = weights
        self.device = device
        self.steps = steps
        self._resized: dict[tuple[int, int | None], Tensor] = {}
        self._hashes: dict[tuple[int, int | None], list[bytes]] = {}
        self._frozen: dict[tuple[str, str], FrozenFeatures] = {}

    def score(
        self,
        trial: str,
        purchased: Sequence[int],
        pipeline: Pipeline,
        training_seed: int,
        progress: Callable[[float], None] | None = None,
    ) -> ScoreRecord:
        """Train `pipeline` on the training set and what was bought; score the held-out split.

        A training whose loss does not stay finite has status "crashed" and no score. Raises
        ConfigurationError where the device has too little memory for the pipeline.
        """
        started = time.monotonic()
        held_out = self.splits.validation
        scores, reason = NO_SCORES, ""
        try:
            found = self.probabilities(held_out, purchased, pipeline, training_seed, progress)
            predictions = (found >= 0.5).to(torch.uint8).numpy()
            scores = asdict(score(held_out.labels, predictions, self.splits.class_names))
        except FloatingPointError as error:
            reason = str(error)
        return ScoreRecord(
            trial=trial,
            pipeline=pipeline.name,
            training_seed=training_seed,
            status="crashed" if reason else "ok",
            reason=reason,
            **scores,
            n_training=len(self.splits.training),
            n_purchased=len(set(purchased)),
            seconds=round(time.monotonic() - started, 3),
            configuration=self.configuration(pipeline),
            bought=digest_of(purchased),
            device=device_name(self.device),
            revision=git_revision(Path(__file__).parent),
            versions=library_versions(),
        )

    def probabilities(
        self,
        part: ZEWDPCBaseDataset,
        purchased: Sequence[int],
        pipeline: Pipeline,
        training_seed: int,
        progress: Callable[[float], None] | None = None,
    ) -> Tensor:
        """What `pipeline`, trained on the training set and what was bought, says of `part` (N, C).

        Raises FloatingPointError where the loss stops being a number, ConfigurationError where
        the device has too little memory.
        """
        parts = self.splits.training, self.bought(purchased)
        if pipeline.frozen_features:
            return self._from_features(part, parts, pipeline, training_seed, progress)
        trainer = ZEWDPCTrainer(
            pipeline,
            self.splits.class_names,
            seed=training_seed,
            device=self.device,
            weights=self.weights,
            progress=progress,
            steps=self.steps,
        )
        try:
            trainer.fit(
                torch.cat([self._images(one, pipeline.size) for one in parts]),
                np.concatenate([one.labels for one in parts]),
            )
            return trainer.predict_probabilities(self._images(part, pipeline.size))
        except torch.OutOfMemoryError as error:
            raise too_little_memory(
                f"--pipeline {pipeline.name}",
                error,
                "choose another --pipeline or --device; what is finished is kept",
            ) from error
        finally:
            del trainer
            release_memory()

    def _from_features(
        self,
        part: ZEWDPCBaseDataset,
        learned: Sequence[ZEWDPCBaseDataset],
        pipeline: Pipeline,
        training_seed: int,
        progress: Callable[[float], None] | None,
    ) -> Tensor:
        """As `probabilities`, from features that are computed once for all trainings."""
        shown = [*training_views(pipeline), PREDICTION_VIEW]
        *views, plain = (
            torch.cat(parts)
            for parts in zip(*(self.features(one, pipeline, shown) for one in learned), strict=True)
        )
        labels = np.concatenate([one.labels for one in learned])
        trainer = HeadTrainer(
            pipeline, self.splits.class_names, seed=training_seed, progress=progress
        ).fit(views, plain, labels)
        (held_out,) = self.features(part, pipeline, [PREDICTION_VIEW])
        return trainer.predict_probabilities(held_out)

    def features(
        self, part: ZEWDPCBaseDataset, pipeline: Pipeline, views: Sequence[str]
    ) -> list[Tensor]:
        """Features (N, D) of one part's images, for each of the `views`; kept once computed."""
        return self._frozen_features(pipeline).of(
            self._split_images(part, pipeline.size),
            views,
            rows=torch.from_numpy(part.rows),
            hashes=self._split_hashes(part, pipeline.size),
        )

    def features_to_compute(self, pipelines: Sequence[Pipeline]) -> dict[Pipeline, int]:
        """How often an image has still to be shown to a network, if all of the pool is bought.

        By the first pipeline that uses the network; others find the features kept.
        """
        views: dict[tuple[str, int | None], set[str]] = {}
        first: dict[tuple[str, int | None], Pipeline] = {}
        for pipeline in pipelines:
            if pipeline.frozen_features:
                key = (str(pipeline.architecture), pipeline.size)
                first.setdefault(key, pipeline)
                views.setdefault(key, {PREDICTION_VIEW}).update(training_views(pipeline))
        parts = self.splits.training, self.splits.unlabelled, self.splits.validation
        found = {}
        for key, pipeline in first.items():
            *learned, held_out = (self._split_hashes(part, pipeline.size) for part in parts)
            features = self._frozen_features(pipeline)
            found[pipeline] = features.missing(held_out, [PREDICTION_VIEW]) + sum(
                features.missing(hashes, sorted(views[key])) for hashes in learned
            )
        return found

    def seconds_for_a_feature(self, pipeline: Pipeline, n: int = 16) -> float:
        """What showing one image to the network of `pipeline` takes here."""
        images = self._split_images(self.splits.training, pipeline.size)[:n]
        network = self._frozen_features(pipeline).network
        network.features(images)  # kernels are chosen
        started = time.monotonic()
        network.features(images)
        return (time.monotonic() - started) / len(images)

    def _frozen_features(self, pipeline: Pipeline) -> FrozenFeatures:
        key = pipeline.architecture, self.weights
        if key not in self._frozen:
            network = pipeline_network(pipeline, self.weights, usable_device(self.device))
            logger.info("%s: ImageNet weights from %s", pipeline.architecture, network.source)
            self._frozen[key] = FrozenFeatures(network, self._features_folder())
        return self._frozen[key]

    def _features_folder(self) -> Path | None:
        """Beside the decoded images; None where the data set lies in memory alone."""
        files = list(self.splits.image_files.values())
        return files[0].parent / "features" if files else None

    def bought(self, purchased: Sequence[int]) -> ZEWDPCBaseDataset:
        """The bought images with the labels that the vault sold."""
        pool = self.splits.unlabelled
        labels: Mapping[int, Sequence[int]] = {row: pool.labels[row].tolist() for row in purchased}
        return instantiate_purchased_dataset(pool, labels)

    def configuration(self, pipeline: Pipeline) -> str:
        """Changes when the same purchase could get another score: code, settings, weights."""
        weights = _weights_digest(self.weights) if pipeline.pretrained else ""
        device = chosen_device(self.device)
        where = device.type
        if device.type == "cpu":  # other threads add up in another order, and end elsewhere
            where += str(torch.get_num_threads())
        elif torch.cuda.is_available():  # else the driver of a cluster, which asks its workers
            where += f" {half_precision(device)}"
        where += "|compiled" if self.steps == "compiled" else ""
        settings = (
            f"{pipeline.fingerprint()}|{weights}|{where}|{torch.__version__}|{source_digest()}"
        )
        return hashlib.blake2b(settings.encode(), digest_size=6).hexdigest()

    def _images(self, part: ZEWDPCBaseDataset, size: int | None) -> Tensor:
        """(N, 3, S, S) uint8 of one part, from its split resized once."""
        resized = self._split_images(part, size)
        if len(part.rows) == len(resized):
            return resized
        return resized[torch.from_numpy(part.rows)]

    def _split_hashes(self, part: ZEWDPCBaseDataset, size: int | None) -> list[bytes]:
        """M content hashes of the whole split that a part draws from."""
        key = (id(part.images), size)
        if key not in self._hashes:
            self._hashes[key] = content_hashes(self._split_images(part, size))
        return self._hashes[key]

    def _split_images(self, part: ZEWDPCBaseDataset, size: int | None) -> Tensor:
        """(M, 3, S, S) uint8 of the whole split that a part draws from."""
        key = (id(part.images), size)
        if key not in self._resized:
            self._resized[key] = resize_images(part.images, size)
        return self._resized[key]


@cache
def _weights_digest(weights: str) -> str:
    """`weights` itself, or what is in the file of that name."""
    path = Path(weights)
    if weights in ("imagenet", "none") or not path.is_file():
        return weights
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


@cache
def source_digest() -> str:
    """Changes with the code that trains and scores."""
    digest = hashlib.blake2b()
    for path in scoring_modules():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def scoring_modules() -> list[Path]:
    """The modules that `source_digest` is of, in a fixed order."""
    return [path for folder in SCORING_CODE for path in sorted((REPO_ROOT / folder).rglob("*.py"))]
