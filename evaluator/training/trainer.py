"""`ZEWDPCTrainer`: trains a post-purchase pipeline on training set + purchase, and predicts.

Images stay uint8 and are normalised batch by batch. Nothing reads or disturbs the global random
state, and no random choice depends on what was bought beyond how much: two purchases of one size
start from the same weights and see the same rows in the same order, mirrored alike.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal, Self

import numpy.typing as npt
import torch
import torch.nn.functional as F
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, update_bn

from core.precision import half_precision
from core.random_streams import stream_seed
from evaluator.training.augmentation import normalise
from evaluator.training.batches import PREDICTION_BATCH, Batches, augment
from evaluator.training.device import autocast, thread_limit, usable_device
from evaluator.training.metrics import binary_matrix
from evaluator.training.networks import build_network, check_images, set_training
from evaluator.training.optimisers import build_optimisers, build_schedule
from evaluator.training.pipelines import Pipeline
from evaluator.training.weights import load_weights
from shared.errors import ConfigurationError

Forward = Callable[[Tensor], Tensor]  # normalised batch to logits (B, C)
Steps = Literal["eager", "compiled"]  # how a training step runs: kernel by kernel, or torch.compile


class ZEWDPCTrainer:
    """Trains `pipeline` for the classes `class_names` from `seed`.

    `device` None takes the GPU where there is one. `weights` is "imagenet", "none" or the path of
    a state dict, and is ignored by pipelines that start from scratch. `progress` is called after
    every batch with the share of the training done, 0 to 1. `max_threads` bounds the CPU threads
    while fitting and predicting; None leaves them as they are. `steps` "compiled" has torch compile
    the network first, which takes a while; what is fitted is the plain network all the same. On a
    CPU the same rows, seed and number of threads give bit-identical probabilities. Fitted:
    `network_`, `device_`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        class_names: Sequence[str],
        *,
        seed: int,
        device: torch.device | str | None = None,
        weights: str = "imagenet",
        progress: Callable[[float], None] | None = None,
        max_threads: int | None = None,
        steps: Steps = "eager",
    ) -> None:
        self.pipeline = pipeline
        self.class_names = class_names
        self.seed = seed
        self.device = device
        self.weights = weights
        self.progress = progress
        self.max_threads = max_threads
        self.steps = steps

    def fit(self, images: Tensor, labels: npt.ArrayLike | Tensor) -> Self:
        """Train on `images` uint8 (N, 3, S, S) and 0/1 `labels` (N, C).

        The rows' order matters to the seed's random choices: give them in a canonical one. Raises
        `ValueError` where images or labels are not what they must be, `ConfigurationError` where
        the weights cannot be had or the network cannot be compiled, `FloatingPointError` where the
        loss stops being a number.
        """
        check_images(images, self.pipeline)
        binary = binary_matrix(labels, "labels", len(images), len(self.class_names))
        targets = torch.from_numpy(binary).float()
        if self.pipeline.frozen_features and self.weights == "none":
            warnings.warn(
                f"pipeline {self.pipeline.name!r} with weights none: frozen features drawn at "
                f"random tell almost nothing, expect a score near 0; use weights imagenet or FILE",
                stacklevel=2,
            )
        device = usable_device(self.device)
        batches = Batches(self.pipeline, self.seed, images, targets, device)
        with thread_limit(self.max_threads), self._seeded(device):
            network = build_network(
                self.pipeline.architecture, len(self.class_names), self.pipeline.dropout
            )
            if self.pipeline.pretrained:
                load_weights(network, self.pipeline.architecture, self.weights)
            network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            set_training(network, frozen_features=self.pipeline.frozen_features)
            compiled = self.steps == "compiled"
            with _compiled(network) if compiled else nullcontext(network) as forward:
                self._train(network, forward, batches)
        self.network_: nn.Module = network.eval()
        self.device_ = device
        return self

    @torch.no_grad()
    def predict_probabilities(self, images: Tensor) -> Tensor:
        """Probabilities float32 (M, C), on the CPU, for `images` uint8 (M, 3, S, S)."""
        if not hasattr(self, "network_"):
            raise NotFittedError("predict was called before fit; call fit(images, labels) first")
        if len(images) == 0:
            return torch.zeros(0, len(self.class_names))
        check_images(images, self.pipeline)
        parts = []
        with thread_limit(self.max_threads):
            for start in range(0, len(images), PREDICTION_BATCH):
                batch = images[start : start + PREDICTION_BATCH].to(self.device_)
                with autocast(self.device_):
                    logits = self.network_(normalise(batch))
                parts.append(logits.float().sigmoid().cpu())
        return torch.cat(parts)

    def predict(self, images: Tensor) -> Tensor:
        """0/1 predictions uint8 (M, C): 1 where the probability is at least 0.5."""
        return (self.predict_probabilities(images) >= 0.5).to(torch.uint8)

    @contextmanager
    def _seeded(self, device: torch.device) -> Iterator[None]:
        """Initialisation and dropout draw from our seed; the caller's state comes back."""
        gpus = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            seed = stream_seed(self.seed, "post-purchase initialisation")
            torch.default_generator.manual_seed(seed)
            if gpus:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            yield

    def _train(self, network: nn.Module, forward: Forward, batches: Batches) -> None:
        """Run the pipeline's epochs over `batches`."""
        pipeline = self.pipeline
        n_batches = len(batches.sizes)
        epochs = pipeline.epochs_for(n_batches)
        n_steps = epochs * n_batches
        optimisers = build_optimisers(network, pipeline)
        schedules = [build_schedule(optimiser, pipeline, n_steps) for optimiser in optimisers]
        n_averaged = math.ceil(n_steps * pipeline.averaged_share)
        average = AveragedModel(network) if n_averaged else None
        half = half_precision(batches.device)
        scaler = GradScaler(batches.device.type, enabled=half is torch.float16)
        for epoch in range(epochs):
            total = torch.zeros((), device=batches.device)
            for number, (images, targets, *draws) in enumerate(batches.epoch(), start=1):
                network.zero_grad()
                loss = self._loss(forward, augment(pipeline, images, *draws), targets)
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
                for optimiser, schedule in zip(optimisers, schedules, strict=True):
                    scaler.step(optimiser)
                    if isinstance(schedule, LambdaLR):
                        schedule.step()
                scaler.update()
                done = epoch * n_batches + number
                if average is not None and done > n_steps - n_averaged:
                    average.update_parameters(network)
                if self.progress is not None:
                    self.progress(done / n_steps)
            mean_loss = total.item() / n_batches
            if not math.isfinite(mean_loss):
                raise FloatingPointError(
                    f"pipeline {pipeline.name!r}, seed {self.seed}: the loss became {mean_loss} in "
                    f"epoch {epoch + 1}; lower the learning rate"
                )
            if pipeline.schedule == "plateau":
                held_out_loss = self._held_out_loss(network, batches)
                for schedule in schedules:
                    if isinstance(schedule, ReduceLROnPlateau):
                        schedule.step(mean_loss if held_out_loss is None else held_out_loss)
        if average is not None:
            _load_averaged_weights(network, average, batches)

    def _loss(self, forward: Forward, batch: Tensor, targets: Tensor) -> Tensor:
        with autocast(batch.device):
            logits = forward(batch)
        return F.binary_cross_entropy_with_logits(
            logits.float(),
            targets,
            pos_weight=torch.full((), self.pipeline.positive_weight, device=batch.device),
        )

    @torch.no_grad()
    def _held_out_loss(self, network: nn.Module, batches: Batches) -> float | None:
        """Mean loss of the held-out rows; None where too few came to hold any out."""
        n = len(batches.held_out_rows)
        if n == 0:
            return None
        network.eval()
        total = 0.0
        for images, targets in batches.held_out():
            total += self._loss(network, images, targets).item() * len(images)
        set_training(network, frozen_features=self.pipeline.frozen_features)
        return total / n


@contextmanager
def _compiled(network: nn.Module) -> Iterator[Forward]:
    """`network` compiled at the first batch; compiled code adds up in another order than eager.

    Raises ConfigurationError from inside the `with`, where it cannot be compiled.
    """
    from torch._dynamo.exc import TorchDynamoException  # takes seconds

    torch.compiler.reset()  # or the networks of earlier trainings use up the number of variants
    try:
        yield torch.compile(network, fullgraph=True)  # fullgraph: never silently eager
    except TorchDynamoException as error:
        reason = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
        raise ConfigurationError(
            "compile-failed",
            f"--steps compiled: torch.compile failed here ({reason}); leave it out, or install "
            "what it needs: a C++ compiler, on a GPU Triton",
        ) from error


def _load_averaged_weights(network: nn.Module, average: AveragedModel, batches: Batches) -> None:
    """Give `network` the averaged weights, and the batch-norm statistics that belong to them.

    Averaged filters respond more weakly than any of the filters they come from, so their statistics
    are no average either: they are computed again over what was trained on, as images are
    predicted, neither mirrored nor blurred.
    """
    network.load_state_dict(average.module.state_dict())
    update_bn(batches.training_images(), network)
