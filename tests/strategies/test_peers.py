"""The same picks, or as good an objective, as independent implementations where they are installed.

`pip install -r requirements-dev.txt` brings them; without one, its tests are skipped and say so.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from strategies.families.clustering import k_means
from strategies.families.committee import bald
from strategies.families.coreset import k_center
from strategies.families.coverage import GreedyCoverage, ball, gaussian
from strategies.families.multilabel import entropy_distance
from strategies.families.typiclust import typical_of_clusters
from strategies.families.uncertainty import least_confidence, mean_binary_entropy, negative_margin
from strategies.feature_space import EmbeddingPoints, GradientPoints
from strategies.selectors import d_squared_sample
from tests.strategies.pools import generator, views

PICKS, LABELLED = 25, 10


def peer(module: str) -> Any:
    return pytest.importorskip(module, reason=f"{module} is not installed")


@pytest.fixture
def threads() -> Iterator[None]:
    """torch's threads as they were: numba, below apricot, gives all of OpenMP one per core."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def given() -> dict[str, Tensor]:
    return views(images=300, dimensions=6, labelled=LABELLED)


def activeml(strategy: str, given: dict[str, Tensor], k: int = PICKS, **settings: Any) -> list[int]:
    """Picks of scikit-activeml, labelled images placed before the pool."""
    pool = peer("skactiveml.pool")
    X = torch.cat([given["labelled_embeddings"], given["embeddings"]]).double().numpy()
    y = np.full(len(X), np.nan)
    y[:LABELLED] = 0
    chooser = getattr(pool, strategy)(random_state=0, **settings)
    return (np.asarray(chooser.query(X, y, batch_size=k)) - LABELLED).tolist()


def test_k_center_equals_scikit_activeml(given: dict[str, Tensor]):
    points = EmbeddingPoints(given["embeddings"])
    ours = k_center(points, PICKS, points.like(given["labelled_embeddings"]))
    assert ours.tolist() == activeml("CoreSet", given)


def test_maxherding_equals_scikit_activeml(given: dict[str, Tensor]):
    # Its kernel is exp(-gamma d²) on unit vectors, and what it covers are the candidates.
    points = EmbeddingPoints(normalize(given["embeddings"], dim=1))
    coverage = GreedyCoverage(points, points, torch.ones(300), gaussian(0.5))
    coverage.cover(points.like(normalize(given["labelled_embeddings"], dim=1)))
    ours = coverage.pick(PICKS, generator()).tolist()
    theirs = activeml("MaxHerding", given, metric_dict={"gamma": 4.0})
    assert len(set(ours) & set(theirs)) >= PICKS - 2  # pairs that cover each other tie
    unit = normalize(given["embeddings"], dim=1)
    kernel = torch.exp(-4 * torch.cdist(unit, unit).square())
    reached = [float(kernel[picks].amax(dim=0).sum()) for picks in (ours, theirs)]
    assert reached[0] == pytest.approx(reached[1], rel=1e-3)


@pytest.mark.usefixtures("threads")
def test_maxherding_covers_as_much_as_apricot_facility_location(given: dict[str, Tensor]):
    apricot = peer("apricot")
    X = given["embeddings"]
    kernel = torch.exp(-torch.cdist(X, X).square())
    chooser = apricot.FacilityLocationSelection(PICKS, metric="precomputed", optimizer="lazy")
    theirs = chooser.fit(kernel.double().numpy()).ranking.tolist()
    points = EmbeddingPoints(X)
    ours = GreedyCoverage(points, points, torch.ones(300), gaussian(1.0)).pick(PICKS, generator())
    reached = [float(kernel[picks].amax(dim=0).sum()) for picks in (ours.tolist(), theirs)]
    assert reached[0] == pytest.approx(reached[1], rel=1e-4)


def test_probcover_covers_as_much_as_scikit_activeml(given: dict[str, Tensor]):
    delta = 1.5
    theirs = activeml("ProbCover", given, n_classes=2, deltas=[delta])
    X = torch.cat([given["labelled_embeddings"], given["embeddings"]])
    points, everything = EmbeddingPoints(given["embeddings"]), EmbeddingPoints(X)
    anchors = points.like(X)
    coverage = GreedyCoverage(points, anchors, torch.ones(len(X)), ball(delta))
    coverage.cover(points.like(given["labelled_embeddings"]))
    ours = coverage.pick(PICKS, generator()).tolist()
    balls = everything.squared_distances(everything).sqrt() <= delta
    covered = []
    for picks in (ours, theirs):
        chosen = [*range(LABELLED), *(pick + LABELLED for pick in picks)]
        covered.append(int(balls[chosen].any(dim=0).sum()))
    assert covered[0] >= covered[1] - 2  # counts tie often, and ties are broken at random


def test_typiclust_picks_are_as_typical_as_those_of_scikit_activeml(given: dict[str, Tensor]):
    theirs = activeml("TypiClust", given, k=5)
    points = EmbeddingPoints(torch.cat([given["labelled_embeddings"], given["embeddings"]]))
    ours = typical_of_clusters(points, LABELLED, 5, generator()).tolist()
    X = given["embeddings"]
    nearest = torch.cdist(X, X).topk(21, largest=False).values[:, 1:].mean(dim=1)
    typical = 1 / nearest
    share = [float((typical < typical[pick]).float().mean()) for pick in ours]
    assert sum(share) / 5 > 0.5
    means = [float(typical[picks].mean()) for picks in (ours, theirs)]
    assert means[0] > 0.75 * means[1]


