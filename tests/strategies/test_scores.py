"""Scores against their definitions, written out the long way."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from strategies.families import boundary, committee, coverage, multilabel, uncertainty
from tests.strategies.pools import views

P = torch.tensor([[0.5, 0.5], [0.9, 0.1], [1.0, 0.0], [0.5, 1.0], [0.2, 0.7]])
HALF = torch.tensor([0.5, 0.5])


def h(p: float) -> float:
    return 0.0 if p in (0.0, 1.0) else -(p * math.log(p) + (1 - p) * math.log(1 - p))


DEFINITIONS = {
    "mean_binary_entropy": (uncertainty.mean_binary_entropy, lambda p: sum(map(h, p)) / len(p)),
    "total_uncertainty": (
        uncertainty.total_uncertainty,
        lambda p: sum(0.5 - abs(x - 0.5) for x in p),
    ),
    "negative_margin": (uncertainty.negative_margin, lambda p: -min(abs(2 * x - 1) for x in p)),
    "least_confidence": (
        uncertainty.least_confidence,
        lambda p: -math.log(math.prod(max(x, 1 - x) for x in p)),
    ),
    "hard_classes": (
        lambda p: uncertainty.hard_classes(p, torch.tensor([0.25, 1.0])),
        lambda p: p[0] * 0.75,
    ),
    "rare_positives": (
        lambda p: uncertainty.rare_positives(p, torch.tensor([[1.0, 0], [0, 0]])),
        lambda p: p[0] / (2 / 4) + p[1] / (1 / 4),
    ),
    "cardinality_inconsistency": (
        lambda p: multilabel.cardinality_inconsistency(p, HALF, torch.tensor([[1.0, 0], [1, 1]])),
        lambda p: abs(sum(x >= 0.5 for x in p) - 1.5),
    ),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_score_equals_its_definition(name: str):
    score, definition = DEFINITIONS[name]
    expected = [definition([float(x) for x in row]) for row in P.double().tolist()]
    assert score(P).tolist() == pytest.approx(expected, abs=1e-6)
    assert score(P.half()).dtype == torch.float32


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=5))
def test_scores_are_finite_on_any_probabilities(rows: list[list[float]]):
    p = torch.tensor(rows)
    for score, _ in DEFINITIONS.values():
        assert torch.isfinite(score(p[:, :2])).all()


def test_scores_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch):
    whole = uncertainty.mean_binary_entropy(P)
    monkeypatch.setattr("strategies.blocks.row_blocks.__defaults__", (4,))
    assert torch.equal(uncertainty.mean_binary_entropy(P), whole)


def test_bald_is_mutual_information_summed_over_classes():
    members = torch.tensor([[[0.9, 0.5]], [[0.1, 0.5]]])  # (2, 1, 2): they differ on class 0 only
    expected = h(0.5) - (h(0.9) + h(0.1)) / 2
    assert committee.bald(members).tolist() == pytest.approx([expected], abs=1e-6)
    agreed = torch.full((3, 4, 2), 0.3)
    assert committee.bald(agreed).tolist() == pytest.approx([0.0] * 4, abs=1e-6)


def test_vote_disagreement_counts_votes_at_each_class_threshold():
    members = torch.tensor([[[0.9, 0.3]], [[0.1, 0.3]], [[0.2, 0.3]], [[0.8, 0.3]]])
    score = committee.vote_disagreement(members, torch.tensor([0.5, 0.2]))
    assert score.tolist() == pytest.approx([h(0.5)])


def test_max_loss_reduction_expects_as_many_labels_as_the_probabilities_sum_to():
    p = torch.tensor([[0.4, 0.4, 0.3], [0.9, 0.05, 0.05]])
    # Sum 1.1: the likeliest one is positive although below 0.5; loss (1 - y f) / 2 for each.
    first = (1 - (0.8 - 1)) / 2 + (1 + (0.8 - 1)) / 2 + (1 + (0.6 - 1)) / 2
    second = (1 - 0.8) / 2 + 2 * (1 - 0.9) / 2
    assert multilabel.max_loss_reduction(p).tolist() == pytest.approx([first, second], abs=1e-6)


def test_max_margin_uncertainty_is_one_over_the_gap_between_predicted_sides():
    p = torch.tensor([[0.9, 0.2], [0.6, 0.4], [0.4, 0.4]])
    expected = [1 / (0.8 + 0.6), 1 / (0.2 + 0.2), 1 / 0.2]
    found = multilabel.max_margin_uncertainty(p, HALF)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def naive_entropy_distance(x: list[int], y: list[int]) -> float:
    """Reyes et al. 2018 by counting; entropies over the C positions."""

    def entropy(pairs: list[object]) -> float:
        shares = [n / len(pairs) for n in Counter(pairs).values()]
        return -sum(share * math.log(share) for share in shares)

    if all(a != b for a, b in zip(x, y, strict=True)):
        return 1.0
    joint = entropy(list(zip(x, y, strict=True)))
    return 0.0 if joint == 0 else (2 * joint - entropy(list(x)) - entropy(list(y))) / joint


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=7))
def test_entropy_distance_equals_the_counted_one(pairs: list[tuple[int, int]]):
    x, y = ([pair[i] for pair in pairs] for i in (0, 1))
    found = multilabel.entropy_distance(torch.tensor([x]).float(), torch.tensor([y]).float())
    assert float(found) == pytest.approx(naive_entropy_distance(x, y), abs=1e-5)


def test_cvirs_is_borda_count_times_mean_distance():
    p = torch.tensor([[0.5, 0.9], [0.875, 0.6], [0.125, 0.2]])
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    margins = [[0.0, 0.8], [0.75, 0.2], [0.75, 0.6]]
    borda = []
    for i in range(3):
        wins = 0.0
        for c in range(2):
            others = [margins[j][c] for j in range(3) if j != i]
            wins += sum(round(m, 6) > round(margins[i][c], 6) for m in others)
            wins += 0.5 * sum(round(m, 6) == round(margins[i][c], 6) for m in others)
        borda.append(wins / (2 * 2))
    predicted = [[1, 1], [1, 1], [0, 0]]
    distance = [
        sum(naive_entropy_distance(row, [int(v) for v in y]) for y in labels.tolist()) / 2
        for row in predicted
    ]
    expected = [b * d for b, d in zip(borda, distance, strict=True)]
    assert multilabel.cvirs(p, HALF, labels).tolist() == pytest.approx(expected, abs=1e-5)


def test_direct_starts_at_the_separation_with_fewest_errors_and_takes_both_sides():
    pool = torch.linspace(0.05, 0.95, 10)
    labelled = torch.tensor([0.1, 0.2, 0.3, 0.42, 0.44, 0.5, 0.9])
    labels = torch.tensor([0.0, 0, 1, 0, 0, 1, 1])  # one error with the cut in 0.44..0.5, at 0.45
    order = boundary.direct_order(pool, labelled, labels)
    assert sorted(order.tolist()) == list(range(10))
    assert [set(order[:n].tolist()) for n in (1, 3, 5)] == [{4}, {3, 4, 5}, {2, 3, 4, 5, 6}]


@pytest.mark.parametrize("order_of", ["direct", "galaxy"])
@pytest.mark.parametrize(("label", "wanted"), [(0.0, [9, 8, 7]), (1.0, [0, 1, 2])])
def test_direct_boundary_of_a_class_seen_on_one_side(
    order_of: str, label: float, wanted: list[int]
):
    pool, labelled = torch.linspace(0.05, 0.95, 10), torch.tensor([0.3, 0.6])
    labels = torch.full((2,), label)
    order = (
        boundary.direct_order(pool, labelled, labels)
        if order_of == "direct"
        else boundary.galaxy_order(pool, labelled, labels, 0.5)
    )
    assert order[:3].tolist() == wanted


def test_galaxy_bisects_the_shortest_stretch_between_unlike_labels():
    pool = torch.arange(100) / 100
    labelled = torch.tensor([0.095, 0.495, 0.595, 0.895])
    labels = torch.tensor([0.0, 0, 1, 1])  # only 0.495..0.595, ranks 50 to 59, is a boundary
    order = boundary.galaxy_order(pool, labelled, labels, threshold=0.535)
    # By halves: 55 is guessed positive, then 52 negative, 54 positive, 53 negative.
    assert order[:4].tolist() == [55, 52, 54, 53]
    assert all(abs(rank - 53.5) <= 8 for rank in order[:14].tolist())


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_fitted_temperature_recovers_the_true_one(true_temperature: float):
    rng = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(5000, 2, generator=rng)
    labels = torch.rand(5000, 2, generator=rng) < torch.sigmoid(logits / true_temperature)
    found = coverage.fitted_temperature(torch.sigmoid(logits), labels.float())
    assert found == pytest.approx(true_temperature, rel=0.12)


def test_temperature_one_changes_nothing_but_the_certain():
    p = views()["probabilities"]
    untempered = uncertainty.total_uncertainty(p)
    assert torch.allclose(coverage.tempered_uncertainty(p, 1.0), untempered, atol=1e-5)
    assert coverage.fitted_temperature(torch.empty(0, 3), torch.empty(0, 3)) == 1.0


@pytest.mark.parametrize("labelled", [2, 10, 40])
@pytest.mark.parametrize("sure", [0.8, 0.99, 1.0])
def test_fitted_temperature_of_few_easy_labels_stays_near_one(labelled: int, sure: float):
    labels = (torch.arange(labelled) % 2).float().unsqueeze(1)
    found = coverage.fitted_temperature(torch.where(labels > 0, sure, 1 - sure), labels)
    assert 0.3 < found <= 1
    p = torch.tensor([0.5, 0.6, 0.1, 0.95, 0.001, 0.9999]).unsqueeze(1)
    doubt = coverage.tempered_uncertainty(p, found)
    assert doubt.unique().numel() == 6
    assert rank_of(doubt) == [0, 1, 2, 3, 4, 5]


def rank_of(scores: Tensor) -> list[int]:
    return scores.argsort(descending=True).tolist()


def test_least_confidence_still_ranks_where_the_product_would_round_to_zero():
    p = torch.full((2, 400), 0.6)
    p[1] = 0.55  # products of 400 factors: 1e-89 and 1e-104, both below float32
    assert rank_of(uncertainty.least_confidence(p)) == [1, 0]
