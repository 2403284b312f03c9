"""The selection session: fit on what is labelled, look at the pool, select, add labels, again.

    session = Session.open(labelled, pool, settings, strategy, seed)
    session.fit(epochs=30)
    batch = session.select(200)
    session.add(batch, labels)  # as they come; rows without one stay open

The submission buys labels with it (`run.py`), `choose.py` fills one batch for annotators. How many
rounds of what size there is time for, others decide (`strategies.planner`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from core.random_streams import stream
from models.image_bank import Clock, as_label
from models.kinds import build_learner
from models.learner import DeadlineReachedError, Learner, Predictions
from models.settings import LearnerSettings
from strategies.events import Event, OnEvent, log_event
from strategies.image_sets import LabelledSet, UnlabelledPool
from strategies.look import Look
from strategies.planner import ESTIMATE_ERROR, CostModel, affordable_epochs, affordable_look
from strategies.pool_view import AXES, PoolView
from strategies.registry import ConfiguredStrategy

By = Literal["strategy", "last look", "random", "all"]
_Rows = tuple[Tensor, frozenset[str], By]  # of the pool, the views they go by, and who chose them
NewLearner = Callable[[LearnerSettings, int, Clock], Learner]


class LearnerDivergedError(Exception):
    """The learner's predictions are not finite, so that nothing can be chosen by them."""


@dataclass(frozen=True)
class Selection:
    """Images to label next, the most wanted first.

    idx : (k,), what `purchase_label` takes.
    probabilities : {idx: (C,)}, as predicted at the last look; without those not looked at.
    by : "strategy", or what stood in for it: "last look", the most uncertain images of the last
        look, "random", or "all", every image that was left.
    views_used : the views of the pool that the choice went by.
    round : the number of selections so far.
    rows : (k,), of the session's pool.
    """

    idx: Tensor
    probabilities: dict[int, Tensor]
    by: By
    views_used: frozenset[str]
    round: int
    rows: Tensor


