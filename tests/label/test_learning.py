"""The learner behind the page: what it reads, learns, ranks, doubts and foresees."""

import shutil
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from labelling.look_again import label_quality
from labelling.near_duplicates import NearDuplicates, difference_hash
from labelling.page.heads import HeadFitter, Standardise
from labelling.page.learning import Learning, cross_fitted_decisions
from labelling.page.messages import Job, Labels, Message, Outlook, Progress, Ranking, Scores
from labelling.page.reading import FeatureReader
from tests.label.conftest import CLASSES, make_pool

T = TypeVar("T")


def make_job(folder: Path, **changed: object) -> Job:
    pool = folder / "pool"
    names = tuple(sorted(path.relative_to(pool).as_posix() for path in pool.iterdir()))
    settings: dict[str, object] = {
        **{"pool": pool, "names": names, "order": tuple(range(len(names)))},
        **{"class_names": CLASSES, "features": folder / "features", "strategy": "entropy"},
        **{"seed": 0, "pixels": 64},
    }
    return Job(**{**settings, **changed})  # type: ignore[arg-type]


class Page:
    """Keeps what the learner says; no pause lasts for it."""

    def __init__(self, job: Job) -> None:
        self.said = list[Message]()
        self.now = 0.0
        self.learning = Learning(job, self.said.append, lambda: self.now)

    def work(self) -> None:
        while self.learning.step():
            self.now += 1000

    def last(self, kind: type[T]) -> T:
        return next(one for one in reversed(self.said) if isinstance(one, kind))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, ...]]]:
    folder = tmp_path_factory.mktemp("learning")
    return folder, make_pool(folder / "pool", 120, blobs=40)


def test_cold_start_spreads_over_the_pool_before_anything_is_labelled(
    pool: tuple[Path, dict[str, tuple[int, ...]]],
) -> None:
    page = Page(make_job(pool[0]))
    page.work()
    assert page.last(Progress).done == 120
    ranking = page.last(Ranking)
    assert ranking.by == "typiclust"
    assert sorted(ranking.rows) == list(range(120))
    assert not any(isinstance(one, Scores) for one in page.said)


def test_labels_are_learned_and_the_most_doubtful_picture_is_ranked_first(
    pool: tuple[Path, dict[str, tuple[int, ...]]],
) -> None:
    folder, truth = pool
    page = Page(job := make_job(folder))
    labels = {row: truth[name] for row, name in enumerate(job.names[:60])}
    page.learning.take(Labels(labels, tuple(range(40))))
    page.work()
    scores, ranking = page.last(Scores), page.last(Ranking)
    assert (scores.n_labels, scores.n_fair, scores.near_chance) == (60, 40, False)
    assert scores.macro_f1 > 0.9
    assert scores.macro_f1 == pytest.approx(np.mean(scores.f1))
    assert ranking.by == "entropy"
    assert sorted(ranking.rows) == list(range(60, 120))
    p = scores.probabilities.astype(float).clip(1e-4, 1 - 1e-4)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).mean(1)
    assert entropy[list(ranking.rows[:5])].min() >= np.median(entropy[60:])
    expected = np.array([truth[name] for name in job.names])
    assert ((p[60:] > 0.5) == expected[60:]).mean() > 0.9
    neighbours = ranking.alike[ranking.rows[0]]
    assert ranking.rows[0] not in neighbours
    assert set(neighbours) <= set(ranking.rows)


def test_a_wrong_label_is_looked_at_again_first(
    pool: tuple[Path, dict[str, tuple[int, ...]]],
) -> None:
    folder, truth = pool
    page = Page(job := make_job(folder))
    labels = {row: truth[name] for row, name in enumerate(job.names[:80])}
    labels[17] = (1 - labels[17][0], *labels[17][1:])
    page.learning.take(Labels(labels, tuple(range(80))))
    page.work()
    first = page.last(Scores).doubts[0]
    assert (first.row, first.class_index, first.label) == (17, 0, labels[17])
    page.learning.take(Labels({17: truth[job.names[17]]}, tuple(range(80))))
    page.work()
    assert 17 not in [doubt.row for doubt in page.last(Scores).doubts]


