"""Spends a budget of labels round by round: plan, fit, select, buy, and again, by the clock."""

from collections.abc import Callable
from typing import Any

import torch

from strategies.label_budget import LabelBudget
from strategies.planner import (
    ESTIMATE_ERROR,
    PlannerSettings,
    PlanningState,
    Step,
    final_epochs,
    fit_deadline,
    plan_purchase,
)
from strategies.session import Selection, Session

Notes = dict[int, dict[str, Any]]  # {idx: {"round": number, "probabilities": (C,) as a list}}


class AcquisitionLoop:
    """Buys with `session` until `budget` is spent, thinking no longer than until `safe_end`.

    safe_end : seconds on the session's clock; after it labels are bought without a choice.
    notes : for each label bought, in which round, and what was predicted of the image before.
    """

    def __init__(
        self, session: Session, budget: LabelBudget, settings: PlannerSettings, safe_end: float
    ) -> None:
        self.session = session
        self.budget = budget
        self.settings = settings
        self.safe_end = safe_end
        self.notes: Notes = {}

    def run(self, progress: Callable[[float], Any] = lambda _: None) -> None:
        """Spend the budget to the last label; `progress` hears the share that is spent."""
        total = self.budget.remaining
        while self.budget.remaining:
            self._run_round()
            progress(1 - self.budget.remaining / total)

    def fit_for_prediction(self) -> None:
        """Train on everything bought, if there is time before `safe_end`.

        The reserve after it is not for this: a late fit gains little, a missed deadline loses all.
        """
        session = self.session
        if not self.settings.final_fit or session.is_fitted:
            return
        left = self.safe_end - session.clock()
        costs, n = session.cost_model.costs, len(session.labelled)
        epochs = final_epochs(costs, n, left, self.settings, session.n_fitted > 0)
        session.emit("final_fit", epochs=epochs, images=n, seconds_left=left)
        if epochs:
            session.fit(epochs, self.safe_end)

    def _run_round(self) -> None:
        session, started = self.session, self.session.clock()
        remaining, costs = self.budget.remaining, session.cost_model.costs
        until = self.safe_end - costs.buy * remaining * ESTIMATE_ERROR
        step = self._next_step(started)
        if step.epochs:
            after = (step.look * costs.look + remaining * costs.choose) * ESTIMATE_ERROR
            planned = step.epochs * len(session.labelled) * costs.fit
            session.fit(step.epochs, fit_deadline(planned, session.clock(), until - after))
        batch = session.select(
            step.buy, look=step.look, deadline=until, k_without_strategy=remaining
        )
        self._buy(batch, started)

    def _next_step(self, now: float) -> Step:
        session, strategy = self.session, self.session.strategy
        if not strategy.looks:
            return Step(epochs=0, look=0, buy=self.budget.remaining)
        costs, seconds = session.cost_model.costs, self.safe_end - now
        state = PlanningState(
            labelled=len(session.labelled),
            pool=session.n_candidates,
            budget=self.budget.remaining,
            rounds=None if strategy.rounds == "auto" else int(strategy.rounds),
            done=session.round,
            spent=len(self.budget.labels),
            fitted=session.is_fitted,
        )
        plan = plan_purchase(strategy.plan, costs, state, seconds, self.settings)
        session.emit(
            "plan",
            round=session.round + 1,
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

    def _buy(self, batch: Selection, started: float) -> None:
        session, before = self.session, self.session.clock()
        labels = []
        for idx in batch.idx.tolist():
            labels.append(self.budget.purchase(idx))
            self.notes[idx] = {"round": batch.round}
            if (predicted := batch.probabilities.get(idx)) is not None:
                self.notes[idx]["probabilities"] = [round(p, 3) for p in predicted.tolist()]
        session.cost_model.observe("buy", session.clock() - before, len(labels))
        session.add(batch, labels)
        positives = torch.stack(labels)  # (k, C)
        session.emit(
            "bought",
            round=batch.round,
            n=len(labels),
            by=batch.by,
            with_a_positive=int((positives.sum(1) > 0).sum()),
            positives_per_class=positives.sum(0).int().tolist(),
            seconds=session.clock() - started,
            labels_left=self.budget.remaining,
        )
