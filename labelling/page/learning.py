"""The learner behind the page: reads the pool, refits while labels come, ranks what is open."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from core.pretrained.feature_bank import BATCH
from core.random_streams import stream, stream_seed
from labelling.forecast import (
    CannotForecastError,
    LearningCurve,
    bootstrap_f1,
    forecast,
)
from labelling.look_again import label_quality, self_confidence
from labelling.near_duplicates import NearDuplicates
from labelling.page.answers import Label
from labelling.page.heads import HeadFitter, Standardise
from labelling.page.messages import Doubt, Job, Labels, Message, Outlook, Progress, Ranking, Scores
from labelling.page.reading import FeatureReader
from models.calibration import best_thresholds, calibrate, is_near_chance
from models.folds import extend_folds
from strategies.pool_view import PoolView
from strategies.registry import ConfiguredStrategy, parse_strategy

FOLDS = 5
FEWEST_LABELS = 20  # that are learned from
FEWEST_OF_A_CLASS = 2  # with and without it, or there is nothing to learn
FEWEST_FAIR = 20  # images of the fair sample that something is measured on
RANKED = 200  # images, most wanted first; a refit comes long before they are used up
ALIKE = 23  # neighbours that are named for an image
SHOWN_SOON = 60  # images of the ranking and of the random order whose neighbours are named
MOST_DOUBTS = 48
COLD_START = "typiclust"
STEPS = (0.4, 0.55, 0.7, 0.85, 1.0)  # nested subsets of a learning curve, in shares of the labels
REPEATS = 3  # orders in which the subsets are nested
DRAWS = 300  # bootstraps of the fair sample
MORE = 100  # labels that are looked ahead
GROWTH = 1.25  # times as many images as at the last ranking make another worth while
FORECAST_AFTER = 10  # labels since the last forecast


class Learning:
    """State of the learner; `step` does the next piece of work, a few seconds at most.

    send : takes messages for the page.
    """

    def __init__(
        self, job: Job, send: Callable[[Message], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.job = job
        self._send = send
        self._clock = clock
        self._strategy = parse_strategy(job.strategy)
        self._cold_start = parse_strategy(COLD_START)
        files = [job.pool / name for name in job.names]
        self._n = len(files)
        files += [file for file, _ in job.extra]
        self._reader = FeatureReader(job.features, files, job.pixels)
        self._labels: dict[int, Label] = {
            self._n + at: label for at, (_, label) in enumerate(job.extra)
        }
        self._fair: tuple[int, ...] = ()
        self._unread = list(range(self._n, len(files))) + list(job.order)
        self._total = len(files)
        self._features = np.zeros((0, 0), np.float16)  # (N, D), in the order of `rows`
        self._known = np.zeros(self._total, bool)
        self._damaged: set[int] = set()
        self._extra_contents: set[bytes] = set()
        self._duplicates = NearDuplicates()
        self._changed = False
        self._read_at_ranking = 0
        self._next_fit = 0.0
        self._forecast_at = 0
        self._round = 0

    def take(self, labels: Labels) -> None:
        """Labels have changed."""
        for row, label in labels.changed.items():
            if label is None:
                self._labels.pop(row, None)
            else:
                self._labels[row] = label
        self._fair = labels.fair
        self._changed = True

    def step(self) -> bool:
        """Do the next piece of work; False where there is none until labels change."""
        read = int(self._known.sum())
        is_all, is_more = not self._unread, read > self._read_at_ranking
        has_grown = is_more and (is_all or read >= max(BATCH, GROWTH * self._read_at_ranking))
        if read and (self._changed or has_grown) and self._clock() >= self._next_fit:
            started = self._clock()
            self._changed, self._read_at_ranking = False, read
            self._learn()
            self._next_fit = self._clock() + max(1.0, self._clock() - started)
            return True
        if self._unread:
            self._read()
            return True
        return False

    def _read(self) -> None:
        """Features of the next images: labelled ones first, for there is something to learn."""
        waiting = dict.fromkeys(self._unread)
        labelled = [row for row in self._labels if row in waiting]
        rows = list(dict.fromkeys([*labelled, *self._unread[:BATCH]]))[:BATCH]
        self._unread = [row for row in self._unread if row not in set(rows)]
        batch = self._reader.read(rows)
        if batch.rows:
            if not len(self._features):
                self._features = np.zeros((self._total, batch.features.shape[1]), np.float16)
            self._features[batch.rows] = batch.features
            self._known[batch.rows] = True
            self._duplicates.add(batch.rows, batch.hashes, batch.features)
        self._damaged |= batch.damaged.keys()
        contents = dict(zip(batch.rows, batch.contents, strict=True))
        self._extra_contents |= {one for row, one in contents.items() if row >= self._n}
        known = [row for row in batch.rows if row < self._n]
        self._send(
            Progress(
                int(self._known[: self._n].sum()),
                self._n,
                {row: why for row, why in batch.damaged.items() if row < self._n},
                self._duplicates.groups,
                tuple(row for row in known if contents[row] in self._extra_contents),
            )
        )

    def _learn(self) -> None:
        rows = [row for row in self._labels if self._known[row]]
        known = torch.from_numpy(np.flatnonzero(self._known))
        standardise = Standardise.of(torch.from_numpy(self._features[known].astype(np.float32)))
        features = standardise(torch.from_numpy(self._features[known].astype(np.float32)))
        at = torch.full((self._total,), -1)
        at[known] = torch.arange(len(known))
        labels = torch.tensor([self._labels[row] for row in rows], dtype=torch.float32)
        open_rows = torch.tensor(
            [row for row in known.tolist() if row < self._n and row not in self._labels]
        ).long()
        labelled = features[at[rows]] if rows else features[:0]
        if not _is_learnable(labels):
            self._rank(self._cold_start, open_rows, features, at, labelled)
            return
        started = self._clock()
        folds = self._folds(rows, labels)
        fitter = HeadFitter(labelled)
        heads = fitter.fit(labels, folds)
        fair, is_fair = self._measured(rows)
        calibration = calibrate(heads.out_of_fold[fair], labels[fair], positive_weight=1.0)
        out_of_fold = calibration.probabilities(heads.out_of_fold)
        near_chance = is_near_chance(calibration.f1, labels[fair])
        committee = calibration.probabilities(heads.logits(features))  # (K, n, C)
        probabilities = committee.mean(0)
        decisions = cross_fitted_decisions(out_of_fold, labels, folds, fair)
        f1 = _f1(decisions, labels[fair])
        everything = np.full((self._n, labels.shape[1]), np.nan, np.float16)
        own = known[known < self._n]
        everything[own] = probabilities[at[own]].numpy().astype(np.float16)
        self._send(
            Scores(
                tuple(f1.tolist()),
                float(f1.nanmean()),
                len(fair),
                is_fair,
                len(rows),
                near_chance,
                everything,
                () if near_chance else tuple(self._doubts(rows, out_of_fold)),
                self._clock() - started,
            )
        )
        self._rank(
            self._cold_start if near_chance else self._strategy,
            open_rows,
            features,
            at,
            labelled,
            {
                "probabilities": probabilities[at[open_rows]],
                "committee": committee[:, at[open_rows]],
                "labelled_labels": labels,
                "labelled_probabilities": out_of_fold,
                "validation_f1": f1.nan_to_num(0.0),
                "thresholds": calibration.thresholds,
            },
        )
        if len(rows) >= self._forecast_at + FORECAST_AFTER:
            self._forecast_at = len(rows)
            n_fair = len(fair) if is_fair else len(set(self._fair).intersection(rows))
            self._send(self._outlook(fitter, heads.penalty, labels, folds, fair, n_fair))

    def _rank(
        self,
        strategy: ConfiguredStrategy,
        open_rows: Tensor,
        features: Tensor,
        at: Tensor,
        labelled: Tensor,
        views: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Tell the page which of `open_rows` to ask for next, and what looks like them."""
        self._round += 1
        k = min(RANKED, len(open_rows))
        if k == 0:
            return
        own = features[at[open_rows]]
        sources = {"embeddings": own, "labelled_embeddings": labelled, **(views or {})}
        view = PoolView.from_tensors(**sources)
        picks = strategy.select(view, k, stream(self.job.seed, f"label/{self._round}"))
        ranked = open_rows[picks].tolist()
        is_open = set(open_rows.tolist())
        soon = [row for row in self.job.order if row in is_open][:SHOWN_SOON]
        shown = list(dict.fromkeys([*ranked[:SHOWN_SOON], *soon]))
        self._send(Ranking(tuple(ranked), strategy.name, _alike(shown, open_rows, features, at)))

    def _folds(self, rows: Sequence[int], labels: Tensor) -> Tensor:
        """Near-duplicates go to one fold, or what is held out would have been seen."""
        first = {row: min(alike) for row, alike in self._duplicates.groups.items()}
        groups = dict[int, list[int]]()
        for place, row in enumerate(rows):
            groups.setdefault(first.get(row, row), []).append(place)
        of_groups = torch.stack([labels[places].amax(0) for places in groups.values()])
        none = torch.empty(0, dtype=torch.long)
        found = extend_folds(none, of_groups, FOLDS, stream(self.job.seed, "label/folds"))
        folds = torch.empty(len(rows), dtype=torch.long)
        for fold, places in zip(found.tolist(), groups.values(), strict=True):
            folds[places] = fold
        return folds

    def _measured(self, rows: Sequence[int]) -> tuple[Tensor, bool]:
        """Places of the fair sample among `rows`, and True; all, and False, where it is small."""
        fair = set(self._fair)
        places = [place for place, row in enumerate(rows) if row in fair]
        is_fair = len(places) >= FEWEST_FAIR
        return torch.tensor(places if is_fair else range(len(rows))), is_fair

    def _doubts(self, rows: Sequence[int], out_of_fold: Tensor) -> Iterator[Doubt]:
        """The most doubtful labels first, of those that the learner would give otherwise."""
        p = out_of_fold.double().numpy()
        given = np.array([self._labels[row] for row in rows], float)
        confidence = self_confidence(p, given)
        for place in label_quality(p, given).argsort()[:MOST_DOUBTS].tolist():
            worst = int(confidence[place].argmin())
            if confidence[place, worst] < 0.5 and rows[place] < self._n:
                row = rows[place]
                yield Doubt(row, worst, float(p[place, worst]), self._labels[row])

    def _outlook(
        self,
        fitter: HeadFitter,
        penalty: float,
        labels: Tensor,
        folds: Tensor,
        fair: Tensor,
        n_fair: int,
    ) -> Outlook:
        """The forecast from learning curves on nested subsets, of the mean and of each class."""
        n = len(labels)
        if n_fair < FEWEST_FAIR:
            reason = f"the fair sample has {n_fair} images, and {FEWEST_FAIR} are needed"
            return Outlook(n, MORE, None, refusal=reason)
        rng = np.random.default_rng(stream_seed(self.job.seed, f"label/forecast/{n}"))
        sizes = [round(share * n) for share in STEPS]
        points, draws = [], []
        for _ in range(REPEATS):
            order = torch.from_numpy(rng.permutation(n))
            decisions = []
            for size in sizes:
                trained = torch.zeros(n, dtype=torch.bool)
                trained[order[:size]] = True
                heads = fitter.fit(labels, folds, trained, [penalty])
                decisions.append(
                    cross_fitted_decisions(heads.out_of_fold.sigmoid(), labels, folds, fair)
                )
            stacked = torch.stack(decisions).double().numpy()  # (S, F, C)
            truth = labels[fair].double().numpy()
            points.append(np.stack([_f1(d, labels[fair]).numpy() for d in decisions]))
            draws.append(bootstrap_f1(stacked, truth, DRAWS, rng))
        point = np.mean(points, axis=0)  # (S, C)
        replicates = np.concatenate(draws)  # (B, S, C)
        counts = np.array(sizes, float)
        seen = [c for c in range(labels.shape[1]) if np.isfinite(point[:, c]).all()]
        if not seen:
            return Outlook(n, MORE, None, refusal="the fair sample shows no class yet")
        of_class = {}
        for c in seen:
            curve = LearningCurve(counts, point[:, c], np.nan_to_num(replicates[:, :, c]))
            try:
                of_class[c] = forecast(curve, MORE)
            except CannotForecastError:
                continue  # the table shows which classes have a forecast
        macro = LearningCurve(
            counts, point[:, seen].mean(axis=1), np.nan_to_num(replicates[:, :, seen]).mean(axis=2)
        )
        try:
            return Outlook(n, MORE, forecast(macro, MORE), of_class)
        except CannotForecastError as reason:
            return Outlook(n, MORE, None, of_class, str(reason))