def test_badge_draws_with_the_probabilities_of_scikit_activeml():
    pool, base = peer("skactiveml.pool"), peer("skactiveml.base")
    given = views(images=200, dimensions=6, classes=1)
    p, h = given["probabilities"], given["embeddings"]

    class Given(base.SkactivemlClassifier):
        """Two exclusive classes: their softmax gradient is (q, -q) ⊗ h, ours but for a factor."""

        classes_ = np.array([0, 1])

        def fit(self, X, y, sample_weight=None):
            return self

        def predict_proba(self, X):
            return np.column_stack([1 - p.numpy(), p.numpy()]).astype(float)

    chooser, nothing = pool.Badge(random_state=0), np.full(200, np.nan)
    picks, drawn_with = chooser.query(
        h.double().numpy(),
        nothing,
        Given(classes=[0, 1]),
        fit_clf=False,
        batch_size=10,
        return_utilities=True,
    )
    points = GradientPoints(p, h)
    assert picks[0] == int(points.squared_norms().argmax())
    # scikit-activeml 1.0.1 leaves the origin among the centres (the authors' code does not).
    distances = points.squared_norms()
    for pick, utilities in zip(picks[1:], drawn_with[1:], strict=True):
        previous = points.take(torch.tensor(picks[: picks.index(pick)]))
        nearest = torch.minimum(distances, points.squared_distances(previous).amin(dim=1))
        expected, known = nearest / nearest.sum(), torch.tensor(utilities).isfinite()
        assert np.allclose(expected[known], utilities[known.numpy()], atol=1e-5)


def test_d_squared_potential_equals_that_of_scikit_learn(given: dict[str, Tensor]):
    cluster = peer("sklearn.cluster")
    X = given["embeddings"]
    points = EmbeddingPoints(X)

    def potential(picks: Tensor) -> float:
        return float(torch.cdist(X, X[picks]).square().amin(dim=1).sum())

    ours, theirs = [], []
    for seed in range(30):
        ours.append(potential(d_squared_sample(points, PICKS, generator(seed))))
        seeds = cluster.kmeans_plusplus(X.numpy(), PICKS, random_state=seed, n_local_trials=1)[1]
        theirs.append(potential(torch.as_tensor(seeds)))
    spread = np.hypot(np.std(ours), np.std(theirs)) / np.sqrt(30)
    assert abs(np.mean(ours) - np.mean(theirs)) < 4 * spread


def test_k_means_ends_as_low_as_scikit_learn(given: dict[str, Tensor]):
    cluster = peer("sklearn.cluster")
    X = given["embeddings"]
    points = EmbeddingPoints(X)
    ours = [
        float(k_means(points, 8, generator(s), iterations=50).distances.sum()) for s in range(10)
    ]
    theirs = [
        cluster.KMeans(8, n_init=1, max_iter=50, random_state=s).fit(X.numpy()).inertia_
        for s in range(10)
    ]
    assert min(ours) < 1.03 * min(theirs)
    assert np.mean(ours) < 1.1 * np.mean(theirs)


def test_bald_of_one_class_equals_scikit_activeml():
    module = peer("skactiveml.pool._bald")
    p = views(images=80, classes=1)["committee"]  # (K, N, 1)
    theirs = module.batch_bald(torch.cat([1 - p, p], dim=2).double().numpy(), 1, random_state=0)
    # Its logarithms are kept finite by an offset of 1e-7.
    assert np.allclose(bald(p).numpy(), np.asarray(theirs).ravel(), atol=1e-4)


@pytest.mark.parametrize(
    ("score", "method"),
    [
        (mean_binary_entropy, "entropy"),
        (negative_margin, "margin_sampling"),
        (least_confidence, "least_confident"),
    ],
)
def test_uncertainty_of_one_class_equals_scikit_activeml(score: Any, method: str):
    module = peer("skactiveml.pool._uncertainty_sampling")
    p = views(images=80, classes=1)["probabilities"]
    theirs = module.uncertainty_scores(torch.cat([1 - p, p], dim=1).double().numpy(), method=method)
    assert score(p).argsort().tolist() == np.argsort(theirs).tolist()


def test_cvirs_joint_entropy_equals_small_text():
    # small-text 1.4.1 computes the entropy distance of Reyes et al. but returns the Hamming
    # distance, and ranks by |p - sum of p|; so its entropies are compared and not its picks.
    module = peer("small_text.query_strategies.multi_label")
    chooser = module.CategoryVectorInconsistencyAndRanking(pbar=None)
    rng = generator()
    x, y = (torch.rand(n, 6, generator=rng) > 0.5 for n in (9, 7))
    a, b, c, d = (
        (left.float() @ right.float().T).numpy()
        for left, right in ((x, y), (~x, y), (x, ~y), (~x, ~y))
    )
    h = chooser._entropy
    joint = h(b + c, 6) + h(a + d, 6)
    joint += (b + c) / 6 * (h(b, b + c) + h(c, b + c))
    joint += (a + d) / 6 * (h(a, a + d) + h(d, a + d))
    ones = [rows.float().sum(dim=1).numpy() for rows in (x, y)]
    single = [h(count, 6) + h(6 - count, 6) for count in ones]
    theirs = (2 * joint - single[0][:, None] - single[1]) / (joint + 1e-8)
    theirs[b + c == 6] = 1
    assert np.allclose(entropy_distance(x, y).numpy(), theirs, atol=1e-5)
