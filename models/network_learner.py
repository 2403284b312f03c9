"""The learner that trains networks on images, from scratch or from ImageNet weights.

With K members a fit costs K - 1 passes per epoch.
"""

import logging
import math
import time

import torch
from torch import Tensor

from core.max_pool_mil import NetworkOutput
from core.precision import autocast, is_out_of_memory, synchronise
from core.random_streams import stream
from models.image_bank import Clock
from models.learner import DeadlineReachedError, Learner, Predictions, Speed, check_labels
from models.member import INFERENCE_BATCHES, EnsembleMember, HostCopy
from models.networks import SMALL, build_network, find_weights
from models.settings import DTYPES, LearnerSettings
from models.speed import measure_speed

LOG = logging.getLogger("buyer.learner")

SYNCHRONISE_EVERY = 8  # steps after which the clock waits for the device


class NetworkLearner(Learner):
    """An ensemble of networks; see `Learner`."""

    def __init__(self, settings: LearnerSettings, seed: int, clock: Clock = time.monotonic) -> None:
        super().__init__(settings, seed, clock)
        self.members_: list[EnsembleMember] = []
        self.batch_size_ = self.resolved.batch_size

    def fit(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        epochs: int,
        deadline: float | None = None,
        n_calibration: int | None = None,
    ) -> "NetworkLearner":
        """Train on `images` uint8 (L, 3, S, S) with `labels` (L, C) of 0/1; see `Learner.fit`.

        The learning rate comes down with the steps done or with the time gone, whichever is
        further, so that a fit cut off at `deadline` (on the clock) has cooled down too.
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
        """See `Learner.infer`; `images` are uint8 (N, 3, S, S)."""
        logits, features = self._forward(self.members_, images, deadline)
        committee = self.calibration_.probabilities(logits)  # (K, N, C)
        return Predictions(committee.mean(0), features, committee)

    def measure_speed(self, images: Tensor, labels: Tensor) -> Speed:
        """What a fit and a look cost on this machine; see `models.speed.measure_speed`."""
        return measure_speed(self, images, labels)

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
        self._calibrate(logits, held_out, labels, n_calibration)
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
    check_labels(images, labels)
