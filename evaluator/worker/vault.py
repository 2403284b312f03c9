"""The label vault: the one place that knows the pool's labels and what is left of the budget."""

from collections.abc import Callable
from typing import Any

import numpy as np

from shared.errors import OutOfBudgetError, ZEWDPCRuntimeError


class LabelVault:
    """Sells labels, in the evaluator's process. What counts as bought is what it has sold.

    Parameters
    ----------
    labels : (N, C) of 0/1.
    budget : labels that can be sold.
    before_answer : called with each newly bought index before its label is handed over, so
        that a record exists of everything the submission can have seen.
    """

    def __init__(
        self,
        labels: np.ndarray,
        budget: int,
        before_answer: Callable[[int], None] = lambda index: None,
    ) -> None:
        if budget < 0:
            raise ValueError(f"A budget is 0 labels or more; got {budget}.")
        self._labels = labels
        self.budget = budget
        self.purchased: dict[int, tuple[int, ...]] = {}  # in the order of purchase
        self.refused = 0
        self.open = False
        self._before_answer = before_answer

    def purchase(self, index: Any) -> tuple[int, ...]:
        """The label (C,) of `index`; a unit of budget unless it was bought before."""
        if not self.open:
            raise ZEWDPCRuntimeError("Labels are sold in the purchase phase only.")
        if isinstance(index, bool) or not isinstance(index, int):
            raise ZEWDPCRuntimeError(f"purchase_label takes a whole number; got {index!r}.")
        if not 0 <= index < len(self._labels):
            raise ZEWDPCRuntimeError(
                f"Index {index} is outside the pool of {len(self._labels)} images "
                f"(0 to {len(self._labels) - 1})."
            )
        if index in self.purchased:
            return self.purchased[index]
        if len(self.purchased) >= self.budget:
            self.refused += 1
            raise OutOfBudgetError(
                f"All {self.budget} labels of the budget are bought; index {index} was refused. "
                "Count your purchases, or catch OutOfBudgetError and go on."
            )
        label = tuple(int(value) for value in self._labels[index])
        self._before_answer(index)
        self.purchased[index] = label
        return label
