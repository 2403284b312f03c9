"""The learner that reads features of a frozen network with ImageNet weights, and fits linear heads.

Each image is shown to the network once, when it is read; what is kept of it is a row of numbers. A
fit then takes a second, so that a purchase can afford many rounds. A head is a logistic regression
per class on standardised features, fitted by L-BFGS with an L2 penalty: the linear probe of
Kornblith et al. 2019, "Do Better ImageNet Models Transfer Better?".
"""

import time
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from core.pretrained.feature_bank import FeatureBank, content_hashes
from core.pretrained.frozen_network import FrozenNetwork, frozen_network
from models.image_bank import Clock
from models.learner import DeadlineReachedError, Learner, Predictions, Speed, check_labels
from models.settings import LearnerSettings

BATCH = 64  # images shown to the network at a time
# Weight of half the squared coefficients beside the summed loss, for features of unit length. On
# two data sets anything from 0.1 to 1 came within 0.01 in F1, with 300 images and with 1,000.
PENALTY = 0.3
STEPS = 4  # of L-BFGS, for each epoch that is asked for


class FrozenLearner(Learner):
    """Linear heads on features of a frozen network; see `Learner`.

    `encode` gives float32 (N, D) features.

    Parameters
    ----------
    kept_in : folder of a feature bank, which saves showing an image to the network twice; None
        keeps features for as long as the learner is there.

    Fitted
    ------
    mean_, scale_ : (D,), what standardises features.
    weights_, biases_ : (K, C, D) and (K, C), of the members' heads.
    """

    reading_share = 0.6  # showing images to the network is most of the work

    def __init__(
        self,
        settings: LearnerSettings,
        seed: int,
        clock: Clock = time.monotonic,
        *,
        kept_in: Path | None = None,
    ) -> None:
        super().__init__(settings, seed, clock)
        self._kept_in = kept_in
        self.weights_ = self.biases_ = torch.empty(0)

    @cached_property
    def network(self) -> FrozenNetwork:
        """The frozen network; MissingWeightsError where its weights cannot be had."""
        return frozen_network(self.resolved.backbone, device=self.resolved.device)

    def encode(self, images: Tensor) -> Tensor:
        """Features (N, D) of uint8 `images` (N, 3, S, S), float32 of no more digits than float16.

        So they are the same whether they come from a bank, which keeps float16, or not.
        """
        if self._kept_in is not None:
            bank = FeatureBank(self._kept_in, self.network.key, lambda: self.network)
            rows = content_hashes(images)
            kept = bank.features(rows, lambda wanted: images[torch.as_tensor(wanted)])
            return torch.from_numpy(kept).float()
        if not len(images):
            return torch.empty(0, self.network.n_features)
        parts = [self.network.features(part) for part in torch.split(images, BATCH)]
        return torch.cat(parts).half().float()

    def fit(
        self,
        inputs: Tensor,
        labels: Tensor,
        *,
        epochs: int,
        deadline: float | None = None,
        n_calibration: int | None = None,
    ) -> "FrozenLearner":
        """See `Learner.fit`; `inputs` are features (L, D), an epoch is STEPS steps of L-BFGS.

        Ends early where the heads have converged.
        """
        check_labels(inputs, labels)
        trained_on_all = self.fits_ > 0 and not self._holds_out
        rows = self._training_rows(labels)
        learns = torch.zeros(len(rows), len(labels))  # (K, L): 1 where a member learns from a row
        for member, own in zip(learns, rows, strict=True):
            member[own] = 1
        self.mean_ = inputs.mean(0)
        # So that features are of unit length on average, whatever their number.
        self.scale_ = inputs.std(0, correction=0).clamp_min(1e-6) * inputs.shape[1] ** 0.5
        features = self._scaled(inputs)
        cold = not self.settings.warm_start or (trained_on_all and self._holds_out)
        if cold or self.fits_ == 0:
            n_classes = labels.shape[1]
            self.weights_ = torch.zeros(len(rows), n_classes, inputs.shape[1])
            self.biases_ = torch.zeros(len(rows), n_classes)
        self.epochs_ = self._minimise(features, labels, learns, epochs, deadline)
        logits = self._logits(features)  # (K, L, C)
        unseen = 1 - learns
        held_out = unseen.sum(0) > 0
        self._calibrate((logits * unseen[:, :, None]).sum(0), held_out, labels, n_calibration)
        known = self.calibration_.probabilities(logits[0, ~held_out])
        self.labelled_probabilities_[~held_out] = known
        self.fits_ += 1
        return self

    def infer(self, inputs: Tensor, deadline: float | None = None) -> Predictions:
        """See `Learner.infer`; `inputs` are features (N, D), embeddings are standardised ones."""
        if deadline is not None and self.clock() >= deadline:
            raise DeadlineReachedError(f"0 of {len(inputs)} images were looked at")
        features = self._scaled(inputs)
        committee = self.calibration_.probabilities(self._logits(features))
        return Predictions(committee.mean(0), features, committee)

    def measure_speed(self, inputs: Tensor, labels: Tensor) -> Speed:
        """See `Learner.measure_speed`; showing images to the network is part of reading them."""
        trial = FrozenLearner(self.settings, self.seed, self.clock)
        trial.fit(inputs[:BATCH], labels[:BATCH], epochs=1)  # warm up
        started = self.clock()
        trial.fit(inputs, labels, epochs=2)
        fitted = self.clock()
        trial.infer(inputs)
        n = len(inputs)
        return Speed((fitted - started) / (2 * n), (self.clock() - fitted) / n)

    def _minimise(
        self,
        features: Tensor,
        labels: Tensor,
        learns: Tensor,
        epochs: int,
        deadline: float | None,
    ) -> float:
        """Fit the heads, from what they are; returns the epochs that it took."""
        weights = self.weights_.clone().requires_grad_()
        biases = self.biases_.clone().requires_grad_()
        optimiser = torch.optim.LBFGS(
            [weights, biases],
            max_iter=STEPS,
            max_eval=100 * STEPS,  # only convergence ends it before
            history_size=10,
            line_search_fn="strong_wolfe",
        )
        positive_weight = torch.tensor(self.settings.positive_weight)

        def loss() -> Tensor:
            optimiser.zero_grad()
            logits = _linear(features, weights, biases)  # (K, L, C)
            misfit = F.binary_cross_entropy_with_logits(
                logits, labels.expand_as(logits), pos_weight=positive_weight, reduction="none"
            )
            total = (misfit.sum(2) * learns).sum() + PENALTY / 2 * weights.square().sum()
            value: Tensor = total / len(labels)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        done = 0.0
        with torch.enable_grad():
            while done < epochs and not (deadline is not None and self.clock() >= deadline):
                before = optimiser.state[weights].get("n_iter", 0)
                optimiser.step(loss)  # type: ignore[no-untyped-call]
                steps = optimiser.state[weights]["n_iter"] - before
                done += max(1, steps) / STEPS
                if steps < STEPS:  # converged
                    break
        self.weights_, self.biases_ = weights.detach(), biases.detach()
        return done

    def _scaled(self, inputs: Tensor) -> Tensor:
        scaled: Tensor = (inputs - self.mean_) / self.scale_
        return scaled

    def _logits(self, features: Tensor) -> Tensor:
        """(K, N, C) of standardised `features` (N, D)."""
        return _linear(features, self.weights_, self.biases_)


def _linear(features: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """(K, N, C) from (N, D), (K, C, D) and (K, C), as one product of matrices."""
    members, classes = biases.shape
    flat = F.linear(features, weights.flatten(0, 1), biases.flatten())  # (N, K C)
    logits: Tensor = flat.view(-1, members, classes).transpose(0, 1)
    return logits
