"""Ranks and means over pipelines, and how far the pipelines agree."""

import pytest

from evaluator.analysis.leaderboard import Row
from evaluator.analysis.robustness import across_pipelines, render_robustness


def rows(**scores: tuple[float, ...]) -> list[Row]:
    """Rows of pipelines p0, p1...; a strategy's scores in that order."""
    return [
        Row(name, f"p{p}", {("5:1", 0, 0): score})
        for name, own in scores.items()
        for p, score in enumerate(own)
    ]


def test_means_ranks_and_agreement() -> None:
    found = across_pipelines(
        rows(a=(0.5, 0.7, 0.1), b=(0.6, 0.8, 0.2), c=(0.7, 0.6, 0.2), none=(0.1, 0.1, 0.1))
    )
    assert found is not None
    assert found.strategies == ("b", "c", "a")
    assert found.means == pytest.approx([1.6 / 3, 0.5, 1.3 / 3])
    assert found.ranks.tolist() == [[2, 1, 1.5], [1, 3, 1.5], [3, 2, 3]]
    assert found.least_agreement is not None
    tau, *pair = found.least_agreement
    assert (tau, set(pair)) == (pytest.approx(-1 / 3), {"p0", "p1"})
    printed = render_robustness(found)
    assert "0.800 (1)" in printed
    assert "none" not in printed


def test_a_strategy_that_misses_a_pipeline_is_not_ranked() -> None:
    found = across_pipelines(rows(a=(0.5, 0.7), b=(0.6, 0.8), c=(0.9, float("nan"))))
    assert found is not None
    assert found.strategies == ("b", "a")


def test_only_seeds_that_every_pipeline_has_scored_count() -> None:
    unfinished = Row("a", "p1", {("5:1", 0, 0): 0.5, ("5:1", 1, 1): float("nan")})
    found = across_pipelines(
        [Row("a", "p0", {("5:1", 0, 0): 0.5, ("5:1", 1, 1): 0.9}), unfinished, *rows(b=(0.4, 0.4))]
    )
    assert found is not None
    assert found.means == pytest.approx([0.5, 0.4])


@pytest.mark.parametrize("scores", [{"a": (0.5,), "b": (0.6,)}, {"a": (0.5, 0.6)}])
def test_nothing_is_said_where_there_is_no_order(scores: dict[str, tuple[float, ...]]) -> None:
    assert across_pipelines(rows(**scores)) is None
