"""The grid: pairs read strictly, trials named by everything that makes them what they are."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evaluator.data.dataset import Splits, open_splits
from evaluator.experiment.estimate import (
    BUYING,
    START_UP,
    TrainingCost,
    estimate_seconds,
    pipelines_of,
)
from evaluator.experiment.evaluation import Evaluation
from evaluator.experiment.plan import (
    PUBLIC_PAIRS,
    Plan,
    parse_pairs,
    scaled_pairs,
)
from evaluator.experiment.submissions import name_submissions, submission_digest
from evaluator.records.trial import REFERENCES, Pair, Trial
from evaluator.training.pipelines import PIPELINES
from evaluator.training.scoring import Scorer
from evaluator.worker.runner import SubprocessRunner
from shared.errors import ConfigurationError


@pytest.fixture
def plan(squares: Path, tmp_path: Path) -> Plan:
    run_py = tmp_path / "run.py"
    run_py.write_text("# a submission")
    return Plan(
        open_splits(squares, progress=False),
        name_submissions([run_py]),
        strategies=("random", "entropy"),
        pairs=(Pair(5, 1), Pair(9, 2)),
        seeds=3,
        training_seeds=2,
        pipelines=(PIPELINES["quick"],),
    )


PAIRS = [
    (["621:17"], (Pair(621, 17.0),)),
    (["621:0.5", "1889:51"], (Pair(621, 0.5), Pair(1889, 51.0))),
    (["public"], PUBLIC_PAIRS),
    (["621:17", "public"], PUBLIC_PAIRS),
]


@pytest.mark.parametrize(("words", "pairs"), PAIRS)
def test_parse_pairs(words: list[str], pairs: tuple[Pair, ...]) -> None:
    assert parse_pairs(words) == pairs


WRONG = ["621", "621:", ":17", "a:b", "0:17", "-5:17", "621:0", "621:nan", "random:0", "random:x"]


@pytest.mark.parametrize("word", WRONG)
def test_parse_pairs_refuses(word: str) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        parse_pairs([word])


def test_parse_pairs_random() -> None:
    pairs = parse_pairs(["random:50"])
    assert all(500 <= pair.budget <= 2000 and 15 <= pair.minutes <= 60 for pair in pairs)
    assert len(set(pairs)) > 40
    assert pairs == parse_pairs(["random:50:0"]) != parse_pairs(["random:50:1"])


def test_trainings_seeds_are_shared_by_strategies(plan: Plan) -> None:
    seeds = {trial: [seed for _, seed in plan.trainings(trial)] for trial in plan.trials()}
    by_seed = {trial.seed: trained for trial, trained in seeds.items()}
    assert all(trained == by_seed[trial.seed] for trial, trained in seeds.items())
    assert by_seed == {0: [0, 1000], 1: [1, 1001], 2: [2, 1002]}


def test_purchases_first_seed(plan: Plan) -> None:
    parts = [replace(plan, seeds=2), replace(plan, seeds=1, first_seed=2)]
    halves = [trial for part in parts for trial in part.purchases()]
    assert set(halves) == set(replace(plan, seeds=3).purchases())
    assert len(set(halves)) == len(halves)


def test_trainings_with_more_seeds_keep_earlier_ones(plan: Plan) -> None:
    def done(plan: Plan) -> set[tuple[str, str, int]]:
        return {
            (trial.identity, pipeline.name, seed)
            for trial in plan.trials()
            for pipeline, seed in plan.trainings(trial)
        }

    assert done(plan) < done(replace(plan, training_seeds=3))
    assert done(plan) < done(replace(plan, seeds=4))


def test_trial_identity_is_unique(plan: Plan) -> None:
    trials = plan.trials()
    assert len(trials) == 3 + 3 * 2 * 2 + 1  # none, purchases, all once
    assert len({trial.identity for trial in trials}) == len(trials)


CHANGES: dict[str, Callable[[Trial], Trial]] = {
    "data": lambda trial: replace(trial, fingerprint="other"),
    "code": lambda trial: replace(trial, code="other"),
    "seed": lambda trial: replace(trial, seed=trial.seed + 1),
    "minutes": lambda trial: replace(trial, pair=Pair(5, 1.5)),
    "parameters": lambda trial: replace(trial, strategy="random:a=1"),
    "moments": lambda trial: replace(trial, pair=Pair(5, 1.0000001)),
    "punctuation": lambda trial: replace(trial, strategy="random?"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_trial_identity_changes_with(change: str, plan: Plan) -> None:
    trial = next(plan.purchases())
    assert CHANGES[change](trial).identity != trial.identity


def test_submission_digest_covers_code_and_configuration(tmp_path: Path) -> None:
    run_py = tmp_path / "run.py"
    run_py.write_text("x = 1")
    (tmp_path / "strategies").mkdir()
    known = {submission_digest(run_py)}
    for path in ("run.py", "submission.toml", "strategies/mine.py", "strategies/data/read.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("changed = 1")
        known.add(submission_digest(run_py))
    assert len(known) == 5
    for path in ("tests/test_it.py", "build/run.py", "logs/settings.toml", "notes.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("changed = 1")
        assert submission_digest(run_py) in known


def test_submission_digest_of_any_file_name(tmp_path: Path) -> None:
    known = {submission_digest(tmp_path / "run.py")}
    for name in (b"\xff.py", b"\xfe.py"):
        (tmp_path / os.fsdecode(name)).touch()
        known.add(submission_digest(tmp_path / "run.py"))
    assert len(known) == 3


def test_reference_trials_seeds_and_pairs(plan: Plan) -> None:
    rows = {name: [*plan.reference_trials(name)] for name in REFERENCES}
    assert {name: [t.seed for t in own] for name, own in rows.items()} == {
        "none": [0, 1, 2],
        "all": [0],
    }
    assert {(t.pair, t.code) for own in rows.values() for t in own} == {(None, "")}
    assert not list(replace(plan, references=("none",)).reference_trials("all"))


def test_estimate_seconds_counts_images_epochs_and_start(plan: Plan, tmp_path: Path) -> None:
    quick = PIPELINES["quick"]
    evaluation = Evaluation(plan, tmp_path, Scorer(plan.splits, weights="none"), SubprocessRunner())
    (trial,) = plan.reference_trials("all")
    free = [(one, None) for one in plan.reference_trials("none")]
    images = 64 * quick.epochs_for(2) + len(plan.splits.validation) / 3  # 24 + 40 in two batches
    steps = [*free, (next(plan.purchases()), None), (trial, quick)]
    assert pipelines_of(steps) == [quick]
    assert estimate_seconds(evaluation, steps, {"quick": TrainingCost(2, 0.1)}) == {
        "quick": pytest.approx(2 + 0.1 * images),
        BUYING: 60 + START_UP,
    }


def test_scaled_pairs() -> None:
    assert scaled_pairs([Pair(621, 17), Pair(2, 0.5)], 0.2) == (Pair(124, 3.4), Pair(1, 0.1))
    assert scaled_pairs(PUBLIC_PAIRS, 0.001) == (Pair(1, 0.1), Pair(2, 0.1))  # each one once


def test_trials_of_round_one(plan: Plan, squares: Splits) -> None:
    assert {t.strategy for t in replace(plan, pipelines=()).trials()} == {"random", "entropy"}
