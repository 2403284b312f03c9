"""The learner: an ensemble whose members are trained on different folds of the labelled images.

Every member holds out its own fold. So one training gives three things: predictions (the members'
mean), a committee (their spread), and an out-of-fold prediction for every labelled image, on which
temperature, thresholds and F1 are measured at no cost in labels. With K members a fit costs K - 1
passes per epoch.
"""

import logging
import math
import time
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from core.max_pool_mil import NetworkOutput
from core.precision import autocast, is_out_of_memory, synchronise
from core.random_streams import stream
from models.calibration import best_thresholds, calibrate, uncalibrated
from models.folds import extend_folds
from models.image_bank import Clock
from models.member import INFERENCE_BATCHES, EnsembleMember, HostCopy
from models.networks import SMALL, build_network, find_weights
from models.settings import DTYPES, LearnerSettings
from models.speed import Speed, measure_speed

LOG = logging.getLogger("buyer.learner")

HELD_OUT_FOLDS = 5  # a lone member holds out one of these
SYNCHRONISE_EVERY = 8  # steps after which the clock waits for the device


class DeadlineReachedError(Exception):
    """The clock passed the deadline before there was a result."""


class Predictions(NamedTuple):
    """What the learner makes of images in one inference pass, on the CPU."""

    probabilities: Tensor  # (N, C), calibrated
    embeddings: Tensor  # (N, D), the first member's pooled features
    committee: Tensor  # (K, N, C), each member's calibrated probabilities


