"""The contract between a submission and its evaluator. Both sides import it.

Parameter names follow the challenge page (`budget`, `time_available`); the public kits'
spellings (`purchase_budget`, `compute_budget`) are understood by the evaluator as well, because
it binds arguments by the names it finds in a submission's signatures.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

RegisterProgress = Callable[[float], Any]


def ignore_progress(progress: float) -> None:
    """The default `register_progress`: the share of the phase done, in [0, 1], is ignored."""


class ZEWDPCBaseRun:
    """What a submission must offer. The evaluator calls the three phases in this order, once each.

    A data set here is anything with `len(dataset)` and `dataset[i]` that yields
    `{"idx": int, "image": array (H, W, 3) uint8, "label": array (C,) of 0/1}`. Where nobody has
    paid for the label (the pool, the test images), it may be None, or -1 in every class.

    After its purchase phase it may hold `purchase_notes`, for the evaluator's report and nothing
    else: `{idx: {"round": int, "probabilities": [one per class]}}`, either of the two or both.
    """

    purchase_notes: Mapping[int, Mapping[str, Any]] | None = None

    def pre_training_phase(
        self,
        training_dataset: Any,
        time_available: float | None = None,
        register_progress: RegisterProgress = ignore_progress,
    ) -> Any:
        """Learn from what is labelled already.

        `time_available` is the seconds left of the compute budget, which this phase shares
        with the purchase phase. What it returns is ignored.
        """
        raise NotImplementedError

    def purchase_phase(
        self,
        unlabelled_dataset: Any,
        training_dataset: Any,
        budget: int,
        time_available: float,
        register_progress: RegisterProgress = ignore_progress,
    ) -> dict[int, Any]:
        """Buy labels with `unlabelled_dataset.purchase_label(idx)`; each new index costs one.

        `budget` is in labels, `time_available` in seconds. Only what was bought through
        `purchase_label` counts; the returned `{idx: label}` is checked against it and
        otherwise ignored.
        """
        raise NotImplementedError

    def prediction_phase(
        self, test_dataset: Any, register_progress: RegisterProgress = ignore_progress
    ) -> np.ndarray:
        """Predict 0/1 labels, shape (len(test_dataset), n_classes)."""
        raise NotImplementedError
