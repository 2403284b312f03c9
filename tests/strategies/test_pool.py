"""A pool refuses what no strategy could make sense of, and computes each view once."""

import pytest
import torch
from torch import Tensor

from strategies.pool_view import PoolView
from tests.strategies.pools import pool_of, views


def spoil(view: str, value: Tensor) -> dict[str, Tensor]:
    return {**views(), view: value}


@pytest.mark.parametrize(
    ("view", "value", "message"),
    [
        ("embeddings", torch.zeros(60), "`embeddings` must be two-dimensional; got (60,)"),
        ("embeddings", torch.full((60, 8), 1e16), "`embeddings` has a value of 1e+16"),
        ("embeddings", torch.full((60, 8), torch.inf), "has 480 values that are NaN or infinite"),
        ("committee", torch.zeros(0, 60, 3), "with at least one member; got (0, 60, 3)"),
        ("labelled_labels", torch.full((12, 3), 0.5), "`labelled_labels` must be 0 or 1"),
        ("probabilities", torch.full((60, 3), 1.5), "values from 1.5 to 1.5. Pass probabilities"),
        ("thresholds", torch.zeros(3, 1), "`thresholds` must be (classes,); got (3, 1)"),
        ("validation_f1", torch.tensor([0.5, torch.nan, 1]), "`validation_f1` has 1 values"),
    ],
)
def test_pool_view_refuses_broken_views(view: str, value: Tensor, message: str):
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        getattr(pool_of(spoil(view, value)), view)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("view", "shape", "message"),
    [
        ("embeddings", (59, 8), "number of images; got probabilities 60, embeddings 59, comm"),
        ("committee", (2, 59, 3), "number of images; got"),
        ("labelled_probabilities", (5, 3), "labelled images; got labelled_embeddings 12, lab"),
        ("labelled_embeddings", (12, 5), "an embedding; got embeddings 8, labelled_embeddings 5"),
        ("labelled_labels", (12, 1), "number of classes; got probabilities 3, "),
        ("committee", (2, 60, 5), "committee 5"),
        ("thresholds", (1,), "thresholds 1"),
        ("labeled_labels", (12, 3), "Unknown views: labeled_labels. Known: probabilities, "),
    ],
)
def test_pool_view_refuses_unknown_views_and_sizes_that_differ(
    view: str, shape: tuple[int, ...], message: str
):
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        pool_of(spoil(view, torch.zeros(shape)))
    assert message in str(refused.value)


def test_pool_view_refuses_a_pool_without_an_image_view():
    with pytest.raises(ValueError, match="needs probabilities, embeddings or committee"):
        PoolView.from_tensors(labelled_labels=torch.zeros(3, 2))


def test_pool_view_refuses_a_source_of_another_size():
    pool = PoolView(5, {"probabilities": lambda: torch.zeros(4, 2)})
    with pytest.raises(ValueError, match="`probabilities` must have 5 rows; got 4"):
        _ = pool.probabilities
    labels, beliefs = torch.zeros(3, 2), torch.zeros(4, 2)
    pool = PoolView(
        5, {"labelled_labels": lambda: labels, "labelled_probabilities": lambda: beliefs}
    )
    with pytest.raises(ValueError, match="`labelled_probabilities` must have 3 rows; got 4"):
        _ = pool.labelled_probabilities


def test_pool_view_computes_views_once_and_lazily():
    calls: list[str] = []

    def compute() -> Tensor:
        calls.append("embeddings")
        return torch.zeros(3, 2)

    pool = PoolView(3, {"embeddings": compute})
    assert calls == []
    assert pool.embeddings is pool.embeddings
    assert calls == ["embeddings"]
