"""Training the head of a network whose features are frozen, on features that are computed once.

With frozen features a training sees each image as one of a few views (mirrored or not, blurred or
not), and the network never changes: what it makes of each view is computed once and kept, and a
training is then a linear head on rows of numbers, which takes seconds. What a head learns from
kept features is what it would learn from pixels, but for their rounding to float16.
"""

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from core.pretrained.feature_bank import FeatureBank, Progress, content_hashes
from core.pretrained.frozen_network import FrozenNetwork, frozen_network
from core.pretrained.imagenet_weights import PACKAGES
from core.random_streams import stream, stream_seed
from evaluator.training.batches import PREDICTION_BATCH, batch_sizes, split_rows
from evaluator.training.metrics import binary_matrix
from evaluator.training.networks import body_of, build_network, pixel_statistics
from evaluator.training.optimisers import build_optimisers, build_schedule
from evaluator.training.pipelines import Pipeline
from evaluator.training.weights import load_weights, weights_refused

logger = logging.getLogger(__name__)

MIRRORS = ("plain", "across", "down", "both")  # view number: 1 if across, and 2 if down
PREDICTION_VIEW = "plain"


def training_views(pipeline: Pipeline) -> list[str]:
    """The views that a training draws from, those of a mirrored image in the order of MIRRORS."""
    mirrors = MIRRORS if pipeline.flips else MIRRORS[:1]
    return [f"blurred {name}" if pipeline.blur else name for name in mirrors]


class FrozenFeatures:
    """What a frozen network makes of images.

    Parameters
    ----------
    network : see `pipeline_network`.
    folder : of the bank that keeps features; None computes them every time.
    """

    def __init__(self, network: FrozenNetwork, folder: Path | None) -> None:
        self.network = network
        self._bank = FeatureBank(folder, network.key, lambda: network) if folder else None

    def of(
        self,
        images: Tensor,
        views: Sequence[str],
        *,
        rows: Tensor | None = None,
        hashes: Sequence[bytes] | None = None,
        progress: Progress | None = None,
    ) -> list[Tensor]:
        """Features float32 (N, D) of uint8 `images` (M, 3, H, W), for each of the `views`.

        rows : (N,) of the images that are wanted; all, if None.
        hashes : M content hashes of the images; computed, if None.
        """
        rows = torch.arange(len(images)) if rows is None else rows

        def read(wanted: Sequence[int]) -> Tensor:
            return images[rows[torch.as_tensor(wanted)]]

        if self._bank is None:
            parts = torch.split(rows, PREDICTION_BATCH)
            return [
                torch.cat([self.network.features(images[rows], view) for rows in parts])
                for view in views
            ]
        known = content_hashes(images) if hashes is None else hashes
        own = [known[row] for row in rows.tolist()]
        if missing := self.missing(own, views):
            logger.info("%s: %d features to compute, once", self.network.key, missing)
        return [
            torch.from_numpy(
                self._bank.features(own, read, view, progress=progress).astype(np.float32)
            )
            for view in views
        ]

    def missing(self, hashes: Sequence[bytes], views: Sequence[str]) -> int:
        """How often an image of these would have to be shown to the network."""
        if self._bank is None:
            return len(hashes) * len(views)
        return sum(self._bank.missing(hashes, view) for view in views)


def pipeline_network(pipeline: Pipeline, weights: str, device: torch.device) -> FrozenNetwork:
    """The network whose features `pipeline` freezes; `weights` are as for `load_weights`.

    Raises ConfigurationError where the weights cannot be had.
    """
    architecture = pipeline.architecture
    if architecture in PACKAGES and weights == "imagenet":  # the buyer's may be the same
        with weights_refused():
            return frozen_network(architecture, device=device)
    network = build_network(architecture, 1)
    load_weights(network, architecture, weights)
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in network.state_dict().items():
        if not name.startswith("classifier."):
            digest.update(name.encode() + tensor.numpy().tobytes())
    mean, std = pixel_statistics(architecture)
    return FrozenNetwork(
        body_of(network),
        mean=mean,
        std=std,
        key=f"{architecture}-{digest.hexdigest()}",
        source=weights,
        device=device,
    )


