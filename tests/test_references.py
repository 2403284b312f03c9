"""The oracle knows labels and networks, keeps to its budget, and buys what can be learned."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluator.datasets.dataset import Splits, ZEWDPCBaseDataset, open_splits
from evaluator.grid.estimate import BUYING, TrainingCost, estimate_seconds, pipelines_of
from evaluator.grid.evaluation import Evaluation
from evaluator.grid.oracle import KNOWING, NETWORK, oracle, oracle_code, oracle_trainings
from evaluator.grid.plan import Plan
from evaluator.grid.purchases import reference_purchase
from evaluator.records.trial import Pair, Trial
from evaluator.submission.watch import Limits
from evaluator.training.pipelines import Pipeline
from evaluator.training.scoring import Scorer


@pytest.fixture
def splits(squares: Path) -> Splits:
    return open_splits(squares, progress=False)


class Learned(Scorer):
    """Networks that are right on what they learned and, elsewhere, by a margin laid down here."""

    def __init__(self, splits: Splits, margins: Sequence[float], hopeless: Sequence[int]) -> None:
        super().__init__(splits, weights="none")
        self.margins, self.hopeless = torch.tensor(margins), list(hopeless)
        self.trained: list[tuple[Pipeline, int]] = []

    def probabilities(
        self,
        part: ZEWDPCBaseDataset,
        purchased: Sequence[int],
        pipeline: Pipeline,
        training_seed: int,
        progress: object = None,
    ) -> torch.Tensor:
        assert part is self.splits.unlabelled
        self.trained.append((pipeline, len(self.splits.training) + len(purchased)))
        right = torch.where(torch.arange(len(part)) % 2 == 0, self.margins, 0.5)
        if pipeline == KNOWING:
            right = torch.full((len(part),), 0.99)
        right[self.hopeless] = 0.01
        right[list(purchased)] = 1.0
        labels = torch.from_numpy(np.array(part.labels))
        return torch.where(labels == 1, right[:, None], 1 - right[:, None])


def test_it_buys_what_is_not_known_yet_and_can_be_learned(splits: Splits) -> None:
    margins = [0.3 + 0.01 * row for row in range(40)]
    scorer = Learned(splits, margins, hopeless=[0, 7])
    bought = oracle(scorer, 8, seed=0)
    assert bought == [2, 4, 6, 8, 10, 12, 14, 16]  # 0 errs most, under every network
    assert scorer.trained == list(oracle_trainings(24, 40, [(8, 0)]))


def test_equal_budgets_are_bought_once_and_the_halves_learned_once(splits: Splits) -> None:
    scorer = Learned(splits, [0.4] * 40, hopeless=[])
    assert oracle(scorer, 8, seed=0) == oracle(scorer, 8, seed=0)
    assert len(scorer.trained) == 2 + 4
    oracle(scorer, 8, seed=1)
    assert len(scorer.trained) == 2 + 4 + 4


@pytest.mark.parametrize(("budget", "n"), [(0, 0), (3, 3), (40, 40), (99, 40)])
def test_it_buys_as_many_as_it_may_and_none_twice(budget: int, n: int, splits: Splits) -> None:
    bought = oracle(Learned(splits, [0.4] * 40, hopeless=[1]), budget, seed=0)
    assert len(bought) == len(set(bought)) == n


def test_it_repeats_itself_and_another_seed_is_another_purchase(splits: Splits) -> None:
    bought = []
    for seed in (0, 0, 1):
        torch.manual_seed(random.randrange(10**9))
        bought.append(oracle(Scorer(splits, weights="none", device="cpu"), 8, seed))
    assert bought[0] == bought[1] != bought[2]


def test_it_never_looks_at_what_is_held_out(splits: Splits) -> None:
    blind = replace(splits, validation=None)
    assert oracle(Scorer(blind, weights="none", device="cpu"), 4, seed=0) == oracle(
        Scorer(splits, weights="none", device="cpu"), 4, seed=0
    )


def test_a_purchase_by_another_rule_is_another_trial(splits: Splits, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("# a submission")
    plan = Plan(splits, tmp_path / "run.py", ("first",), (Pair(5, 1),), 1, 1, (NETWORK,))
    (trial,) = plan.reference_trials("oracle")
    assert trial.code == oracle_code() != plan.code
    assert trial.identity != replace(trial, code="").identity  # as an older judge called it
    assert not any(t.code for name in ("none", "all") for t in plan.reference_trials(name))


def test_its_trainings_are_in_the_estimate(splits: Splits, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("# a submission")
    pairs = (Pair(8, 1), Pair(8, 2))  # one purchase
    plan = Plan(splits, tmp_path / "run.py", ("first",), pairs, 1, 1, (NETWORK,))
    evaluation = Evaluation(plan, tmp_path / "out", Scorer(splits, weights="none"), Limits())
    steps = [(trial, None) for trial in plan.reference_trials("oracle")]
    assert pipelines_of(steps) == [NETWORK]
    trainings = [*oracle_trainings(24, 40, [(8, 0), (8, 0)])]
    assert trainings == [(KNOWING, 44)] * 2 + [(NETWORK, 24 + 2 * r) for r in range(4)]
    images = sum(n * p.epochs_for(-(-n // p.batch_size)) + 40 / 3 for p, n in trainings)
    estimate = estimate_seconds(evaluation, steps, {"quick": TrainingCost(2, 0.1)})
    assert estimate == {BUYING: pytest.approx(2 * len(trainings) + 0.1 * images)}
    free = [(trial, None) for trial in plan.reference_trials("none")]
    assert estimate_seconds(evaluation, free, {}) == {BUYING: 0.0}


def test_a_training_that_fails_is_a_failed_purchase(splits: Splits) -> None:
    class Diverging(Scorer):
        def probabilities(self, *rest: object) -> torch.Tensor:
            raise FloatingPointError("the loss became nan")

    trial = Trial("squares", "f", "oracle", Pair(5, 1), 0)
    record = reference_purchase(trial, Diverging(splits, weights="none"))
    assert (record.status, record.reason, record.purchased) == (
        "crashed",
        "the loss became nan",
        [],
    )
