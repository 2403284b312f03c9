"""The same selections by other libraries, for comparison; each is optional.

A peer takes the benchmark's views and k and answers with k positions. Multi-class libraries are
given what they can take: the same embeddings, and probabilities scaled to sum to one.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Views = Mapping[str, Tensor]
Peer = Callable[[Views, int], NDArray[np.int64]]


def _stacked(views: Views) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Labelled images first, then the pool; labels, NaN where to be chosen."""
    labelled = views["labelled_embeddings"].numpy()
    X = np.concatenate([labelled, views["embeddings"].numpy()])
    y = np.full(len(X), np.nan)
    y[: len(labelled)] = views["labelled_labels"][:, 0].numpy()
    return X, y


def _scikit_activeml(strategy: str, **settings: Any) -> Peer:
    def select(views: Views, k: int) -> NDArray[np.int64]:
        X, y = _stacked(views)
        chooser = getattr(import_module("skactiveml.pool"), strategy)(random_state=0, **settings)
        picks: NDArray[np.int64] = chooser.query(X, y, batch_size=k)
        return picks - len(views["labelled_embeddings"])

    return select


def badge(views: Views, k: int) -> NDArray[np.int64]:
    """BADGE of scikit-activeml on a classifier that answers with the given probabilities."""
    base = import_module("skactiveml.base").SkactivemlClassifier
    probabilities = views["probabilities"].numpy().astype(float) + 1e-6
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    classes = np.arange(probabilities.shape[1])

    class Given(base):  # type: ignore[misc, valid-type]
        classes_ = classes

        def fit(self, *_: Any, **__: Any) -> "Given":
            return self

        def predict_proba(self, *_: Any) -> NDArray[np.float64]:
            return probabilities

    X, y = views["embeddings"].numpy(), np.full(views["embeddings"].shape[0], np.nan)
    chooser = import_module("skactiveml.pool").Badge(random_state=0)
    picks = chooser.query(X, y, Given(classes=classes), fit_clf=False, batch_size=k)
    return np.asarray(picks)


def bald(views: Views, k: int) -> NDArray[np.int64]:
    """Mutual information of the first class, by scikit-activeml (one class is all it can take)."""
    module = import_module("skactiveml.pool._bald")
    p = views["committee"][:, :, 0].numpy()
    gains = module.batch_bald(np.stack([1 - p, p], axis=-1), 1, random_state=0)
    return np.asarray(np.argsort(-np.asarray(gains).ravel())[:k])


def kmeans(views: Views, k: int) -> NDArray[np.int64]:
    """scikit-learn's KMeans, one start and ten iterations, and the image closest to each mean."""
    cluster = import_module("sklearn.cluster")
    X = views["embeddings"].numpy()
    fitted = cluster.KMeans(k, n_init=1, max_iter=10, random_state=0).fit(X)
    distances = fitted.transform(X)
    return np.asarray(distances.argmin(axis=0))


def kmeans_plusplus(views: Views, k: int) -> NDArray[np.int64]:
    """D² sampling by scikit-learn, without its extra local trials."""
    seeds = import_module("sklearn.cluster").kmeans_plusplus(
        views["embeddings"].numpy(), k, random_state=0, n_local_trials=1
    )
    return np.asarray(seeds[1])


def facility_location(views: Views, k: int) -> NDArray[np.int64]:
    """MaxHerding's objective as facility location, lazy greedy, by apricot-select."""
    X = views["embeddings"].numpy()
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    kernel = np.exp(-np.maximum(2 - 2 * X @ X.T, 0))
    chooser = import_module("apricot").FacilityLocationSelection(
        k, metric="precomputed", optimizer="lazy"
    )
    return np.asarray(chooser.fit(kernel).ranking)


def cvirs(views: Views, k: int) -> NDArray[np.int64]:
    """CVIRS of small-text; its own labels and probabilities are passed in directly."""
    module = import_module("small_text.query_strategies.multi_label")
    sparse = import_module("scipy.sparse")
    chooser = module.CategoryVectorInconsistencyAndRanking(pbar=None)
    labels = sparse.csr_matrix(views["labelled_labels"].numpy().astype(int))
    probabilities = views["probabilities"].numpy()
    scores = chooser._compute_scores(np.arange(len(probabilities)), labels, probabilities)
    return np.asarray(np.argsort(-scores)[:k])


def entropy(views: Views, k: int) -> NDArray[np.int64]:
    """Entropy sampling of scikit-activeml, its function for multi-class probabilities."""
    module = import_module("skactiveml.pool._uncertainty_sampling")
    p = views["probabilities"].numpy().astype(float) + 1e-6
    scores = module.uncertainty_scores(p / p.sum(axis=1, keepdims=True), method="entropy")
    return np.asarray(np.argsort(-scores)[:k])


PEERS: dict[str, dict[str, Peer]] = {
    "entropy": {"scikit-activeml UncertaintySampling": entropy},
    "bald": {"scikit-activeml batch_bald (one class)": bald},
    "cvirs": {"small-text CVIRS": cvirs},
    "coreset": {"scikit-activeml CoreSet": _scikit_activeml("CoreSet")},
    "kmeans": {"scikit-learn KMeans": kmeans},
    "d-squared": {"scikit-learn kmeans_plusplus": kmeans_plusplus},
    "typiclust": {"scikit-activeml TypiClust": _scikit_activeml("TypiClust")},
    "probcover": {"scikit-activeml ProbCover": _scikit_activeml("ProbCover", n_classes=6)},
    "maxherding": {
        "scikit-activeml MaxHerding": _scikit_activeml("MaxHerding"),
        "apricot-select FacilityLocation": facility_location,
    },
    "badge": {"scikit-activeml Badge": badge},
}
