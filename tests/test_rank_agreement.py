"""Ranks and means over pipelines, and how far the pipelines agree."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evaluator.analysis.leaderboard import Row, leaderboard
from evaluator.analysis.rank_agreement import (
    rank_agreement,
    rank_cells,
    render_rank_agreement,
)
from tests.tables import Run, table


def rows(**scores: tuple[float, ...]) -> list[Row]:
    """Rows of pipelines p0, p1...; a strategy's scores in that order."""
    return rows_of({name: [{(0, 0): score} for score in own] for name, own in scores.items()})


def rows_of(scores: dict[str, list[dict[Run, float]]]) -> list[Row]:
    pipelines = range(max(map(len, scores.values())))
    tables = [
        table({name: own[p] for name, own in scores.items() if p < len(own)}, f"p{p}")
        for p in pipelines
    ]
    return leaderboard(pd.concat(tables))


def test_rank_agreement_means_ranks_and_tau() -> None:
    found = rank_agreement(
        rows(a=(0.5, 0.7, 0.1), b=(0.6, 0.8, 0.2), c=(0.7, 0.6, 0.2), none=(0.1, 0.1, 0.1))
    )
    assert found is not None
    assert list(found.scores.index) == ["b", "c", "a"]
    assert list(found.scores.mean(axis=1)) == pytest.approx([1.6 / 3, 0.5, 1.3 / 3])
    assert found.ranks.to_numpy().tolist() == [[2, 1, 1.5], [1, 3, 1.5], [3, 2, 3]]
    assert found.least_agreement is not None
    tau, *pair = found.least_agreement
    assert (tau, set(pair)) == (pytest.approx(-1 / 3), {"p0", "p1"})
    _, lines = rank_cells(found)
    assert lines[0] == ["b", "0.533", "0.600 (2)", "0.800 (1)", "0.200 (1.5)", "1.50"]
    assert "-0.33" in render_rank_agreement(found)


def test_tau_is_tau_b() -> None:
    order = [0.1, 0.2, 0.3, 0.4]
    swapped = [0.2, 0.1, 0.3, 0.4]  # one of six pairs the other way round: (5 - 1) / 6
    tied = [0.1, 0.1, 0.3, 0.4]  # tau-b: 5 / sqrt(6 x 5)
    constant = [0.3] * 4
    columns = zip(order, order[::-1], swapped, tied, constant, strict=True)
    found = rank_agreement(rows(**{f"s{i}": own for i, own in enumerate(columns)}))
    assert found is not None
    taus = found.tau.to_numpy()
    assert taus[0, :4] == pytest.approx([1, -1, 4 / 6, 5 / math.sqrt(30)])
    assert taus[2, 3] == pytest.approx(stats.kendalltau(swapped, tied).statistic)
    assert np.isnan(taus[:4, 4]).all(), "equal scores have no order"
    assert found.least_agreement == (-1.0, "p1", "p0")


def test_rank_agreement_leaves_out_a_strategy_that_lacks_a_pipeline() -> None:
    found = rank_agreement(rows(a=(0.5, 0.7), b=(0.6, 0.8), c=(0.9, math.nan), d=(0.9,)))
    assert found is not None
    assert list(found.scores.index) == ["b", "a"]


def test_rank_agreement_counts_seeds_that_every_pipeline_has_scored() -> None:
    runs = [{(0, 0): 0.5, (1, 1): 0.9}, {(0, 0): 0.5, (1, 1): math.nan}]
    found = rank_agreement(rows_of({"a": runs, "b": [{(0, 0): 0.4, (1, 1): 0.4}] * 2}))
    assert found is not None
    assert list(found.scores.mean(axis=1)) == pytest.approx([0.5, 0.4])


@pytest.mark.parametrize("scores", [{"a": (0.5,), "b": (0.6,)}, {"a": (0.5, 0.6)}])
def test_rank_agreement_needs_two_pipelines_and_two_strategies(
    scores: dict[str, tuple[float, ...]],
) -> None:
    assert rank_agreement(rows(**scores)) is None
