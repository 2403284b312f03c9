"""Selectors against the plain loops they replace."""

import inspect
import tracemalloc
from collections.abc import Callable
from importlib import import_module
from inspect import signature
from pkgutil import iter_modules

import pytest
import torch
from torch import Tensor

from strategies import families, selectors
from strategies.families import clustering as clustering_module
from strategies.families import coreset as coreset_module
from strategies.families import coverage as coverage_module
from strategies.families import gradients as gradients_module
from strategies.families.boundary import class_quotas, round_robin
from strategies.families.clustering import closest_to_means, k_means, rotate_clusters
from strategies.families.coreset import k_center
from strategies.families.coverage import GreedyCoverage, ball, closest_pair, gaussian, pure_radius
from strategies.families.gradients import fisher_blocks, greedy_information
from strategies.families.multilabel import match_distribution
from strategies.families.stochastic import stochastic_top_k
from strategies.families.typiclust import typical_of_clusters
from strategies.feature_space import EmbeddingPoints, GradientPoints, update_nearest
from strategies.selectors import among_best, d_squared_sample, fill_up, random_k, top_k
from tests.strategies.pools import generator


def cloud(size: int = 300, dimensions: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(size, dimensions, generator=generator(seed))


def points_of(size: int) -> EmbeddingPoints:
    return EmbeddingPoints(cloud(size))


def scores_of(size: int) -> Tensor:
    return torch.rand(size, generator=generator(1))


def bait_of(size: int, k: int) -> Tensor:
    h, s = cloud(size), torch.rand(size, 3, generator=generator(2)) / 4
    start = torch.eye(5, dtype=torch.float64).repeat(3, 1, 1)
    return greedy_information(h, s, k, fisher_blocks(h, s), start)


def coverage_of(size: int, k: int, rng: torch.Generator) -> Tensor:
    points = points_of(size)
    return GreedyCoverage(points, points, torch.ones(size), gaussian(1.0)).pick(k, rng)


# Every function that answers with a set of k, by its name.
SELECTORS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "top_k": lambda n, k, rng: top_k(scores_of(n), k),
    "random_k": random_k,
    "fill_up": lambda n, k, rng: fill_up(torch.arange(k // 2), k, n, rng),
    "among_best": lambda n, k, rng: among_best(scores_of(n), n, lambda kept: torch.arange(k)),
    "stochastic_top_k": lambda n, k, rng: stochastic_top_k(scores_of(n), k, rng),
    "k_center": lambda n, k, rng: k_center(points_of(n), k, first=0),
    "d_squared_sample": lambda n, k, rng: d_squared_sample(points_of(n), k, rng),
    "closest_to_means": lambda n, k, rng: closest_to_means(k_means(points_of(n), k, rng), k, rng),
    "GreedyCoverage.pick": coverage_of,
    "typical_of_clusters": lambda n, k, rng: typical_of_clusters(points_of(n), 0, k, rng),
    "greedy_information": lambda n, k, rng: bait_of(n, k),
    "class_quotas": lambda n, k, rng: class_quotas(cloud(n), k),
    "round_robin": lambda n, k, rng: round_robin([torch.arange(n), torch.arange(n).flip(0)], k),
    "rotate_clusters": lambda n, k, rng: rotate_clusters(torch.arange(n) % 7, k, rng),
    "match_distribution": lambda n, k, rng: match_distribution(
        cloud(n).sigmoid(), k, torch.full((5,), 0.3), torch.zeros(0, 5)
    ),
}


def functions_that_select() -> set[str]:
    """Public functions and methods with an argument `k` that are no registered strategies."""
    names = [f"strategies.families.{module.name}" for module in iter_modules(families.__path__)]
    found = set()
    for module in (selectors, *map(import_module, names)):
        for name, value in vars(module).items():
            if (
                name.startswith(("_", "select_"))
                or getattr(value, "__module__", "") != module.__name__
            ):
                continue
            callables = {name: value}
            if inspect.isclass(value):
                callables = {f"{name}.{n}": f for n, f in vars(value).items() if n[0] != "_"}
            found |= {
                n for n, f in callables.items() if callable(f) and "k" in signature(f).parameters
            }
    return found


def test_selector_contract_covers_every_selector():
    assert functions_that_select() <= set(SELECTORS)


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize(("size", "k"), [(50, 1), (50, 20), (50, 50), (1, 1), (50, 0)])
def test_selectors_give_k_distinct_positions_and_the_same_ones_again(name: str, size: int, k: int):
    first, second = (SELECTORS[name](size, k, generator(4)) for _ in range(2))
    assert first.tolist() == second.tolist()
    assert first.dtype == torch.long
    assert len(set(first.tolist())) == k
    assert all(0 <= pick < size for pick in first.tolist())


# --- distances ---------------------------------------------------------------------------------


def written_out(p: Tensor, h: Tensor) -> Tensor:
    q = p - (p >= 0.5).float()
    return (q.unsqueeze(2) * h.unsqueeze(1)).flatten(1)  # (N, C * D)


def test_gradient_distances_equal_those_of_the_gradients_written_out():
    p, h = torch.rand(40, 3, generator=generator(1)), cloud(40)
    points, gradients = GradientPoints(p, h), written_out(p, h)
    expected = torch.cdist(gradients, gradients).square()
    assert torch.allclose(points.squared_distances(points), expected, atol=1e-4)
    assert torch.allclose(points.squared_norms(), gradients.square().sum(dim=1), atol=1e-5)


def test_gradient_points_equal_autograd():
    p, h = torch.rand(6, 3, generator=generator(1)), cloud(6)
    weight = torch.zeros(3, 5, requires_grad=True)
    for i in range(6):
        logits = p[i].logit() + weight @ h[i]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, (p[i] >= 0.5).float(), reduction="sum"
        )
        (gradient,) = torch.autograd.grad(loss, weight)
        assert torch.allclose(gradient.flatten(), written_out(p, h)[i], atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_squared_distances_of_duplicates_are_zero(offset: float):
    points = EmbeddingPoints(torch.cat([cloud(50, 64), cloud(50, 64)]) + offset)
    squared = points.squared_distances(points)
    assert (squared.diagonal(50) == 0).all()
    assert (squared >= 0).all()


def test_embedding_points_convert_half_precision_in_blocks(monkeypatch: pytest.MonkeyPatch):
    embeddings = cloud(200, 6).half()
    whole = EmbeddingPoints(embeddings)
    monkeypatch.setattr("strategies.feature_space.KEEP_NUMBERS", 10)
    monkeypatch.setattr("strategies.blocks.row_blocks.__defaults__", (100,))
    blocks = EmbeddingPoints(embeddings)
    some = torch.arange(0, 200, 3)
    nearest = [torch.full((200,), torch.inf) for _ in range(2)]
    update_nearest(whole, whole.take(some), nearest[0])
    update_nearest(blocks, blocks.take(some), nearest[1])
    assert torch.allclose(*nearest, atol=1e-4)


# --- k-center ----------------------------------------------------------------------------------


def naive_k_center(X: Tensor, k: int, covered: Tensor) -> list[int]:
    X, covered = X.double(), covered.double()
    distances, picks = torch.cdist(X, covered).amin(dim=1), []
    for _ in range(k):
        picks.append(int(distances.argmax()))
        distances = torch.minimum(distances, (X - X[picks[-1]]).norm(dim=1))
    return picks


@pytest.mark.parametrize("candidates", [3, 40, 2048])
@pytest.mark.parametrize("labelled", [1, 20])
def test_k_center_makes_the_picks_of_the_plain_loop(
    candidates: int, labelled: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(coreset_module, "CANDIDATES", candidates)
    X, known = cloud(), cloud(labelled, seed=1)
    points = EmbeddingPoints(X)
    assert k_center(points, 60, points.like(known)).tolist() == naive_k_center(X, 60, known)


def test_k_center_without_a_start_says_so():
    with pytest.raises(ValueError, match="needs a first pick"):
        k_center(points_of(5), 2)


# --- D² sampling -------------------------------------------------------------------------------


def exact_pair_probabilities(X: Tensor) -> Tensor:
    """P(second pick, third pick) of the plain loop, the first pick being 0."""
    squared = torch.cdist(X, X).square()
    second = squared[0] / squared[0].sum()
    third = torch.minimum(squared[0], squared)  # row: second pick
    return second.unsqueeze(1) * third / third.sum(dim=1, keepdim=True)


def test_d_squared_sampling_has_the_distribution_of_the_plain_loop():
    X = cloud(6, 2)
    points, expected, runs = EmbeddingPoints(X), exact_pair_probabilities(X), 1500
    counts, rng = torch.zeros(6, 6), generator()
    for _ in range(runs):
        _, second, third = d_squared_sample(points, 3, rng, first=0).tolist()
        counts[second, third] += 1
    spread = (expected * (1 - expected) / runs).sqrt()
    assert ((counts / runs - expected).abs() <= 4.5 * spread + 1e-9).all()


def test_d_squared_sample_takes_duplicates_last():
    X = torch.zeros(20, 2)
    X[3], X[7] = torch.tensor([5.0, 0.0]), torch.tensor([0.0, 5.0])
    picks = d_squared_sample(EmbeddingPoints(X), 5, generator(), first=0).tolist()
    assert set(picks[1:3]) == {3, 7}
    assert len(set(picks)) == 5


def test_fill_up_adds_only_free_positions():
    filled = fill_up(torch.tensor([4, 2]), 5, 5, generator())
    assert filled[:2].tolist() == [4, 2]
    assert sorted(filled.tolist()) == [0, 1, 2, 3, 4]


# --- k-means -----------------------------------------------------------------------------------


def test_k_means_ends_where_means_and_assignment_agree():
    X = cloud(400, 3)
    weights = scores_of(400)
    found = k_means(EmbeddingPoints(X), 8, generator(), weights, iterations=200)
    centred = X - X.mean(dim=0)
    assert torch.equal(found.assignment, torch.cdist(centred, found.means).argmin(dim=1))
    for cluster in range(8):
        inside = found.assignment == cluster
        mean = (centred[inside] * weights[inside, None]).sum(dim=0) / weights[inside].sum()
        assert torch.allclose(mean, found.means[cluster], atol=1e-5)


@pytest.mark.parametrize("iterations", [1, 2, 10])
def test_k_means_that_is_broken_off_says_where_its_points_are(iterations: int):
    X = cloud(400, 3)
    found = k_means(EmbeddingPoints(X), 40, generator(), iterations=iterations)
    apart = torch.cdist(X - X.mean(dim=0), found.means).square()
    assert torch.equal(found.assignment, apart.argmin(dim=1))
    assert torch.allclose(found.distances, apart.amin(dim=1), atol=1e-4)


def test_k_means_refuses_negative_weights():
    with pytest.raises(ValueError, match="must not be negative; the lowest is -1"):
        k_means(points_of(5), 2, generator(), torch.tensor([1.0, 1, -1, 1, 1]))


def test_closest_to_means_refills_empty_clusters():
    X = torch.tensor([[0.0], [0.1], [0.2], [9.0]])
    clusters = clustering_module.Clustering(
        means=torch.tensor([[0.1], [99.0], [98.0]]),
        assignment=torch.tensor([0, 0, 0, 0]),
        distances=(X - 0.1).square().squeeze(1),
    )
    assert closest_to_means(clusters, 2, generator()).tolist() == [1, 3]


# --- coverage ----------------------------------------------------------------------------------


def naive_coverage(kernel: Tensor, weights: Tensor, k: int) -> list[int]:
    covered, picks = torch.zeros(kernel.shape[1]), []
    for _ in range(k):
        gains = (kernel - covered).clamp(min=0) @ weights
        picks.append(int(gains.argmax()))
        covered = torch.maximum(covered, kernel[picks[-1]])
    return picks


@pytest.mark.parametrize("radius", [0.3, 1.0, 3.0])
def test_lazy_coverage_makes_the_picks_of_the_plain_loop(radius: float):
    X, weights = cloud(), scores_of(300)
    points = EmbeddingPoints(X)
    kernel = torch.exp(-torch.cdist(X, X).square() / radius**2)
    picks = GreedyCoverage(points, points, weights, gaussian(radius)).pick(40, generator())
    assert picks.tolist() == naive_coverage(kernel, weights, 40)


def test_coverage_by_balls_stops_when_all_is_covered():
    X, weights = cloud(200, 2), 1 + scores_of(200)
    points, kernel = EmbeddingPoints(X), (torch.cdist(X, X) <= 1.0).float()
    picks = GreedyCoverage(points, points, weights, ball(1.0)).pick(200, generator()).tolist()
    naive = naive_coverage(kernel, weights, len(picks))
    for count in (1, 2, 5, 10, len(picks)):  # two that cover each other and no more are a tie
        covered = [float(kernel[some[:count]].amax(dim=0) @ weights) for some in (picks, naive)]
        assert covered[0] == pytest.approx(covered[1])
    assert kernel[picks].amax(dim=0).min() == 1
    assert len(picks) < 60


def test_greedy_coverage_counts_labelled_images():
    X = torch.tensor([[0.0], [0.1], [10.0], [10.1], [10.2]])
    points = EmbeddingPoints(X)
    coverage = GreedyCoverage(points, points, torch.ones(5), gaussian(1.0))
    coverage.cover(points.take(torch.tensor([3])))
    assert coverage.pick(1, generator()).item() in (0, 1)


def test_greedy_coverage_in_blocks_covers_almost_as_well(monkeypatch: pytest.MonkeyPatch):
    X, weights = cloud(600), scores_of(600)
    points = EmbeddingPoints(X)
    kernel = torch.exp(-torch.cdist(X, X).square())
    whole = naive_coverage(kernel, weights, 60)
    monkeypatch.setattr(coverage_module, "KEPT_NUMBERS", 600 * 100)
    blocks = GreedyCoverage(points, points, weights, gaussian(1.0)).pick(60, generator()).tolist()
    worth = [float(kernel[picks].amax(dim=0) @ weights) for picks in (blocks, whole)]
    at_random = float(kernel[:60].amax(dim=0) @ weights)
    assert len(set(blocks)) == 60
    assert worth[0] > 0.93 * worth[1]
    assert worth[0] > at_random


# --- radii -------------------------------------------------------------------------------------


def test_closest_pair_ignores_duplicates():
    X = torch.tensor([[0.0, 0], [0, 0], [3, 4], [0, 2]])
    assert closest_pair(EmbeddingPoints(X)) == pytest.approx(2.0)
    assert closest_pair(EmbeddingPoints(X[:2])) == 1.0
    assert closest_pair(EmbeddingPoints(X[:0])) == 1.0


def test_pure_radius_keeps_the_wanted_share_pure():
    X = torch.cat([cloud(200, 2), cloud(200, 2, seed=1) + torch.tensor([4.0, 0.0])])
    points = EmbeddingPoints(X)
    radius = pure_radius(points, 2, 0.9, generator())
    halves = k_means(points, 2, generator()).assignment
    balls = torch.cdist(X, X) < radius
    pure = [(halves[ball_] == halves[i]).all() for i, ball_ in enumerate(balls)]
    assert sum(map(float, pure)) / 400 == pytest.approx(0.9, abs=0.03)


# --- BAIT --------------------------------------------------------------------------------------


def test_bait_makes_the_picks_of_the_plain_loop():
    h, s = cloud(50), torch.rand(50, 3, generator=generator(2)) / 4
    fisher = fisher_blocks(h, s)
    start = torch.eye(5, dtype=torch.float64).repeat(3, 1, 1)

    def trace(picks: list[int]) -> float:
        information = start + fisher_blocks(h[picks], s[picks])
        return float((torch.linalg.inv(information) @ fisher).diagonal(dim1=1, dim2=2).sum())

    picks: list[int] = []
    while len(picks) < 14:
        left = [i for i in range(50) if i not in picks]
        picks.append(min(left, key=lambda i: trace([*picks, i])))
    while len(picks) > 7:
        picks.remove(min(picks, key=lambda j: trace([i for i in picks if i != j])))
    assert greedy_information(h, s, 7, fisher, start).tolist() == picks


def test_bait_recomputing_changes_no_pick(monkeypatch: pytest.MonkeyPatch):
    seldom = bait_of(200, 60)
    monkeypatch.setattr(gradients_module, "RECOMPUTE_EVERY", 7)
    assert bait_of(200, 60).tolist() == seldom.tolist()


# --- the small ones ----------------------------------------------------------------------------


def test_stochastic_top_k_draws_in_proportion_to_the_weights():
    scores, rng = torch.tensor([0.0, 1.0, 2.0, 5.0]), generator()
    counts = torch.zeros(4)
    for _ in range(4000):
        counts[stochastic_top_k(scores, 1, rng)] += 1
    assert torch.allclose(counts / 4000, scores / 8, atol=0.035)
    assert stochastic_top_k(scores, 4, rng)[-1] == 0


def test_power_acquisition_limits_of_beta():
    scores = scores_of(50)
    best = set(top_k(scores, 5).tolist())
    for form, beta in (("power", 1e6), ("softmax", 1e6), ("softrank", 1e3)):
        assert set(stochastic_top_k(scores, 5, generator(), form, beta).tolist()) == best
    sets = {tuple(stochastic_top_k(scores, 5, generator(s), "power", 0).tolist()) for s in range(9)}
    assert len(sets) == 9


def test_power_acquisition_refuses_negative_scores():
    with pytest.raises(ValueError, match=r"the lowest is -1.*form=softmax"):
        stochastic_top_k(torch.tensor([-1.0, 1.0]), 1, generator())


def test_round_robin_takes_classes_in_turn():
    wishes = [torch.tensor([3, 1, 2, 0]), torch.tensor([3, 0, 1, 2])]
    assert round_robin(wishes, 4).tolist() == [3, 0, 1, 2]
    with pytest.raises(ValueError, match="name only 2 images; 3"):
        round_robin([torch.tensor([0, 1])], 3)


def test_rotate_clusters_takes_small_clusters_first():
    assignment = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    picked = assignment[rotate_clusters(assignment, 7, generator())].tolist()
    assert picked == [2, 1, 0, 1, 0, 0, 0]


def test_among_best_returns_positions_in_the_pool():
    scores = torch.tensor([0.1, 0.9, 0.5, 0.7])
    assert among_best(scores, 3, lambda kept: torch.tensor([2, 0])).tolist() == [2, 1]


def test_match_distribution_reaches_the_target_counts():
    p = torch.eye(3).repeat(20, 1)
    labels = torch.tensor([[1.0, 0, 0]] * 6)
    picks = match_distribution(p, 12, torch.full((3,), 1 / 3), labels)
    assert (labels.sum(dim=0) + p[picks].sum(dim=0)).tolist() == [6, 6, 6]


def test_typiclust_starts_with_clusters_without_labels():
    labelled = torch.zeros(4, 2)
    near = torch.randn(30, 2, generator=generator()) * 0.1
    far = near + torch.tensor([50.0, 0.0])
    points = EmbeddingPoints(torch.cat([labelled, near, far]))
    picks = typical_of_clusters(points, 4, 1, generator(), clusters=2)
    assert picks.item() >= 30  # in the far cloud, and close to its middle
    assert (far[picks - 30] - far.mean(dim=0)).norm() < 0.1


def test_typiclust_selects_unlabelled_images_only() -> None:
    """Next to a crowd of labelled images lies a copy of one; the crowd does not speak for it."""
    crowd, copy = torch.zeros(21, 8), torch.zeros(1, 8)
    elsewhere = torch.eye(8) + 10
    points = EmbeddingPoints(torch.cat([crowd, copy, elsewhere]))
    assert typical_of_clusters(points, 21, 1, generator(), clusters=1).tolist() != [0]


@pytest.mark.parametrize("name", ["greedy_information", "GreedyCoverage.pick"])
def test_one_thread_restores_the_number_of_threads(name: str):
    before = torch.get_num_threads()
    SELECTORS[name](50, 5, generator())
    assert torch.get_num_threads() == before


def test_typiclust_ranks_without_a_python_object_per_image() -> None:
    points = EmbeddingPoints(cloud(10_000, 2))
    tracemalloc.start()
    try:
        typical_of_clusters(points, 0, 1000, generator(), clusters=10, iterations=1)
        assert tracemalloc.get_traced_memory()[1] < 200_000  # bytes; tuples took 1.3 million
    finally:
        tracemalloc.stop()
