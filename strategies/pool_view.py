"""What a strategy may look at when it chooses: the pool as the learner sees it."""

from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor

Source = Callable[[], Tensor]

AXES = {
    "probabilities": "NC",
    "embeddings": "ND",
    "committee": "KNC",
    "labelled_embeddings": "LD",
    "labelled_labels": "LC",
    "labelled_probabilities": "LC",
    "validation_f1": "C",
    "thresholds": "C",
}
MEANING = {"N": "images", "L": "labelled images", "C": "classes", "D": "numbers of an embedding"}
LARGEST = 1e15  # of an embedding's numbers


class PoolView:
    """Unlabelled images as the learner represents them, each view computed once, when first asked.

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
        """A pool of ready-made views, for tests and for one's own embeddings.

        Raises ValueError where a view is not known, where two do not agree on a size they share,
        and where none says how many images there are.
        """
        if unknown := sorted(views.keys() - AXES.keys()):
            raise ValueError(f"Unknown views: {', '.join(unknown)}. Known: {', '.join(AXES)}.")
        shapes = {name: dict(zip(AXES[name], v.shape, strict=False)) for name, v in views.items()}
        for axis, meaning in MEANING.items():
            sizes = {name: shape[axis] for name, shape in shapes.items() if axis in shape}
            if len(set(sizes.values())) > 1:
                raise ValueError(
                    f"The views must agree on the number of {meaning}; got "
                    f"{', '.join(f'{name} {size}' for name, size in sizes.items())}."
                )
        images = [shape["N"] for shape in shapes.values() if "N" in shape]
        if not images:
            raise ValueError("A pool needs probabilities, embeddings or committee.")
        sources: dict[str, Source] = {
            name: (lambda value=value: value)  # type: ignore[misc]
            for name, value in views.items()
        }
        return cls(images[0], sources)

    @cached_property
    def probabilities(self) -> Tensor:  # (N, C)
        return _in_unit("probabilities", self._matrix("probabilities", self.size))

    @cached_property
    def embeddings(self) -> Tensor:  # (N, D)
        return _moderate("embeddings", self._matrix("embeddings", self.size))

    @cached_property
    def committee(self) -> Tensor:  # (K, N, C)
        value = self._view("committee")
        if value.ndim != 3 or value.shape[0] == 0 or value.shape[1] != self.size:
            raise ValueError(
                f"`committee` must be (members, {self.size}, classes) with at least one member; "
                f"got {tuple(value.shape)}."
            )
        return _in_unit("committee", value)

    @cached_property
    def labelled_embeddings(self) -> Tensor:  # (L, D)
        return _moderate("labelled_embeddings", self._matrix("labelled_embeddings"))

    @cached_property
    def labelled_labels(self) -> Tensor:  # (L, C)
        value = _finite("labelled_labels", self._matrix("labelled_labels"))
        if not ((value == 0) | (value == 1)).all():
            raise ValueError("`labelled_labels` must be 0 or 1; got other values.")
        return value

    @cached_property
    def labelled_probabilities(self) -> Tensor:  # (L, C)
        labelled = self.labelled_labels.shape[0]
        return _in_unit("labelled_probabilities", self._matrix("labelled_probabilities", labelled))

    @cached_property
    def validation_f1(self) -> Tensor:  # (C,)
        return _in_unit("validation_f1", self._per_class("validation_f1"))

    @cached_property
    def thresholds(self) -> Tensor:  # (C,)
        return _in_unit("thresholds", self._per_class("thresholds"))

    def _view(self, name: str) -> Tensor:
        if name not in self._sources:
            raise ValueError(
                f"This strategy needs `{name}`, which this pool does not have "
                f"(it has {', '.join(sorted(self._sources)) or 'nothing'})."
            )
        return self._sources[name]()

    def _matrix(self, name: str, rows: int | None = None) -> Tensor:
        value = self._view(name)
        if value.ndim != 2:
            raise ValueError(f"`{name}` must be two-dimensional; got {tuple(value.shape)}.")
        if rows is not None and value.shape[0] != rows:
            raise ValueError(f"`{name}` must have {rows} rows; got {value.shape[0]}.")
        return value

    def _per_class(self, name: str) -> Tensor:
        value = self._view(name)
        if value.ndim != 1:
            raise ValueError(f"`{name}` must be (classes,); got {tuple(value.shape)}.")
        return value


def _finite(name: str, value: Tensor) -> Tensor:
    # The extremes tell at a glance, without a mask as large as the pool.
    if value.numel() and not all(bool(torch.isfinite(end)) for end in value.aminmax()):
        bad = sum(int((~torch.isfinite(rows)).sum()) for rows in value)
        raise ValueError(
            f"`{name}` has {bad} values that are NaN or infinite (of {value.numel()}); "
            "the learner has diverged or its input is broken. Lower its learning rate or check "
            "the images."
        )
    return value


def _moderate(name: str, value: Tensor) -> Tensor:
    _finite(name, value)
    largest = max(abs(float(end)) for end in value.aminmax()) if value.numel() else 0.0
    if largest > LARGEST:
        raise ValueError(
            f"`{name}` has a value of {largest:.4g}; above {LARGEST:.0g} squared distances leave "
            "float32. Scale the embeddings down."
        )
    return value


def _in_unit(name: str, value: Tensor) -> Tensor:
    _finite(name, value)
    if value.numel() and (value.min() < 0 or value.max() > 1):
        raise ValueError(
            f"`{name}` must lie in [0, 1]; got values from {float(value.min()):.4g} to "
            f"{float(value.max()):.4g}. Pass probabilities, not logits."
        )
    return value
