"""What is labelled, what can be bought, and what things cost: the state of a purchase."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from strategies.planner import Costs


@dataclass
class Labelled:
    """What is labelled: the training set first, then what was bought, in order of purchase.

    images : uint8 (L, 3, S, S); labels : (L, C) of 0/1; reference : how many of its first rows were
    drawn like the pool;
    fitted : how many of the rows the learner has been trained on.
    """

    images: Tensor
    labels: Tensor
    reference: int
    fitted: int = 0

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def add(self, images: Tensor, labels: Tensor) -> None:
        """Append bought images and their labels."""
        self.images = torch.cat([self.images, images])
        self.labels = torch.cat([self.labels, labels])


@dataclass
class Pool:
    """What can be bought.

    images : uint8 (M, 3, S, S), the images that can be looked at; indices : (M,) what
    `purchase_label` takes for them; unseen : yields, in random order, the index and image
    (3, S, S) of those that were not read for lack of time.
    """

    images: Tensor
    indices: Tensor
    unseen: Iterator[tuple[int, Tensor]]
    open: Tensor = field(init=False)  # (M,) bool: not bought yet

    def __post_init__(self) -> None:
        self.open = torch.ones(len(self.indices), dtype=torch.bool)
        if len(set(self.indices.tolist())) != len(self.indices):
            raise ValueError("Two images of the pool have the same idx; each needs its own.")


class CostLedger:
    """Seconds per unit of work; the median of what was seen, so that one stall does not rule.

    fit, look : what they are believed to take until the first was seen.
    """

    def __init__(self, fit: float, look: float) -> None:
        self._believed = Costs(fit, look)
        self._seen: dict[str, list[float]] = {}

    def saw(self, what: str, seconds: float, units: float) -> None:
        """Record that `units` of work took `seconds`; what was believed before is dropped.

        what : "fit", "look", "choose" or "buy"; a unit is that of the same field of `Costs`.
        """
        if units > 0:
            self._seen.setdefault(what, []).append(seconds / units)

    @property
    def costs(self) -> Costs:
        seen = {what: statistics.median(seconds) for what, seconds in self._seen.items()}
        return replace(self._believed, **seen)