class Session:
    """Selects images of `pool` for labelling, by `strategy`, with a learner trained on `labelled`.

    Parameters
    ----------
    pool : may be set later, before the first `select`.
    learner : fits and infers; see `models.learner.Learner`.
    seed : choices draw from its streams `selection/<round>`.
    clock : what deadlines are read on, in seconds.
    on_event : called with what was done, in how many seconds; logs, if not given.

    Attributes
    ----------
    costs : seconds per unit of work, as measured so far.
    round : selections so far.
    n_fitted : so many of the labelled images the learner was trained on.
    """

    def __init__(
        self,
        labelled: LabelledSet,
        pool: UnlabelledPool | None,
        learner: Learner,
        strategy: ConfiguredStrategy,
        seed: int,
        *,
        clock: Clock = time.monotonic,
        on_event: OnEvent = log_event,
    ) -> None:
        self.labelled = labelled
        self.pool = pool
        self.learner = learner
        self.strategy = strategy
        self.seed = seed
        self.clock = clock
        self.on_event = on_event
        self.round = 0
        self.n_fitted = 0
        self._last_look: Look | None = None
        started = clock()
        speed = learner.measure_speed(labelled.inputs, labelled.labels)
        self.cost_model = CostModel(speed.fit, speed.look)
        self.emit(
            "read",
            images=len(labelled),
            pixels=labelled.size,
            read=labelled.seconds_per_image,
            fit=speed.fit,
            look=speed.look,
            device=learner.resolved.device,
            backbone=learner.resolved.backbone,
            precision=learner.resolved.precision,
            seconds=clock() - started,
        )

    @classmethod
    def open(
        cls,
        labelled: Any,
        pool: Any,
        settings: LearnerSettings,
        strategy: ConfiguredStrategy,
        seed: int,
        *,
        n_calibration: int | None = None,
        clock: Clock = time.monotonic,
        on_event: OnEvent = log_event,
        new_learner: NewLearner = build_learner,
    ) -> "Session":
        """A session over data sets of `{"idx", "image", "label"}`; reads the labelled one.

        n_calibration : so many of the labelled images, the first ones, were drawn at random like
            the pool (None: all). Thresholds, calibration and F1 are measured on them.
        """
        learner = new_learner(settings, seed, clock)
        read = LabelledSet.read(labelled, learner, n_calibration, clock)
        session = cls(read, None, learner, strategy, seed, clock=clock, on_event=on_event)
        if pool is not None:
            session.open_pool(pool)
        return session

    def open_pool(self, dataset: Any) -> None:
        """Select from the images of `dataset`; none is read yet."""
        self.pool = UnlabelledPool(
            dataset,
            self.labelled.size,
            threads=self.learner.settings.threads,
            clock=self.clock,
            encode=self.learner.encode,
        )

    @property
    def n_candidates(self) -> int:
        """So many images of the pool were read and have no label."""
        return len(self._pool().candidates)

    @property
    def is_fitted(self) -> bool:
        """Whether the learner has been trained on all that is labelled."""
        return self.n_fitted == len(self.labelled)

    def emit(self, name: str, **facts: Any) -> None:
        """Tell the listener."""
        self.on_event(Event(name, facts))

    def fit(self, epochs: int, deadline: float | None = None, *, skip_if_late: bool = True) -> None:
        """Train on what is labelled, for at most `epochs`.

        Ends before `deadline`, and early enough for what follows a training without a deadline:
        inference on what the members hold out, at most on all that is labelled. Where there is no
        time for that alone, nothing is done; or, without `skip_if_late`, no more than that.
        """
        started, n = self.clock(), len(self.labelled)
        if deadline is not None and skip_if_late:
            deadline -= n * self.cost_model.costs.look * ESTIMATE_ERROR
            if deadline <= started:
                return
        self.learner.fit(
            self.labelled.inputs,
            self.labelled.labels,
            epochs=epochs,
            deadline=deadline,
            n_calibration=self.labelled.n_calibration,
        )
        seconds = self.clock() - started
        if self.learner.epochs_:  # else the deadline came before the first batch
            self.n_fitted = n
        self.cost_model.observe("fit", seconds, self.learner.epochs_ * n)
        self.emit(
            "fit",
            epochs=float(self.learner.epochs_),
            planned=epochs,
            images=n,
            seconds=seconds,
            f1_out_of_fold=[round(v, 3) for v in self.learner.validation_f1_.tolist()],
        )

    def fit_in_time(self, epochs: int, deadline: float) -> None:
        """Train for as many of `epochs` as there should be time for until `deadline`.

        Where most of the time is left over, because the speed was underestimated, train again.
        """
        done = 0
        while True:
            costs, left = self.cost_model.costs, deadline - self.clock()
            affordable = affordable_epochs(costs, len(self.labelled), left, epochs)
            if affordable <= done:
                return
            self.fit(affordable, deadline)
            done = affordable

    def read_pool(self, ends: float = float("inf")) -> None:
        """Read the pool's images; as many as a share of the time until `ends` allows."""
        pool, started = self._pool(), self.clock()
        share, seconds_each = self.learner.reading_share, self.labelled.seconds_per_image
        seconds_each = pool.read(ends, share, seconds_each, self.seed)
        self.emit(
            "pool",
            images=len(pool),
            read=pool.n_read,
            seconds_each=seconds_each,
            seconds=self.clock() - started,
        )

    def select(
        self,
        k: int,
        *,
        look: int | None = None,
        deadline: float | None = None,
        k_without_strategy: int | None = None,
    ) -> Selection:
        """The `k` images that are most worth labelling.

        look : so many of the pool's images to look at first, drawn at random; 0 keeps the last
            look. None: all, or as many as there is time for.
        deadline : where it passes before the strategy has chosen, the most uncertain images of the
            last look stand in, or random ones, `k_without_strategy` of them.

        Where `k` is more than was looked at, random images fill it up. Raises ValueError where it
        is more than is left in the pool.
        """
        pool = self._pool()
        if not 0 <= k <= int(pool.available.sum()):
            raise ValueError(f"Cannot select {k} of {int(pool.available.sum())} images.")
        self.round += 1
        rng = stream(self.seed, f"selection/{self.round}")
        if not self.strategy.looks:
            rows, views, by = self._select_without_looking(k, rng)
        else:
            if not pool.n_read:
                self.read_pool(float("inf") if deadline is None else deadline)
            try:
                self._look(look, k, rng, deadline)
                rows, views, by = self._select_by_strategy(k, rng, deadline)
            except (DeadlineReachedError, LearnerDivergedError) as reason:
                diverged = isinstance(reason, LearnerDivergedError)
                k_without_strategy = k if k_without_strategy is None else k_without_strategy
                self.emit(
                    "learner_diverged" if diverged else "out_of_time",
                    round=self.round,
                    reason=reason,
                    selecting=max(k, k_without_strategy),
                )
                rows, views, by = self._select_by_last_look(k_without_strategy, rng)
        if len(rows) < k:
            rows = torch.cat([rows, self._not_looked_at(rows, k - len(rows))])
        if len(rows) == int(pool.available.sum()):
            by = "all"
        pool.load(rows)
        idx = pool.indices[rows]
        predicted = self._last_look.probabilities_of(rows) if self._last_look else []
        found = {i: p for i, p in zip(idx.tolist(), predicted, strict=False) if p is not None}
        return Selection(idx, found, by, views, self.round, rows)

    def add(self, selection: Selection, labels: Sequence[Any]) -> None:
        """Add labels, one (C,) of 0/1 per image of `selection`, to what is labelled.

        An image whose label is None stays in the pool and can be selected again.
        """
        if len(labels) != len(selection.rows):
            raise ValueError(
                f"{len(selection.rows)} images were selected, and {len(labels)} labels came."
            )
        if not bool(self._pool().available[selection.rows].all()):
            raise ValueError("Images of this selection have been labelled already.")
        given = [n for n, label in enumerate(labels) if label is not None]
        if not given:
            return
        tensors = [as_label(labels[n], f"image {int(selection.idx[n])}") for n in given]
        classes = self.labelled.labels.shape[1]
        for label in tensors:
            if len(label) != classes:
                raise ValueError(f"A label of {len(label)} classes came; expected {classes}.")
        self.labelled.add(self._pool().take(selection.rows[given]), torch.stack(tensors))

    def _pool(self) -> UnlabelledPool:
        if self.pool is None:
            raise RuntimeError("There is no pool to select from; call `open_pool` first.")
        return self.pool

    def _look(self, n: int | None, k: int, rng: torch.Generator, deadline: float | None) -> None:
        """Predict `n` of the pool's images, among which the strategy is to choose `k`."""
        pool = self._pool()
        rows = pool.candidates
        if n is None:
            left = float("inf") if deadline is None else deadline - self.clock()
            n = affordable_look(self.cost_model.costs, len(rows), k, left)
        if n == 0:
            return
        if not self.n_fitted:
            raise DeadlineReachedError("no time was left to train the learner")
        if n < len(rows):
            rows = rows[torch.randperm(len(rows), generator=rng)[:n].sort().values]
        started = self.clock()
        inputs = pool.inputs if len(rows) == pool.n_read else pool.inputs[rows]
        look = Look(rows, self.learner.infer(inputs, deadline))
        if not look.is_finite or not bool(self.learner.labelled_probabilities_.isfinite().all()):
            raise LearnerDivergedError("the learner answers with NaN or infinity")
        self._last_look = look
        seconds = self.clock() - started
        self.cost_model.observe("look", seconds, len(rows))
        self.emit("look", images=len(rows), seconds=seconds)

    def _select_without_looking(self, k: int, rng: torch.Generator) -> _Rows:
        rows = self._pool().available.nonzero().flatten()
        return rows[self.strategy.select(PoolView(len(rows), {}), k, rng)], frozenset(), "strategy"

    def _select_by_strategy(self, k: int, rng: torch.Generator, deadline: float | None) -> _Rows:
        """Rows that the strategy chooses; or all that were looked at, where they are not more."""
        look, available, started = self._last_look, self._pool().available, self.clock()
        if look is None or (deadline is not None and started >= deadline):
            raise DeadlineReachedError("no time was left to look at the pool and choose")
        rows = look.rows[available[look.rows]]
        if len(rows) <= k:
            return rows, frozenset(), "random"

        def infer_labelled() -> Predictions:
            before = self.clock()
            predictions = self.learner.infer(self.labelled.inputs, deadline)
            n = len(self.labelled)
            self.emit("look_at_labelled", images=n, seconds=self.clock() - before)
            return predictions

        view = look.view(available, self.labelled, self.learner, infer_labelled)
        picks = self.strategy.select(view, k, rng)
        views = frozenset(AXES.keys() & vars(view).keys())
        seconds = self.clock() - started
        self.cost_model.observe("choose", seconds, k)
        self.emit("choice", strategy=self.strategy.spec, k=k, seconds=seconds, views=sorted(views))
        return rows[picks], views, "strategy"

    def _select_by_last_look(self, k: int, rng: torch.Generator) -> _Rows:
        """The k most uncertain images of the last look; random ones where there was none."""
        pool = self._pool()
        if self._last_look is not None:
            rows = self._last_look.most_uncertain(k, pool.available)
            return rows, frozenset({"probabilities"}), "last look"
        rows = pool.candidates
        return rows[torch.randperm(len(rows), generator=rng)[:k]], frozenset(), "random"

    def _not_looked_at(self, rows: Tensor, n: int) -> Tensor:
        """Random `n` of the pool without `rows`; those that were not read come last."""
        pool = self._pool()
        available = pool.available.clone()
        available[rows] = False
        others = available.nonzero().flatten()
        read, unread = others[others < pool.n_read], others[others >= pool.n_read]
        order = torch.randperm(len(read), generator=stream(self.seed, "rest"))
        return torch.cat([read[order], unread])[:n]  # unread rows lie in random order already