def test_outlook_needs_a_fair_sample(pool: tuple[Path, dict[str, tuple[int, ...]]]) -> None:
    folder, truth = pool
    job = make_job(folder)
    labels = {row: truth[name] for row, name in enumerate(job.names[:60])}
    outlooks = []
    for fair in (0, 60):
        page = Page(job)
        page.learning.take(Labels(labels, tuple(range(fair))))
        page.work()
        outlooks.append(page.last(Outlook))
    # Measured on all while the fair sample is small: a class is measured on what was chosen.
    assert [one.n_labels for one in outlooks] == [60, 60]
    assert "the fair sample has 0 images" in outlooks[0].refusal
    assert outlooks[1].refusal or outlooks[1].macro is not None
    if outlooks[1].macro is not None:
        assert outlooks[1].macro.labels == 160


def test_damaged_pictures_are_named_and_those_labelled_elsewhere_left_out(tmp_path: Path) -> None:
    truth = make_pool(tmp_path / "pool", 8)
    (tmp_path / "pool" / "003.png").write_bytes(b"no image")
    (tmp_path / "more").mkdir()
    shutil.copy(tmp_path / "pool" / "005.png", tmp_path / "more" / "x.png")
    page = Page(make_job(tmp_path, extra=((tmp_path / "more" / "x.png", truth["005.png"]),)))
    page.work()
    progress = [one for one in page.said if isinstance(one, Progress)]
    assert [row for one in progress for row in one.damaged] == [3]
    assert [row for one in progress for row in one.known_elsewhere] == [5]
    assert (progress[-1].done, progress[-1].total) == (7, 8)


def test_near_duplicates_are_grouped_and_share_a_fold(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "pool").mkdir()
    for number in range(30):
        coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8))
        smooth = coarse.resize((96, 96), Image.Resampling.BICUBIC)
        smooth.save(tmp_path / "pool" / f"{number:03}.png")
    with Image.open(tmp_path / "pool" / "004.png") as image:
        image.save(tmp_path / "pool" / "copy.png")
        image.resize((90, 90)).save(tmp_path / "pool" / "small.png")
    page = Page(job := make_job(tmp_path))
    page.work()
    row = {name: at for at, name in enumerate(job.names)}
    groups = page.last(Progress).groups
    assert set(groups[row["004.png"]]) >= {row["004.png"], row["copy.png"], row["small.png"]}
    rows = list(range(len(job.names)))
    folds = page.learning._folds(rows, torch.eye(len(rows), 3))
    assert len({int(folds[member]) for member in groups[row["004.png"]]}) == 1
    assert len(set(folds.tolist())) == 5


def test_reader_decodes_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pool(tmp_path / "pool", 6)
    files = sorted((tmp_path / "pool").iterdir())
    first = FeatureReader(tmp_path / "features", files, 64).read(range(6))
    (tmp_path / "features" / "images-64.jsonl").open("a").write('["cut o')
    again = FeatureReader(tmp_path / "features", files, 64)
    with monkeypatch.context() as patch:
        patch.setattr("labelling.page.reading.examine", lambda *_: pytest.fail("decoded again"))
        second = again.read(range(6))
    assert (second.features == first.features).all()
    assert (second.hashes == first.hashes).all()
    shutil.copy(files[1], files[0])  # what has changed is read again
    third = FeatureReader(tmp_path / "features", files, 64).read(range(6))
    assert (third.features[0] == first.features[1]).all()
    with pytest.raises(ValueError, match="At most"):
        again.read(range(65))


def test_heads_do_not_see_the_fold_that_they_predict() -> None:
    rng = torch.Generator().manual_seed(0)
    features = Standardise.of(noise := torch.randn(200, 50, generator=rng))(noise)
    labels = (torch.rand(200, 3, generator=rng) < 0.5).float()
    folds = torch.arange(200) % 5
    heads = HeadFitter(features).fit(labels, folds)
    accuracy = ((heads.out_of_fold > 0).float() == labels).float().mean()
    assert 0.4 < accuracy < 0.6  # there is nothing to learn
    changed = labels.clone()
    changed[folds == 2] = 1 - changed[folds == 2]
    other = HeadFitter(features).fit(changed, folds, penalties=[heads.penalty])
    assert torch.allclose(heads.weights[2], other.weights[2], atol=1e-3)
    assert not torch.allclose(heads.weights[0], other.weights[0], atol=1e-2)