def cross_fitted_decisions(
    probabilities: Tensor, labels: Tensor, folds: Tensor, measured: Tensor
) -> Tensor:
    """Decisions 0/1 (F, C) for the rows `measured`, at thresholds from the other folds.

    probabilities : (L, C), out of fold.
    """
    decided = torch.zeros(len(measured), labels.shape[1])
    own_folds = folds[measured]
    for fold in sorted(set(own_folds.tolist())):
        others = measured[own_folds != fold]
        if not len(others):
            others = measured
        thresholds, _ = best_thresholds(probabilities[others], labels[others])
        at = own_folds == fold
        decided[at] = (probabilities[measured[at]] >= thresholds).float()
    return decided


def _f1(decisions: Tensor, labels: Tensor) -> Tensor:
    """F1 per class; not a number where a class is neither there nor predicted."""
    return 2 * (decisions * labels).sum(0) / (decisions.sum(0) + labels.sum(0))


def _is_learnable(labels: Tensor) -> bool:
    if len(labels) < FEWEST_LABELS:
        return False
    positives = labels.sum(0)
    both = (positives >= FEWEST_OF_A_CLASS) & (len(labels) - positives >= FEWEST_OF_A_CLASS)
    return bool(both.any())


def _alike(
    rows: Sequence[int], open_rows: Tensor, features: Tensor, at: Tensor
) -> dict[int, tuple[int, ...]]:
    """The open images that look most like each of `rows`, by the cosine of their features."""
    directions = torch.nn.functional.normalize(features[at[open_rows]], dim=1)
    own = torch.nn.functional.normalize(features[at[torch.tensor(rows)]], dim=1)
    nearest = (own @ directions.T).topk(min(ALIKE + 1, len(open_rows)), dim=1).indices
    found = open_rows[nearest].tolist()
    return {row: tuple(o for o in near if o != row) for row, near in zip(rows, found, strict=True)}
