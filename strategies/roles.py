"""Who takes part in a purchase, as far as the others need to know them."""

from typing import Any, Protocol

import torch
from torch import Tensor

from strategies.planner import Kind
from strategies.pool import PoolView


class Sight(Protocol):
    """What a learner makes of N images; see `models.learner.Sight`."""

    @property
    def probabilities(self) -> Tensor: ...  # (N, C)
    @property
    def embeddings(self) -> Tensor: ...  # (N, D)
    @property
    def committee(self) -> Tensor: ...  # (K, N, C)


class Eyes(Protocol):
    """The learner, as far as buying needs it; see `models.learner.Learner`."""

    @property
    def thresholds_(self) -> Tensor: ...
    @property
    def validation_f1_(self) -> Tensor: ...
    @property
    def labelled_probabilities_(self) -> Tensor: ...
    @property
    def epochs_(self) -> float: ...
    def fit(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        epochs: int,
        deadline: float | None = None,
        reference: int | None = None,
    ) -> Any: ...
    def look(self, images: Tensor, deadline: float | None = None) -> Sight: ...


class Judgement(Protocol):
    """A strategy with its parameters; see `strategies.registry.ConfiguredStrategy`."""

    @property
    def name(self) -> str: ...
    @property
    def plan(self) -> Kind: ...
    @property
    def rounds(self) -> int | str: ...
    def select(self, pool: PoolView, k: int, rng: torch.Generator) -> Tensor: ...
