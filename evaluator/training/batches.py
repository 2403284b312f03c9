"""What a training sees: which rows make a batch, in which order, and how images are augmented.

It depends on the seed and the number of rows alone, not on what they hold nor on the device.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from core.random_streams import stream
from core.symmetries import apply_symmetries
from evaluator.training.augmentation import gaussian_blur, normalise, random_blur
from evaluator.training.device import cache_on_gpu, to_device
from evaluator.training.pipelines import Pipeline

PREDICTION_BATCH = 128

# Tensors with a row for each of B images: uint8 images (B, 3, H, W), targets (B, C), and the draws
# of `augment`. They are on the device that trains.
Batch = tuple[Tensor, ...]


class Batches:
    """Of `images` uint8 (N, 3, H, W) and 0/1 `targets` (N, C), for `pipeline`, on `device`.

    Raises ValueError where too few rows are left to train on once some are held out.
    """

    def __init__(
        self, pipeline: Pipeline, seed: int, images: Tensor, targets: Tensor, device: torch.device
    ) -> None:
        self._pipeline = pipeline
        self._rows, self.held_out_rows = split_rows(len(images), pipeline.validation_share, seed)
        self.sizes = batch_sizes(len(self._rows), pipeline.batch_size)
        self.device = device
        self._images, self._targets = cache_on_gpu(images, device), targets.to(device)
        self._order = stream(seed, "post-purchase batch order")
        self._mirrors = stream(seed, "post-purchase mirrors")
        self._blurs = stream(seed, "post-purchase blurs")

    def epoch(self) -> Iterator[Batch]:
        """Every row that is trained on once, shuffled afresh."""
        shuffled = self._rows[torch.randperm(len(self._rows), generator=self._order)]
        draws = _draw_augmentation(self._pipeline, self.sizes, self._mirrors, self._blurs)
        return self._gathered(shuffled, self.sizes, *draws)

    def training_images(self) -> Iterator[Tensor]:
        """Normalised images (B, 3, H, W) of the rows trained on, in order, not augmented."""
        for images, *_ in self._gathered(self._rows, self.sizes):
            yield normalise(images)

    def held_out(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images (B, 3, H, W) and targets (B, C) of the rows held out."""
        rows = self.held_out_rows
        sizes = [len(part) for part in torch.split(rows, PREDICTION_BATCH)]
        for images, targets in self._gathered(rows, sizes):
            yield normalise(images), targets

    def _gathered(self, rows: Tensor, sizes: list[int], *draws: Tensor) -> Iterator[Batch]:
        """Batches of `sizes` in the order of `rows`; all but the images are copied at once."""
        columns = [self._targets[to_device(rows, self.device)]]
        columns += [to_device(draw, self.device) for draw in draws]
        chosen = torch.split(to_device(rows, self._images.device), sizes)
        parts = zip(*(torch.split(column, sizes) for column in columns), strict=True)
        for rows_of_batch, others in zip(chosen, parts, strict=True):
            yield to_device(self._images[rows_of_batch], self.device), *others


def augment(
    pipeline: Pipeline, images: Tensor, symmetries: Tensor, taps: Tensor | None = None
) -> Tensor:
    """uint8 `images` (B, 3, H, W) as the network is trained on them, float32.

    `symmetries`, bool (B, 3), are the choices of `apply_symmetries`; `taps` (B, 5) blur.
    """
    mirrored = apply_symmetries(
        images, symmetries, flips=pipeline.flips, quarter_turns=pipeline.quarter_turns
    )
    batch = normalise(mirrored)
    return batch if taps is None else gaussian_blur(batch, taps)


def _draw_augmentation(
    pipeline: Pipeline, sizes: Sequence[int], mirrors: torch.Generator, blurs: torch.Generator
) -> list[Tensor]:
    """The draws of `augment`, of batches of `sizes` together: symmetries (N, 3), taps (N, 5).

    `mirrors` advances by as many draws whatever the pipeline's flags are.
    """
    draws = [torch.cat([(torch.rand(3, n, generator=mirrors) < 0.5).T for n in sizes])]
    if pipeline.blur:
        draws.append(torch.cat([random_blur(n, blurs) for n in sizes]))
    return draws


def split_rows(n: int, validation_share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Row numbers to train on and to hold out, in ascending order; depends on `n` only."""
    n_held_out = int(n * validation_share)
    if n - n_held_out < 2:
        raise ValueError(
            f"{n} images came, {n - n_held_out} of them to train on; batch normalisation "
            f"needs at least 2"
        )
    shuffled = torch.randperm(n, generator=stream(seed, "post-purchase validation split"))
    return shuffled[n_held_out:].sort().values, shuffled[:n_held_out].sort().values


def batch_sizes(n: int, batch_size: int) -> list[int]:
    """Of the batches of `n` rows: at most `batch_size` each, nearly equal, never one alone."""
    n_batches = min(math.ceil(n / batch_size), n // 2)  # batch norm needs two
    return [n // n_batches + (number < n % n_batches) for number in range(n_batches)]
