"""What a training is given, checked before it starts."""

import numpy as np
import numpy.typing as npt
import torch

from evaluator.training.networks import MINIMUM_SIZE
from evaluator.training.pipelines import Pipeline


def check_images(images: torch.Tensor, pipeline: Pipeline) -> None:
    """Raise ValueError unless `images` are uint8 (N, 3, S, S) of a size that `pipeline` takes."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"images came as {images.dtype} {tuple(images.shape)}, expected uint8 (N, 3, S, S)"
        )
    smallest, longest = min(images.shape[2:]), max(images.shape[2:])
    least = MINIMUM_SIZE[pipeline.architecture]
    if smallest < least:
        raise ValueError(
            f"images are {smallest} pixels small, {pipeline.architecture} needs at least "
            f"{least}; use larger images or another pipeline"
        )
    if pipeline.size is not None and longest > pipeline.size:
        raise ValueError(
            f"images are {longest} pixels large, pipeline {pipeline.name!r} takes at "
            f"most {pipeline.size}; call resize_images(images, pipeline.size) first"
        )


def checked_labels(
    labels: npt.ArrayLike | torch.Tensor, n_images: int, n_classes: int
) -> torch.Tensor:
    """`labels` as float32 (N, C) of 0 and 1; raises ValueError where they are not that."""
    given = labels if isinstance(labels, torch.Tensor) else torch.from_numpy(np.array(labels))
    if tuple(given.shape) != (n_images, n_classes):
        raise ValueError(
            f"labels came with shape {tuple(given.shape)}, expected ({n_images}, {n_classes}): one "
            f"row per image, one column per class"
        )
    wrong = (given != 0) & (given != 1)
    if wrong.any():
        row, column = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"labels hold {given[row, column].item()} in row {row}, column {column}; expected only "
            f"0 and 1"
        )
    return given.float().cpu()