class HeadTrainer:
    """Trains the linear head of `pipeline`, which has frozen features, from `seed`.

    Parameters are as for `ZEWDPCTrainer`. Fitted: `head_`, `mean_` and `deviation_` (D,), which
    standardise features where the pipeline says so.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        class_names: Sequence[str],
        *,
        seed: int,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.class_names = class_names
        self.seed = seed
        self.progress = progress

    def fit(self, views: Sequence[Tensor], plain: Tensor, labels: npt.ArrayLike | Tensor) -> Self:
        """Train on `views`, features float32 (N, D) of each of `training_views`.

        `plain`, features (N, D) of the images as they are predicted, serves the rows held out.
        Raises `ValueError` where labels are not what they must be, `FloatingPointError` where the
        loss stops being a number.
        """
        pipeline = self.pipeline
        targets = torch.from_numpy(
            binary_matrix(labels, "labels", len(plain), len(self.class_names))
        ).float()
        rows, held_out = split_rows(len(plain), pipeline.validation_share, self.seed)
        self._standardise(plain[rows])
        shown = torch.stack([self._scaled(features) for features in views])  # (V, N, D)
        held_out_features = self._scaled(plain[held_out])
        sizes = batch_sizes(len(rows), pipeline.batch_size)
        n_steps = pipeline.epochs * len(sizes)
        with torch.random.fork_rng(devices=[]):
            seed = stream_seed(self.seed, "post-purchase head")
            torch.default_generator.manual_seed(seed)  # initialisation and dropout
            head = nn.Sequential(
                nn.Dropout(pipeline.head_dropout),
                nn.Linear(plain.shape[1], len(self.class_names)),
            )
            (optimiser,) = build_optimisers(head, pipeline)
            schedule = build_schedule(optimiser, pipeline, n_steps)
            n_averaged = math.ceil(n_steps * pipeline.averaged_share)
            average = AveragedModel(head) if n_averaged else None
            order = stream(self.seed, "post-purchase batch order")
            mirrors = stream(self.seed, "post-purchase mirrors")
            step = 0
            for epoch in range(pipeline.epochs):
                head.train()
                total = 0.0
                shuffled = rows[torch.randperm(len(rows), generator=order)]
                for batch in torch.split(shuffled, sizes):
                    symmetries = torch.rand(3, len(batch), generator=mirrors) < 0.5  # as for pixels
                    view = (
                        symmetries[0] + 2 * symmetries[1]
                        if pipeline.flips
                        else torch.zeros_like(batch)
                    )
                    loss = self._loss(head(shown[view, batch]), targets[batch])
                    optimiser.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimiser.step()
                    if isinstance(schedule, LambdaLR):
                        schedule.step()
                    step += 1
                    if average is not None and step > n_steps - n_averaged:
                        average.update_parameters(head)
                    total += float(loss.detach())
                if not math.isfinite(total):
                    raise FloatingPointError(
                        f"pipeline {pipeline.name!r}, seed {self.seed}: the loss became {total} in "
                        f"epoch {epoch + 1}; lower the learning rate"
                    )
                if isinstance(schedule, ReduceLROnPlateau):
                    head.eval()
                    with torch.no_grad():
                        unseen = self._loss(head(held_out_features), targets[held_out])
                    schedule.step(float(unseen) if len(held_out) else total / len(sizes))
                if self.progress is not None:
                    self.progress((epoch + 1) / pipeline.epochs)
        self.head_: nn.Module = (average.module if average is not None else head).eval()
        return self

    @torch.no_grad()
    def predict_probabilities(self, features: Tensor) -> Tensor:
        """Probabilities float32 (M, C) for `features` (M, D) of images as they are."""
        if not hasattr(self, "head_"):
            raise NotFittedError("predict was called before fit; call fit(views, ...) first")
        probabilities: Tensor = self.head_(self._scaled(features)).sigmoid()
        return probabilities

    def _standardise(self, features: Tensor) -> None:
        """Learn what brings features to zero mean and unit deviation, where that is asked for."""
        self.mean_, self.deviation_ = torch.zeros(()), torch.ones(())
        if self.pipeline.standardised:
            self.mean_ = features.mean(0)
            self.deviation_ = features.std(0).clamp_min(1e-6)  # a feature that never changes

    def _scaled(self, features: Tensor) -> Tensor:
        return (features.float() - self.mean_) / self.deviation_

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        weight = torch.full((), self.pipeline.positive_weight)
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight)
