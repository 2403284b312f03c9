"""What a strategy may look at when it chooses: the pool as the learner sees it."""

from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor

Source = Callable[[], Tensor]


class PoolView:
    """Unlabelled images through the learner's eyes, each view computed once, when first asked.

    Rows are positions 0..N-1 in this pool (images bought earlier are not in it); a strategy
    answers with such positions.

    Parameters
    ----------
    size : number N of images that can be bought.
    sources : for each view by name, a function that computes it:
        `probabilities` (N, C), calibrated P(class present), each class on its own;
        `embeddings` (N, D), pooled features;
        `committee` (K, N, C), probabilities of K sampled or trained members;
        `labelled_embeddings` (L, D), `labelled_labels` (L, C) of 0/1 and
        `labelled_probabilities` (L, C), out-of-fold: what is labelled, in the same order;
        `validation_f1` (C,), cross-validated F1 on what is labelled;
        `thresholds` (C,), the decision threshold of each class.
    """

    def __init__(self, size: int, sources: Mapping[str, Source]) -> None:
        self.size = size
        self._sources = dict(sources)

    @classmethod
    def from_tensors(cls, **views: Tensor) -> "PoolView":
        """A pool of ready-made views, for tests and for one's own embeddings."""
        rows = {"probabilities": 0, "embeddings": 0, "committee": 1}
        sizes = {name: views[name].shape[axis] for name, axis in rows.items() if name in views}
        if len(set(sizes.values())) != 1:
            raise ValueError(
                f"The views must agree on the number of images; got {sizes or 'none of them'}. "
                f"Give at least one of {', '.join(rows)}."
            )
        sources: dict[str, Source] = {
            name: (lambda value=value: value)  # type: ignore[misc]
            for name, value in views.items()
        }
        return cls(next(iter(sizes.values())), sources)

    @cached_property
    def probabilities(self) -> Tensor:  # (N, C)
        return _checked_probabilities("probabilities", self._compute("probabilities", self.size))

    @cached_property
    def embeddings(self) -> Tensor:  # (N, D)
        return _checked_finite("embeddings", self._compute("embeddings", self.size))

    @cached_property
    def committee(self) -> Tensor:  # (K, N, C)
        value = self._compute("committee", None)
        if value.ndim != 3 or value.shape[1] != self.size:
            raise ValueError(
                f"`committee` must be (members, {self.size}, classes); got {tuple(value.shape)}."
            )
        return _checked_probabilities("committee", value)

    @cached_property
    def labelled_embeddings(self) -> Tensor:  # (L, D)
        return _checked_finite("labelled_embeddings", self._compute("labelled_embeddings", None))

    @cached_property
    def labelled_labels(self) -> Tensor:  # (L, C)
        return _checked_finite("labelled_labels", self._compute("labelled_labels", None))

    @cached_property
    def labelled_probabilities(self) -> Tensor:  # (L, C)
        return _checked_probabilities(
            "labelled_probabilities", self._compute("labelled_probabilities", None)
        )

    @cached_property
    def validation_f1(self) -> Tensor:  # (C,)
        return _checked_probabilities("validation_f1", self._compute("validation_f1", None))

    @cached_property
    def thresholds(self) -> Tensor:  # (C,)
        return _checked_probabilities("thresholds", self._compute("thresholds", None))

    def _compute(self, name: str, rows: int | None) -> Tensor:
        if name not in self._sources:
            raise ValueError(
                f"This strategy needs `{name}`, which this pool does not have "
                f"(it has {', '.join(sorted(self._sources)) or 'nothing'})."
            )
        value = self._sources[name]()
        if rows is not None and value.shape[0] != rows:
            raise ValueError(f"`{name}` has {value.shape[0]} rows, but the pool has {rows} images.")
        return value


def _checked_finite(name: str, value: Tensor) -> Tensor:
    bad = ~torch.isfinite(value)
    if bad.any():
        raise ValueError(
            f"`{name}` has {int(bad.sum())} values that are NaN or infinite (of {value.numel()}); "
            "the learner has diverged or its input is broken. Lower its learning rate or check "
            "the images."
        )
    return value


def _checked_probabilities(name: str, value: Tensor) -> Tensor:
    _checked_finite(name, value)
    if value.numel() and (value.min() < 0 or value.max() > 1):
        raise ValueError(
            f"`{name}` must lie in [0, 1]; got values from {float(value.min()):.4g} to "
            f"{float(value.max()):.4g}. Pass probabilities, not logits."
        )
    return value