class Learner:
    """Learns which classes an image shows.

    Parameters
    ----------
    settings : see `LearnerSettings`.
    seed : of the trial; initialisation, batch order and folds draw from its streams.
    clock : what deadlines are read on, in seconds.

    Fitted
    ------
    calibration_ : temperature, bias, thresholds and F1 per class, from out-of-fold predictions.
    labelled_probabilities_ : (L, C), out-of-fold.
    calibration_rows_ : labelled rows that calibration, thresholds and F1 were measured on.
    epochs_ : epochs that the last fit finished, a fraction where a deadline cut it short.
    """

    def __init__(self, settings: LearnerSettings, seed: int, clock: Clock = time.monotonic) -> None:
        self.settings = settings
        self.seed = seed
        self.clock = clock
        self.resolved = settings.resolved()
        self.members_: list[EnsembleMember] = []
        self.calibration_ = uncalibrated(1, settings.positive_weight)
        self.folds_ = torch.empty(0, dtype=torch.long)
        self.calibration_rows_ = torch.empty(0, dtype=torch.long)
        self._holds_out = True  # whether members of the last fit left anything unseen
        self.fits_ = 0
        self.batch_size_ = self.resolved.batch_size

    @property
    def thresholds_(self) -> Tensor:
        return self.calibration_.thresholds

    @property
    def validation_f1_(self) -> Tensor:
        return self.calibration_.f1

    def fit(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        epochs: int,
        deadline: float | None = None,
        n_calibration: int | None = None,
    ) -> "Learner":
        """Train on `images` uint8 (L, 3, S, S) with `labels` (L, C) of 0/1.

        Between fits, rows are only ever appended. The learning rate comes down with the steps
        done or with the time gone, whichever is further, so that a fit cut off at `deadline`
        (on the clock) has cooled down too. The first `n_calibration` rows are those drawn like the
        pool (all, if None): thresholds and calibration are measured on them, because what was
        bought is richer in rare classes than what is to come. A class that none of them shows has
        its threshold and F1 from all.
        """
        _check_labelled(images, labels)
        started = self.clock()
        trained_on_all = bool(self.members_) and not self._holds_out
        rows = self._training_rows(labels)
        if trained_on_all and self._holds_out:
            self.members_ = []  # trained on what they would now be validated on
        self.start_members(labels.shape[1], images.shape[-1])
        images, labels = self._to_device(images), self._to_device(labels)
        seen = self._train(images, labels, rows, epochs, started, deadline)
        self.synchronise()
        self.epochs_ = seen / sum(len(r) for r in rows)
        self._measure(images, labels.cpu(), rows, n_calibration)
        self.fits_ += 1
        return self

    def infer(self, images: Tensor, deadline: float | None = None) -> Predictions:
        """Probabilities, embeddings and committee of uint8 (N, 3, S, S), in one pass.

        Raises DeadlineReachedError where the clock passes `deadline` first.
        """
        logits, features = self._forward(self.members_, images, deadline)
        committee = self.calibration_.probabilities(logits)  # (K, N, C)
        return Predictions(committee.mean(0), features, committee)

    def measure_speed(self, images: Tensor, labels: Tensor) -> Speed:
        """What a fit and a look cost on this machine; see `models.speed.measure_speed`."""
        return measure_speed(self, images, labels)

    def probabilities(self, images: Tensor) -> Tensor:
        """(N, C), calibrated."""
        return self.infer(images).probabilities

    def embeddings(self, images: Tensor) -> Tensor:
        """(N, D)."""
        return self.infer(images).embeddings

    def committee_probabilities(self, images: Tensor) -> Tensor:
        """(K, N, C)."""
        return self.infer(images).committee

    def predict(self, images: Tensor) -> Tensor:
        """uint8 (N, C) of 0/1, at the thresholds measured out of fold."""
        return (self.infer(images).probabilities >= self.thresholds_).to(torch.uint8)

    @property
    def min_calibration_rows(self) -> int:
        """Rows of the `n_calibration` that must be held out; below that it is measured on all."""
        return 2 * self._n_folds

    @property
    def _n_folds(self) -> int:
        return self.settings.members if self.settings.members > 1 else HELD_OUT_FOLDS

    def _training_rows(self, labels: Tensor) -> list[Tensor]:
        """For each member the rows it learns from."""
        n_members, n_folds = self.settings.members, self._n_folds
        rng = stream(self.seed, f"learner/folds/{len(self.folds_)}")
        self.folds_ = extend_folds(self.folds_, labels, n_folds, rng)
        self._holds_out = len(labels) >= self.min_calibration_rows
        if not self._holds_out:  # too few
            return [torch.arange(len(labels))] * n_members
        return [(self.folds_ != member).nonzero().flatten() for member in range(n_members)]

    def start_members(self, n_classes: int, image_size: int, *, announce: bool = True) -> None:
        """Fresh nets, or on a warm start the present ones with their momenta forgotten."""
        if self.members_ and self.settings.warm_start:
            for member in self.members_:
                member.reset_optimisers()
            return
        weights = find_weights(self.resolved.backbone, self.settings.pretrained)
        if announce and self.fits_ == 0 and self.resolved.backbone != SMALL:
            origin = (
                f"from {weights}" if weights else "from random initialisation, no ImageNet weights"
            )
            LOG.info("%s starts %s", self.resolved.backbone, origin)
        self.members_ = [
            EnsembleMember(
                network=build_network(
                    self.resolved.backbone,
                    n_classes,
                    image_size,
                    stream(self.seed, f"learner/initialisation/{number}/{self.fits_}"),
                    weights,
                ),
                device=self.resolved.device,
                precision=self.resolved.precision,
                learning_rate=self.resolved.learning_rate,
                weight_decay=self.settings.weight_decay,
                positive_weight=self.settings.positive_weight,
                rng=stream(self.seed, f"learner/batches/{number}/{self.fits_}"),
            )
            for number in range(self.settings.members)
        ]

    def _train(
        self,
        images: Tensor,
        labels: Tensor,
        rows: list[Tensor],
        epochs: int,
        started: float,
        deadline: float | None,
    ) -> int:
        """Train all members in step, epoch by epoch; returns how many images were passed."""
        total = epochs * sum(len(r) for r in rows)
        seen = steps = 0
        for _ in range(epochs):
            for member, own in zip(self.members_, rows, strict=True):
                for batch, symmetries in member.batches(own, self.batch_size_):
                    progress = (seen + len(batch)) / total
                    if deadline is not None:
                        now = self.clock()
                        if now >= deadline:
                            return seen
                        progress = max(progress, (now - started) / (deadline - started))
                    self.train_on(member, images, labels, batch, symmetries, progress)
                    seen += len(batch)
                    steps += 1
                    if steps % SYNCHRONISE_EVERY == 0:
                        self.synchronise()
        return seen

    def train_on(
        self,
        member: EnsembleMember,
        images: Tensor,
        labels: Tensor,
        batch: Tensor,
        symmetries: Tensor,
        progress: float,
    ) -> None:
        """One step, in as many pieces as the device's memory asks for."""
        n_pieces = max(1, math.ceil(len(batch) / self.batch_size_ - 0.5))  # batches vary in size
        for part, applied in zip(
            batch.tensor_split(n_pieces), symmetries.tensor_split(n_pieces), strict=True
        ):
            # Not from inside an `except`: until that ends, the error's traceback keeps the failed
            # step's activations in the very memory that the smaller batch needs.
            rows = part.to(images.device, non_blocking=True)
            if not self._try_step(member, images[rows], labels[rows], applied, progress):
                self._halve_batch(len(part))
                self.train_on(member, images, labels, part, applied, progress)

    def _try_step(
        self,
        member: EnsembleMember,
        images: Tensor,
        labels: Tensor,
        symmetries: Tensor,
        progress: float,
    ) -> bool:
        """Whether memory sufficed for the step; a single image must fit."""
        try:
            member.step(images, labels, symmetries, progress)
        except RuntimeError as error:
            if not is_out_of_memory(error) or len(images) == 1:
                raise
            return False
        return True

    def _halve_batch(self, size: int) -> None:
        self.batch_size_ = max(1, min(size, self.batch_size_) // 2)
        LOG.warning("out of memory at %d images; batches of %d from now on", size, self.batch_size_)
        if self.resolved.device.type == "cuda":
            torch.cuda.empty_cache()

    def _measure(
        self, images: Tensor, labels: Tensor, rows: list[Tensor], n_calibration: int | None
    ) -> None:
        """Predict what each member has not seen, and calibrate on it."""
        n_classes = labels.shape[1]
        logits = torch.zeros(labels.shape)
        times = torch.zeros(len(labels))
        for member, own in zip(self.members_, rows, strict=True):
            unseen = torch.ones(len(labels), dtype=torch.bool)
            unseen[own] = False
            if unseen.any():
                own_logits, _ = self._forward([member], images[unseen.to(images.device)])
                logits[unseen] += own_logits[0]
                times[unseen] += 1
        held_out = times > 0
        finite = held_out & torch.isfinite(logits).all(1)  # else the net has diverged
        calibrating = finite.clone()
        if n_calibration is not None and (
            int(finite[:n_calibration].sum()) >= self.min_calibration_rows
        ):
            calibrating[n_calibration:] = False
        self.calibration_rows_ = calibrating.nonzero().flatten()
        if calibrating.any():
            weight = self.settings.positive_weight
            calibration = calibrate(logits[calibrating], labels[calibrating], weight)
            # A class that none of these shows is measured on what was bought: better than never.
            elsewhere = labels[calibrating].sum(0) == 0
            thresholds, f1 = best_thresholds(
                calibration.probabilities(logits[finite]), labels[finite]
            )
            self.calibration_ = replace(
                calibration,
                thresholds=torch.where(elsewhere, thresholds, calibration.thresholds),
                f1=torch.where(elsewhere, f1, calibration.f1),
            )
        else:
            self.calibration_ = uncalibrated(n_classes, self.settings.positive_weight)
        self.labelled_probabilities_ = self.calibration_.probabilities(logits)
        if not held_out.all():  # a lone member holds out some, and knows the rest by heart
            seen, _ = self._forward(self.members_[:1], images[(~held_out).to(images.device)])
            self.labelled_probabilities_[~held_out] = self.calibration_.probabilities(seen[0])

    def _forward(
        self, members: list[EnsembleMember], images: Tensor, deadline: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits (K, N, C) of all `members` and features (N, D) of the first, on the CPU."""
        for member in members:
            member.network.eval()
        found: list[list[Tensor]] = []  # logits (K, B, C) and features (B, D) of each batch
        ahead: HostCopy | None = None
        start = 0
        with (
            torch.inference_mode(),
            autocast(self.resolved.device, DTYPES[self.resolved.precision]),
        ):
            while start < len(images) or ahead is None:
                size = INFERENCE_BATCHES * self.batch_size_
                sent = n = min(size, len(images) - start)
                views: list[NetworkOutput] = []
                try:
                    batch = self._to_device_in_turn(images[start : start + n], size)
                    sent = len(batch)
                    for member in members:
                        if deadline is not None and self.clock() >= deadline:
                            raise DeadlineReachedError(
                                f"{start} of {len(images)} images were looked at"
                            )
                        views.append(member.network(batch))
                except RuntimeError as error:
                    if not is_out_of_memory(error) or self.batch_size_ == 1:
                        raise
                    views.clear()
                if not views:
                    self._halve_batch(sent)
                    continue
                logits = torch.stack([view.logits[:n] for view in views])
                before, ahead = ahead, HostCopy(logits, views[0].features[:n])
                if before is not None:  # waited for only now: the device has its next batch to do
                    found.append(before.wait())
                start += n
            found.append(ahead.wait())
        return torch.cat([part[0] for part in found], 1), torch.cat([part[1] for part in found])

    def _to_device_in_turn(self, batch: Tensor, size: int) -> Tensor:
        """`batch` (B, 3, S, S) on the device, channels-last; a GPU fetches it in its turn.

        For a GPU it is filled up to `size` images: at every size that is new to it, cuDNN looks
        for its kernels again, which takes longer than many a batch.
        """
        if self.resolved.device.type == "cuda" and 0 < len(batch) < size:
            batch = torch.cat([batch, batch[:1].expand(size - len(batch), -1, -1, -1)])
        batch = batch.contiguous(memory_format=torch.channels_last)
        if self.resolved.device.type == "cuda" and batch.device.type == "cpu":
            batch = batch.pin_memory()
        return batch.to(self.resolved.device, non_blocking=True)

    def _to_device(self, values: Tensor) -> Tensor:
        return values.to(self.resolved.device)

    def synchronise(self) -> None:
        synchronise(self.resolved.device)


def _check_labelled(images: Tensor, labels: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise ValueError(
            f"Images must be uint8 (L, 3, S, S); got {images.dtype} {tuple(images.shape)}."
        )
    if labels.ndim != 2 or len(labels) != len(images) or len(labels) == 0:
        raise ValueError(
            f"Labels must be (L, C), one row per image; got {tuple(labels.shape)} for "
            f"{len(images)} images."
        )
