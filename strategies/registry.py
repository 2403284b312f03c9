"""Strategies by name, so that one is a flag away: `--strategy "uherding:temperature=auto"`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from strategies.pool import PoolView

Parameter = int | float | str | bool
Selection = Callable[..., Tensor]


class Strategy(Protocol):
    """Chooses which k images of the pool to buy next."""

    def select(self, pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
        """Positions in the pool, LongTensor (k,), unique; all randomness comes from `rng`."""


@dataclass(frozen=True)
class Entry:
    """One registered strategy: its name, its function, one line on it, and its source."""

    name: str
    function: Selection
    summary: str
    source: str


REGISTRY: dict[str, Entry] = {}


def register(name: str, *, source: str) -> Callable[[Selection], Selection]:
    """Register `function(pool, k, rng, **parameters)` as the strategy `name`.

    The function's keyword defaults are the strategy's parameters; the first line of its
    docstring is what `--list` prints.
    """

    def decorate(function: Selection) -> Selection:
        if name in REGISTRY:
            raise ValueError(f"A strategy named {name!r} is registered already.")
        summary = (function.__doc__ or "").strip().partition("\n")[0]
        if not summary:
            raise ValueError(f"Strategy {name!r} needs a docstring: its first line is its summary.")
        REGISTRY[name] = Entry(name, function, summary, source)
        return function

    return decorate
