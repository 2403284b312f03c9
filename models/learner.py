"""What every learner offers: it learns from labelled images, and says what it makes of others.

A learner is an ensemble whose members learn from different folds of what is labelled. Every member
holds out its own fold, so one training gives three things: predictions (the members' mean), a
committee (their spread), and an out-of-fold prediction for every labelled image, on which
temperature, thresholds and F1 are measured at no cost in labels.
"""

import time
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from core.random_streams import stream
from models.calibration import best_thresholds, calibrate, uncalibrated
from models.folds import extend_folds
from models.image_bank import Clock
from models.settings import LearnerSettings

HELD_OUT_FOLDS = 5  # a lone member holds out one of these


class DeadlineReachedError(Exception):
    """The clock passed the deadline before there was a result."""


class Predictions(NamedTuple):
    """What the learner makes of images in one inference pass, on the CPU."""

    probabilities: Tensor  # (N, C), calibrated
    embeddings: Tensor  # (N, D), the first member's pooled features
    committee: Tensor  # (K, N, C), each member's calibrated probabilities


class Speed(NamedTuple):
    """Seconds per labelled image and epoch of a fit, and per image looked at; all members."""

    fit: float
    look: float


class Learner(ABC):
    """Learns which classes an image shows.

    Images reach it once, through `encode`; what that returns is all that is kept of them, and what
    `fit` and `infer` take.

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

    # Of the time left, the share that reading and encoding the pool may take.
    reading_share = 0.25

    epochs_: float
    labelled_probabilities_: Tensor

    def __init__(self, settings: LearnerSettings, seed: int, clock: Clock = time.monotonic) -> None:
        self.settings = settings
        self.seed = seed
        self.clock = clock
        self.resolved = settings.resolved()
        self.calibration_ = uncalibrated(1, settings.positive_weight)
        self.folds_ = torch.empty(0, dtype=torch.long)
        self.calibration_rows_ = torch.empty(0, dtype=torch.long)
        self._holds_out = True  # whether members of the last fit left anything unseen
        self.fits_ = 0

    def encode(self, images: Tensor) -> Tensor:
        """What is kept of uint8 `images` (N, 3, S, S): the images, or features (N, D)."""
        return images

    @abstractmethod
    def fit(
        self,
        inputs: Tensor,
        labels: Tensor,
        *,
        epochs: int,
        deadline: float | None = None,
        n_calibration: int | None = None,
    ) -> Self:
        """Learn from `inputs` (L, ...), encoded images, with `labels` (L, C) of 0/1.

        Between fits, rows are only ever appended. The first `n_calibration` rows are those drawn
        like the pool (all, if None): thresholds and calibration are measured on them, because what
        was bought is richer in rare classes than what is to come. A class that none of them shows
        has its threshold and F1 from all.
        """

    @abstractmethod
    def infer(self, inputs: Tensor, deadline: float | None = None) -> Predictions:
        """Probabilities, embeddings and committee of encoded images (N, ...), in one pass.

        Raises DeadlineReachedError where the clock passes `deadline` first.
        """

    @abstractmethod
    def measure_speed(self, inputs: Tensor, labels: Tensor) -> Speed:
        """What a fit and a look cost on this machine; the learner is not changed."""

    @property
    def thresholds_(self) -> Tensor:
        return self.calibration_.thresholds

    @property
    def validation_f1_(self) -> Tensor:
        return self.calibration_.f1

    def probabilities(self, inputs: Tensor) -> Tensor:
        """(N, C), calibrated."""
        return self.infer(inputs).probabilities

    def embeddings(self, inputs: Tensor) -> Tensor:
        """(N, D)."""
        return self.infer(inputs).embeddings

    def committee_probabilities(self, inputs: Tensor) -> Tensor:
        """(K, N, C)."""
        return self.infer(inputs).committee

    def predict(self, inputs: Tensor) -> Tensor:
        """uint8 (N, C) of 0/1, at the thresholds measured out of fold."""
        return (self.infer(inputs).probabilities >= self.thresholds_).to(torch.uint8)

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

    def _calibrate(
        self, logits: Tensor, held_out: Tensor, labels: Tensor, n_calibration: int | None
    ) -> None:
        """Calibrate on the out-of-fold `logits` (L, C) of the rows that are `held_out` (L,)."""
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
            self.calibration_ = uncalibrated(labels.shape[1], self.settings.positive_weight)
        self.labelled_probabilities_ = self.calibration_.probabilities(logits)


def check_labels(inputs: Tensor, labels: Tensor) -> None:
    """Raise ValueError where `labels` are not (L, C), one row for each of `inputs`."""
    if labels.ndim != 2 or len(labels) != len(inputs) or len(labels) == 0:
        raise ValueError(
            f"Labels must be (L, C), one row per image; got {tuple(labels.shape)} for "
            f"{len(inputs)} images."
        )
