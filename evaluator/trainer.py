"""`ZEWDPCTrainer`: trains a post-purchase pipeline on training set + purchase, and predicts.

Images stay uint8 and are normalised batch by batch. Nothing reads or disturbs the global random
state, and no random choice depends on what was bought beyond how much: two purchases of one size
start from the same weights and see the same rows in the same order, mirrored alike.
"""

from collections.abc import Callable, Sequence
from typing import Self

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from evaluator.augmentation import augment, resize_images
from evaluator.networks import build_network
from evaluator.pipelines import Pipeline
from evaluator.randomness import stream, stream_seed

__all__ = ["ZEWDPCTrainer", "resize_images"]


class ZEWDPCTrainer:
    """Trains `pipeline` for the classes `class_names` from `seed`.

    `device` None takes the GPU where there is one. `weights` is "imagenet", "none" or the path of
    a state dict, and is ignored by pipelines that start from scratch. `progress` is called with
    the share of the training done, 0 to 1. `max_threads` bounds the CPU threads while fitting and
    predicting (scores are bit-identical for one number of threads). Fitted: `network_`.
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
    ) -> None:
        self.pipeline = pipeline
        self.class_names = class_names
        self.seed = seed
        self.device = device
        self.weights = weights
        self.progress = progress
        self.max_threads = max_threads

    def fit(self, images: torch.Tensor, labels: npt.ArrayLike | torch.Tensor) -> Self:
        """Train on `images` uint8 (N, 3, S, S) and 0/1 `labels` (N, C)."""
        pipeline = self.pipeline
        targets = torch.as_tensor(labels).float()
        order = stream(self.seed, "post-purchase batch order")
        dice = stream(self.seed, "post-purchase augmentation")
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(
                stream_seed(self.seed, "post-purchase initialisation")
            )
            network = build_network(pipeline.architecture, len(self.class_names))
        network = network.to(memory_format=torch.channels_last)
        n_batches = -(-len(images) // pipeline.batch_size)
        optimiser = torch.optim.AdamW(
            network.parameters(),
            pipeline.learning_rate,
            weight_decay=pipeline.weight_decay,
            fused=True,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, pipeline.learning_rate, total_steps=pipeline.epochs * n_batches
        )
        positive_weight = torch.tensor(pipeline.positive_weight)
        network.train()
        for epoch in range(pipeline.epochs):
            rows = torch.randperm(len(images), generator=order)
            for batch_rows in rows.tensor_split(n_batches):
                batch = augment(
                    normalise(images[batch_rows]),
                    dice,
                    flips=pipeline.flips,
                    quarter_turns=pipeline.quarter_turns,
                    blur=pipeline.blur,
                )
                loss = F.binary_cross_entropy_with_logits(
                    network(batch), targets[batch_rows], pos_weight=positive_weight
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            if self.progress is not None:
                self.progress((epoch + 1) / pipeline.epochs)
        self.network_: nn.Module = network.eval()
        return self

    @torch.no_grad()
    def predict_probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities float32 (M, C), on the CPU, for `images` uint8 (M, 3, S, S)."""
        return torch.cat([self.network_(normalise(part)).sigmoid() for part in images.split(256)])

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """0/1 predictions uint8 (M, C): 1 where the probability is at least 0.5."""
        return (self.predict_probabilities(images) >= 0.5).to(torch.uint8)


def normalise(batch: torch.Tensor) -> torch.Tensor:
    """uint8 (B, 3, H, W) as float32 around 0, channels-last."""
    return batch.float().div_(127.5).sub_(1.0).contiguous(memory_format=torch.channels_last)
