"""The label budget in hand: buys, counts, and keeps notes on what was bought."""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class Seller(Protocol):
    """The unlabelled data set, as far as buying goes."""

    def purchase_label(self, idx: int, /) -> Any:
        """The label of `idx`, for one unit of budget."""


class Purse:
    """Spends at most `budget` labels at `seller`, never twice on one index.

    left : labels that can still be bought.
    bought : {idx: (C,) of 0/1 as float32}, in the order of purchase.
    notes : {idx: what was thought of it}, for whoever reads the report; see `note`.
    """

    def __init__(self, seller: Seller, budget: int) -> None:
        if budget < 0:
            raise ValueError(f"The budget must not be negative; got {budget}.")
        self._seller = seller
        self.left = budget
        self.bought: dict[int, Tensor] = {}
        self.notes: dict[int, dict[str, Any]] = {}

    def buy(self, idx: int) -> Tensor:
        """The label (C,) of `idx`; ValueError if it was bought before or the budget is spent."""
        if idx in self.bought:
            raise ValueError(f"Index {idx} has been bought already.")
        if self.left == 0:
            raise ValueError(f"The budget of {len(self.bought)} labels is spent.")
        answer = self._seller.purchase_label(idx)
        self.left -= 1
        if answer is None:
            raise ValueError(f"purchase_label({idx}) returned no label.")
        label = torch.as_tensor(np.asarray(answer, dtype=np.float32)).reshape(-1)
        if not bool(((label == 0) | (label == 1)).all()):
            raise ValueError(f"purchase_label({idx}) returned {answer}; expected 0 or 1 per class.")
        self.bought[idx] = label
        return label

    def note(self, idx: int, number: int, probabilities: Tensor | None = None) -> None:
        """Write down the round in which `idx` was bought and what was predicted of it, (C,)."""
        self.notes[idx] = {"round": number}
        if probabilities is not None:
            self.notes[idx]["probabilities"] = [round(p, 3) for p in probabilities.tolist()]
