"""The budget of labels, and what was bought with it."""

from typing import Any, Protocol

from torch import Tensor

from models.image_bank import as_label


class LabelSource(Protocol):
    """The unlabelled data set, as far as buying goes."""

    def purchase_label(self, idx: int, /) -> Any:
        """The label of `idx`, for one unit of budget."""


class LabelBudget:
    """Buys at most `budget` labels from `source`, never twice for one index.

    remaining : labels that can still be bought.
    labels : {idx: (C,) of 0/1 as float32}, in the order of purchase.
    """

    def __init__(self, source: LabelSource, budget: int) -> None:
        if budget < 0:
            raise ValueError(f"The budget must not be negative; got {budget}.")
        self._source = source
        self.remaining = budget
        self.labels: dict[int, Tensor] = {}

    def purchase(self, idx: int) -> Tensor:
        """The label (C,) of `idx`; ValueError if it was bought before or the budget is spent."""
        if idx in self.labels:
            raise ValueError(f"Index {idx} has been bought already.")
        if self.remaining == 0:
            raise ValueError(f"The budget of {len(self.labels)} labels is spent.")
        label = self._source.purchase_label(idx)
        self.remaining -= 1
        self.labels[idx] = as_label(label, f"purchase_label({idx})")
        return self.labels[idx]
