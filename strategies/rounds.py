"""Look, choose, buy, learn, and again, for as long as the clock and the budget allow."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.random_streams import stream
from models.learner import Learner, Sight
from models.training import DeadlineReached
from strategies.planner import (
    ESTIMATE_ERROR,
    PlannerSettings,
    Situation,
    Step,
    final_epochs,
    fit_deadline,
    plan_purchase,
)
from strategies.pool import AXES, PoolView, Source
from strategies.purse import Purse
from strategies.registry import ConfiguredStrategy
from strategies.scores.uncertainty import mean_binary_entropy
from strategies.stock import CostLedger, Labelled, Pool

Clock = Callable[[], float]
Progress = Callable[[float], Any]


class Blind(Exception):  # noqa: N818  (it is news, not an error)
    """What the learner sees is nothing that a choice could go by."""


def report(event: str, **values: Any) -> None:
    """One line of the log: `buyer | event | name=value name=value`."""
    shown = (
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
    )
    print(f"buyer | {event} | {' '.join(shown)}", flush=True)


class Rounds:
    """Spends a purse on a pool before `safe_end` (seconds on `clock`), round by round.

    Parameters
    ----------
    strategy, learner, settings : who chooses, who looks, and what the planner may do.
    seed : of the trial; choices draw from the streams `selection/<round>`.
    ledger : costs as measured in pre-training; kept up to date here.

    Found
    -----
    looked_at : the views of the pool that the strategy's last choice went by.
    chosen : how many images the strategy itself has chosen.
    """

    def __init__(
        self,
        strategy: ConfiguredStrategy,
        learner: Learner,
        settings: PlannerSettings,
        seed: int,
        ledger: CostLedger,
        *,
        clock: Clock = time.monotonic,
        progress: Progress = lambda _: None,
    ) -> None:
        self._strategy = strategy
        self._learner = learner
        self._settings = settings
        self._seed = seed
        self._ledger = ledger
        self._clock = clock
        self._progress = progress
        self.looked_at: set[str] = set()
        self.chosen = 0
        self._sight: tuple[Tensor, Sight] | None = None  # rows of the pool, and what they look like

    def spend(self, purse: Purse, pool: Pool, labelled: Labelled, safe_end: float) -> None:
        """Buy until the budget is spent; after `safe_end`, without thinking."""
        budget, number = purse.left, 0
        while purse.left:
            number += 1
            started = self._clock()
            think_until = safe_end - self._ledger.costs.buy * purse.left * ESTIMATE_ERROR
            step = self._next_step(purse, pool, labelled, safe_end - started, number)
            picks = self._think(step, pool, labelled, think_until, purse.left, number)
            positives = self._buy(
                picks, min(purse.left, max(step.buy, len(picks))), purse, pool, labelled
            )
            self._note(list(purse.bought)[-len(positives) :], number, purse, pool)
            report(
                "bought",
                round=number,
                n=int(positives.shape[0]),
                with_a_positive=int((positives.sum(1) > 0).sum()),
                positives_per_class=positives.sum(0).int().tolist(),
                seconds=self._clock() - started,
                labels_left=purse.left,
            )
            self._progress(1 - purse.left / budget)

    def finish(self, labelled: Labelled, safe_end: float) -> None:
        """Train on everything bought, for the predictions, if there is time before `safe_end`.

        The reserve after it is not for this: a late fit gains little, a missed deadline loses all.
        """
        if not self._settings.final_fit or labelled.fitted == len(labelled):
            return
        left = safe_end - self._clock()
        epochs = final_epochs(
            self._ledger.costs, len(labelled), left, self._settings, labelled.fitted > 0
        )
        report("final fit", epochs=epochs, images=len(labelled), seconds_left=left)
        if epochs:
            self.fit(epochs, labelled, safe_end)

    def _next_step(
        self, purse: Purse, pool: Pool, labelled: Labelled, seconds: float, number: int
    ) -> Step:
        asked = self._strategy.rounds
        settings = self._settings
        now = Situation(
            labelled=len(labelled),
            pool=int(pool.open.sum()),
            budget=purse.left,
            rounds=None if asked == "auto" else int(asked),
            done=number - 1,
            spent=len(purse.bought),
        )
        fitted = labelled.fitted == len(labelled)
        plan = plan_purchase(
            self._strategy.plan, self._ledger.costs, now, seconds, settings, fitted
        )
        costs = self._ledger.costs
        report(
            "plan",
            round=number,
            buys=[step.buy for step in plan.steps],
            epochs=[step.epochs for step in plan.steps],
            looks=[step.look for step in plan.steps],
            seconds_planned=plan.seconds,
            seconds_safe=seconds,
            fit=costs.fit,
            look=costs.look,
            choose=costs.choose,
            buy=costs.buy,
        )
        return plan.steps[0]

    def _think(
        self, step: Step, pool: Pool, labelled: Labelled, until: float, left: int, number: int
    ) -> Tensor:
        """Rows of the pool to buy now; as many as `left` where the time for thinking is over."""
        costs = self._ledger.costs
        rng = stream(self._seed, f"selection/{number}")
        try:
            if step.epochs:
                least = (step.look * costs.look + left * costs.choose) * ESTIMATE_ERROR
                estimate = step.epochs * len(labelled) * costs.fit
                now = self._clock()
                self.fit(step.epochs, labelled, fit_deadline(estimate, now, until - least))
            if step.look:
                self._look(step.look, pool, labelled, rng, until)
            return self._choose(min(step.buy, left), pool, labelled, rng, until)
        except (DeadlineReached, Blind) as news:
            event = "blind" if isinstance(news, Blind) else "out of time"
            report(event, round=number, reason=news, buying=left)
            return self._by_last_look(left, pool, rng)

    def fit(self, epochs: int, labelled: Labelled, deadline: float | None) -> None:
        """Train the learner on what is labelled, note what it took, and say so.

        Training ends early enough for what follows it without a deadline: a look at what the
        members held out, at most a look at all that is labelled.
        """
        started = self._clock()
        if deadline is not None:
            deadline -= len(labelled) * self._ledger.costs.look * ESTIMATE_ERROR
            if deadline <= started:
                return
        self._learner.fit(
            labelled.images,
            labelled.labels,
            epochs=epochs,
            deadline=deadline,
            reference=labelled.reference,
        )
        seconds = self._clock() - started
        if self._learner.epochs_:  # else the deadline came before the first batch
            labelled.fitted = len(labelled)
        self._ledger.saw("fit", seconds, self._learner.epochs_ * len(labelled))
        report(
            "fit",
            epochs=float(self._learner.epochs_),
            planned=epochs,
            images=len(labelled),
            seconds=seconds,
            f1_out_of_fold=[round(v, 3) for v in self._learner.validation_f1_.tolist()],
        )

    def _look(
        self, n: int, pool: Pool, labelled: Labelled, rng: torch.Generator, deadline: float
    ) -> None:
        if not labelled.fitted:
            raise DeadlineReached("there was no time to train the eyes it would look with")
        rows = pool.open.nonzero().flatten()
        if n < len(rows):
            rows = rows[torch.randperm(len(rows), generator=rng)[:n].sort().values]
        started = self._clock()
        images = pool.images if len(rows) == len(pool.images) else pool.images[rows]
        sight = self._learner.look(images, deadline)
        seen = (sight.probabilities, sight.embeddings, sight.committee)
        for values in (*seen, self._learner.labelled_probabilities_):
            if not bool(torch.isfinite(values).all()):
                raise Blind("the learner has diverged: it answers with NaN or infinity")
        self._sight = rows, sight
        self._ledger.saw("look", self._clock() - started, len(rows))

    def _choose(
        self, k: int, pool: Pool, labelled: Labelled, rng: torch.Generator, deadline: float
    ) -> Tensor:
        if self._sight is None or self._clock() >= deadline:
            raise DeadlineReached("there was no time to look at the pool and choose")
        rows, sight = self._sight
        still = pool.open[rows]
        if int(still.sum()) <= k:
            return rows[still]
        started = self._clock()
        view = _view(sight, still, labelled, self._learner, deadline)
        picks = self._strategy.select(view, k, rng)
        self.looked_at = AXES.keys() & vars(view).keys()
        self.chosen += len(picks)
        self._ledger.saw("choose", self._clock() - started, k)
        return rows[still][picks]

    def _by_last_look(self, k: int, pool: Pool, rng: torch.Generator) -> Tensor:
        """The k most uncertain images of the last sound look; at random where there was none."""
        if self._sight is None:
            rows = pool.open.nonzero().flatten()
            return rows[torch.randperm(len(rows), generator=rng)[:k]]
        self.looked_at = {"probabilities"}
        rows, sight = self._sight
        still = pool.open[rows]
        entropy = mean_binary_entropy(sight.probabilities[still])
        return rows[still][entropy.argsort(descending=True, stable=True)[:k]]

    def _buy(
        self, picks: Tensor, count: int, purse: Purse, pool: Pool, labelled: Labelled
    ) -> Tensor:
        """Buy `picks`, and unseen images for what they fall short of `count`; their labels."""
        started = self._clock()
        picks = picks[:count]
        answers = [purse.buy(idx) for idx in pool.indices[picks].tolist()]
        pool.open[picks] = False
        images = [pool.images[picks]]
        short = count - len(picks)
        rest = pool.open.nonzero().flatten() if short else picks[:0]
        if len(rest):  # images that the last look left out
            rest = rest[torch.randperm(len(rest), generator=stream(self._seed, "rest"))[:short]]
            answers += [purse.buy(idx) for idx in pool.indices[rest].tolist()]
            pool.open[rest] = False
            images.append(pool.images[rest])
        for _ in range(short - len(rest)):
            idx, image = next(pool.unseen)
            answers.append(purse.buy(idx))
            images.append(image[None])
        self._ledger.saw("buy", self._clock() - started, count)
        labels = torch.stack(answers)
        labelled.add(torch.cat(images), labels)
        return labels

    def _note(self, bought: list[int], number: int, purse: Purse, pool: Pool) -> None:
        """Keep what the last look predicted of the images just bought."""
        predicted = {}
        if self._sight is not None:
            rows, sight = self._sight
            wanted = torch.isin(pool.indices[rows], torch.tensor(bought))
            seen = pool.indices[rows[wanted]].tolist()
            predicted = dict(zip(seen, sight.probabilities[wanted], strict=True))
        for idx in bought:
            purse.note(idx, number, predicted.get(idx))


def _view(
    sight: Sight, still: Tensor, labelled: Labelled, learner: Learner, deadline: float
) -> PoolView:
    """The images of `sight` that can still be bought, with every view wired to its source."""
    known: list[Sight] = []

    def labelled_sight() -> Sight:
        if not known:
            known.append(learner.look(labelled.images, deadline))
        return known[0]

    def labelled_probabilities() -> Tensor:  # (L, C)
        honest = learner.labelled_probabilities_  # rows bought since the fit are unseen anyway
        if len(honest) == len(labelled):
            return honest
        return torch.cat([honest, labelled_sight().probabilities[len(honest) :]])

    sources: dict[str, Source] = {
        "probabilities": lambda: sight.probabilities[still],
        "embeddings": lambda: sight.embeddings[still],
        "committee": lambda: sight.committee[:, still],
        "labelled_embeddings": lambda: labelled_sight().embeddings,
        "labelled_labels": lambda: labelled.labels,
        "labelled_probabilities": labelled_probabilities,
        "validation_f1": lambda: learner.validation_f1_,
        "thresholds": lambda: learner.thresholds_,
    }
    return PoolView(int(still.sum()), sources)
