"""The challenge's metrics, from scikit-learn: macro-F1 ranks, the others are reported."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import accuracy_score, f1_score, hamming_loss

Binary = npt.ArrayLike | torch.Tensor


@dataclass(frozen=True, slots=True)
class Scores:
    """`macro_f1` ranks; `accuracy` is the share of images with every class right."""

    macro_f1: float
    accuracy: float
    hamming_loss: float
    f1_per_class: dict[str, float]


def score(labels: Binary, predictions: Binary, class_names: Sequence[str]) -> Scores:
    """Scores of 0/1 `predictions` (N, C) against 0/1 `labels` (N, C).

    A class that is neither present nor predicted counts as F1 = 0 (`zero_division=0`). Raises
    `ValueError` where a shape or a value is not what it must be.
    """
    truth = binary_matrix(labels, "labels", None, len(class_names))
    guess = binary_matrix(predictions, "predictions", len(truth), len(class_names))
    if len(truth) == 0:
        raise ValueError("no rows came to score; give at least one image")
    per_class = [
        float(f1_score(truth[:, c], guess[:, c], zero_division=0)) for c in range(len(class_names))
    ]
    return Scores(
        macro_f1=float(np.mean(per_class)),
        # Columns stacked as rows of one multi-label matrix: right only where the whole row is.
        accuracy=float(accuracy_score(truth, guess)),
        hamming_loss=float(hamming_loss(truth, guess)),
        f1_per_class=dict(zip(class_names, per_class, strict=True)),
    )


def binary_matrix(
    values: Binary, what: str, n_rows: int | None, n_classes: int
) -> npt.NDArray[np.uint8]:
    """`values` as uint8 (n_rows, n_classes) of 0 and 1; any number of rows where it is None.

    Raises ValueError, naming `what`, where they are not that.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    expected = ("images" if n_rows is None else n_rows, n_classes)
    if array.ndim != 2 or array.shape[1] != n_classes or n_rows not in (None, len(array)):
        raise ValueError(
            f"{what} came with shape {array.shape}, expected ({expected[0]}, {expected[1]}): "
            f"one row per image, one column per class"
        )
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"{what} hold {array[row, column]} in row {row}, column {column}; expected only 0 and 1"
        )
    return array.astype(np.uint8)