def test_heads_are_those_of_a_penalised_logistic_regression() -> None:
    rng = torch.Generator().manual_seed(2)
    features = torch.randn(60, 90, generator=rng) / 90**0.5
    labels = (features[:, :1] + 0.1 * torch.randn(60, 1, generator=rng) > 0).float()
    folds, penalty = torch.arange(60) % 2, 1e-2
    heads = HeadFitter(features).fit(labels, folds, penalties=[penalty])
    peer = LogisticRegression(C=1 / (2 * penalty * 30), tol=1e-8, max_iter=1000)
    peer.fit(features[folds == 1], labels[folds == 1, 0])
    assert heads.weights[0, :, 0].numpy() == pytest.approx(peer.coef_[0], abs=2e-3)
    assert float(heads.biases[0]) == pytest.approx(peer.intercept_[0], abs=2e-3)
    expected = peer.decision_function(features[folds == 0])
    assert heads.out_of_fold[folds == 0, 0].numpy() == pytest.approx(expected, abs=5e-3)


def test_heads_learn_from_the_trained_images_alone() -> None:
    rng = torch.Generator().manual_seed(1)
    features = torch.randn(120, 20, generator=rng) / 20**0.5
    labels = (features[:, :2] > 0).float()
    folds, trained = torch.arange(120) % 4, torch.arange(120) < 80
    found = HeadFitter(features).fit(labels, folds, trained)
    spoilt = labels.clone()
    spoilt[~trained] = 1 - spoilt[~trained]
    assert torch.allclose(found.weights, HeadFitter(features).fit(spoilt, folds, trained).weights)


def test_standardise_drops_features_that_never_change() -> None:
    features = torch.cat([torch.randn(30, 3), torch.full((30, 1), 7.0)], 1)
    found = Standardise.of(features)(features)
    assert found.isfinite().all()
    assert (found[:, 3] == 0).all()
    assert found[:, :3].square().sum(1).mean() == pytest.approx(0.75, abs=0.01)


def test_cross_fitted_decisions_take_thresholds_from_other_folds() -> None:
    probabilities = torch.tensor([[0.1], [0.2], [0.8], [0.9], [0.3], [0.4]])
    labels = torch.tensor([[0.0], [0.0], [1.0], [1.0], [1.0], [1.0]])
    folds = torch.tensor([0, 0, 0, 0, 1, 1])
    found = cross_fitted_decisions(probabilities, labels, folds, torch.arange(6))
    assert found.flatten().tolist() == [0, 1, 1, 1, 0, 0]  # below 0.15 here, below 0.5 there


def test_label_quality_is_that_of_cleanlab() -> None:
    # Of the moving average over classes from the best to the worst, alpha 0.8, by hand.
    p, labels = np.array([[0.9, 0.2, 0.6]]), np.array([[1.0, 0.0, 0.0]])
    expected = 0.8 * 0.4 + 0.2 * (0.8 * 0.8 + 0.2 * 0.9)
    assert label_quality(p, labels) == pytest.approx([expected])


def test_difference_hash_bears_another_size_and_brightness() -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (9, 9), np.uint8)
    image = Image.fromarray(pixels).resize((90, 90), Image.Resampling.BICUBIC)
    brighter = image.point(lambda value: min(255, value + 20))
    hashes = [difference_hash(one) for one in (image, image.resize((60, 70)), brighter)]
    assert max((hashes[0] ^ other).bit_count() for other in hashes) <= 4
    other = Image.fromarray(pixels.T[::-1].copy()).resize((90, 90))
    assert (hashes[0] ^ difference_hash(other)).bit_count() > 10


def test_near_duplicates_need_both_hash_and_features() -> None:
    groups = NearDuplicates()
    features = np.eye(4, dtype=np.float16)[[0, 0, 1, 0]]
    hashes = np.array([0, 3, 0, 2**40 - 1], np.uint64)
    groups.add([10, 11, 12, 13], hashes, features)
    groups.add([14], np.array([1], np.uint64), features[:1])
    assert groups.groups == {row: [10, 11, 14] for row in (10, 11, 14)}
