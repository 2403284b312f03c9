"""The table says what the journals say, and a failed pair fails its strategy."""

import math
from pathlib import Path

import pytest

from evaluator.dataset import open_splits
from evaluator.evaluation import Evaluation
from evaluator.leaderboard import Row, leaderboard, render
from evaluator.pipelines import PIPELINES
from evaluator.plan import Plan
from evaluator.scoring import Scorer
from evaluator.trial import Pair
from evaluator.watch import Limits

QUICK = PIPELINES["quick"]
SCORES = {"none": 0.2, "random": 0.4, "entropy": 0.5, "all": 0.8}


@pytest.fixture
def evaluation(squares: Path, tmp_path: Path) -> Evaluation:
    run_py = tmp_path / "run.py"
    run_py.write_text("# a submission")
    splits = open_splits(squares, progress=False)
    plan = Plan(
        splits,
        run_py,
        strategies=("random", "entropy"),
        pairs=(Pair(5, 1), Pair(9, 2)),
        seeds=2,
        training_seeds=1,
        pipelines=(QUICK,),
    )
    return Evaluation(plan, tmp_path / "out", Scorer(splits, weights="none"), Limits())


def pretend(evaluation: Evaluation, failed: str = "") -> None:
    """Write journals as if everything had been run."""
    for trial in evaluation.plan.trials():
        bad = trial.strategy == failed and trial.seed == 1 and trial.pair == Pair(9, 2)
        status = "timeout" if bad else "ok"
        evaluation.purchases.append({"trial": trial.identity, "status": status, "purchased": []})
        if bad:
            continue
        wider = 0.1 if trial.pair == Pair(9, 2) else 0.0
        for _, seed in evaluation.plan.trainings(trial):
            evaluation.scores.append(
                {
                    "trial": trial.identity,
                    "pipeline": "quick",
                    "training_seed": seed,
                    "configuration": evaluation.scorer.configuration(QUICK),
                    "macro_f1": SCORES[trial.strategy] + wider + 0.02 * seed,
                }
            )


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.strategy: row for row in rows}


def test_means_spread_and_gap(evaluation: Evaluation) -> None:
    pretend(evaluation)
    rows = leaderboard(evaluation)
    assert [row.strategy for row in rows] == ["all", "entropy", "random", "none"]
    entropy = by_name(rows)["entropy"]
    assert entropy.mean == pytest.approx(0.5 + 0.05 + 0.01)
    assert entropy.spread == pytest.approx(0.02 / math.sqrt(2))
    assert entropy.gap_closed == pytest.approx((0.56 - 0.21) / (0.80 - 0.21))
    assert entropy.n == 2
    assert by_name(rows)["all"].n == 1


def test_a_failed_pair_fails_the_strategy_and_the_others_are_shown(evaluation: Evaluation) -> None:
    pretend(evaluation, failed="entropy")
    rows = leaderboard(evaluation)
    assert rows[-1].strategy == "entropy"
    assert math.isnan(rows[-1].mean)
    text = render(rows, evaluation.plan.pairs)
    line = next(line for line in text.splitlines() if line.startswith("entropy"))
    assert "9:2 seed 1: timeout" in line
    assert "0.510" in line, "the pair that went well"
    assert rows[-1].as_json()["macro_f1"] is None


def test_an_unfinished_evaluation_has_a_table_too(evaluation: Evaluation) -> None:
    assert "entropy" in render(leaderboard(evaluation), evaluation.plan.pairs)


def test_scores_by_other_code_do_not_count(evaluation: Evaluation) -> None:
    pretend(evaluation)
    for record in evaluation.scores.records:
        record["configuration"] = "older"
    assert all(row.n == 0 for row in leaderboard(evaluation))
