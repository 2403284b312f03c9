"""What is bought and trained once is not paid for twice, and a failed training is reported."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from tqdm import tqdm

from evaluator.analysis.leaderboard import leaderboard
from evaluator.analysis.results import score_table
from evaluator.data.dataset import open_splits
from evaluator.experiment import estimate, scheduler
from evaluator.experiment.estimate import (
    BUYING,
    START_UP,
    TrainingCost,
    announce,
    estimate_seconds,
    measure_training,
)
from evaluator.experiment.evaluation import Evaluation
from evaluator.experiment.plan import Plan
from evaluator.experiment.run_trial import (
    Purchase,
    Workspace,
    purchase,
    reference_purchase,
)
from evaluator.experiment.scheduler import TrialExecutor, run
from evaluator.experiment.submissions import name_submissions
from evaluator.records.journal import Journal
from evaluator.records.trial import REFERENCES, Pair, PurchaseRecord, ScoreRecord, Trial, digest_of
from evaluator.report.acquisitions import read_notes
from evaluator.training.device import device_name
from evaluator.training.pipelines import PIPELINES, Pipeline
from evaluator.training.scoring import Scorer
from evaluator.training.trainer import ZEWDPCTrainer
from evaluator.worker.outcome import Outcome
from evaluator.worker.runner import SubprocessRunner, TrialInputs
from shared.errors import ConfigurationError
from tests.conftest import SIZES, write_split


class CountingScorer(Scorer):
    """Trains nothing; the score is a function of what was bought and of the seed."""

    trained: list[tuple[int, ...]]
    takes = 0.0  # seconds

    def score(
        self,
        trial: str,
        purchased: Sequence[int],
        pipeline: Pipeline,
        training_seed: int,
        progress: object = None,
    ) -> ScoreRecord:
        self.trained.append(tuple(purchased))
        time.sleep(self.takes)
        failed = 7 in purchased and len(purchased) < len(self.splits.unlabelled)
        return ScoreRecord(
            trial=trial,
            pipeline=pipeline.name,
            training_seed=training_seed,
            status="crashed" if failed else "ok",
            reason="the loss is not finite" if failed else "",
            macro_f1=None if failed else len(purchased) / 100,
            accuracy=None if failed else 0.5,
            hamming_loss=None if failed else 0.1,
            f1_per_class={},
            n_training=24,
            n_purchased=len(purchased),
            seconds=0.0,
            configuration=self.configuration(pipeline),
        )


@pytest.fixture
def evaluation(squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    run_py = tmp_path / "run.py"
    run_py.write_text("# a submission")
    splits = open_splits(squares, progress=False)
    scorer = CountingScorer(splits, weights="none")
    scorer.trained = []
    plan = Plan(
        splits,
        name_submissions([run_py]),
        strategies=("first", "last"),
        pairs=(Pair(5, 1), Pair(5, 2)),
        seeds=1,
        training_seeds=1,
        pipelines=(PIPELINES["quick"],),
        references=("none", "all"),
    )

    def buy_at_once(_: Workspace, trial: Trial) -> Purchase:
        if trial.strategy in REFERENCES:
            return Purchase(reference_purchase(trial, len(scorer.splits.unlabelled)))
        late = trial.strategy == "last"
        record = PurchaseRecord(
            trial=trial.identity,
            dataset=trial.dataset,
            strategy=trial.strategy,
            budget=5,
            minutes=1.0,
            seed=trial.seed,
            status="ok",
            reason="",
            purchased=[7, int(trial.pair.minutes)] if late and trial.pair else [0, 1],
            seconds={},
            own_macro_f1=None,
        )
        return Purchase(record)

    monkeypatch.setattr(scheduler, "purchase", buy_at_once)
    return Evaluation(plan, tmp_path / "out", scorer, SubprocessRunner())


class PoolExecutor(TrialExecutor):
    """Runs up to `n` tasks at once in threads; what runs when is in `started` and `most`."""

    def __init__(self, evaluation: Evaluation, n: int) -> None:
        self.n, self.started, self.running, self.most = n, list[str](), 0, 0
        self._pool = ThreadPoolExecutor(2 * n)
        self._lock = threading.Lock()
        self._workspace = workspace_of(evaluation)

    def slots(self) -> int:
        return self.n

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        self.started.append(f"{task.__name__} {args[0].title}")
        return self._pool.submit(self._count, task, args)

    def _count(self, task: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            return task(self._workspace, *args)
        finally:
            with self._lock:
                self.running -= 1


def essence(evaluation: Evaluation) -> list[str]:
    """What the journals hold, whatever the order."""
    records = [*evaluation.purchases.records, *evaluation.scores.records]
    return sorted(json.dumps({**record, "copied_from": ""}) for record in records)


@pytest.mark.parametrize("n", [1, 3])
def test_run_with_an_executor_gives_what_one_process_gives(n: int, evaluation: Evaluation) -> None:
    pool = PoolExecutor(evaluation, n)
    run(evaluation, pool)
    assert pool.most <= n
    alone = replace(evaluation, out=evaluation.out.with_name("alone"))
    run(alone)
    assert essence(evaluation) == essence(alone)
    assert not list(evaluation.missing())


def test_run_with_one_slot_trains_each_purchase_before_the_next(evaluation: Evaluation) -> None:
    pool = PoolExecutor(evaluation, 1)
    run(evaluation, pool)
    assert pool.started[:4] == [
        "buy_at_once none seed 0",
        "training none seed 0",
        "buy_at_once first 5:1 seed 0",
        "training first 5:1 seed 0",
    ]


def test_run_after_an_error_keeps_what_was_running_and_starts_nothing(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed, make = threading.Event(), scheduler.purchase

    def failing(workspace: Workspace, trial: Trial) -> Purchase:
        if trial.strategy == "none":
            failed.set()
            raise ConfigurationError("changed-while-running", "the first error")
        failed.wait(60)
        time.sleep(0.2)
        if trial.strategy == "last":
            raise RuntimeError("the second error")
        return make(workspace, trial)

    monkeypatch.setattr(scheduler, "purchase", failing)
    pool = PoolExecutor(evaluation, 3)
    with pytest.raises(ConfigurationError, match="the first error"):
        run(evaluation, pool)
    assert [record["strategy"] for record in evaluation.purchases.records] == ["first"]
    assert len(pool.started) == 3
    assert "the second error" in caplog.text


def test_run_ends_at_once_when_interrupted(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Purchase:
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduler, "purchase", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(evaluation)


def test_run_trains_equal_purchases_once(evaluation: Evaluation) -> None:
    run(evaluation)
    assert isinstance(evaluation.scorer, CountingScorer)
    assert evaluation.scorer.trained.count((0, 1)) == 1
    scores = [score for score in evaluation.scores.records if score["n_purchased"] == 2]
    first = [score for score in scores if score["trial"].startswith("first")]
    assert [score["macro_f1"] for score in first] == [0.02, 0.02]
    assert "copied_from" not in first[0]
    assert first[1]["copied_from"] == first[0]["trial"]


def test_missing_after_a_purchase_was_made_again(evaluation: Evaluation) -> None:
    """Its line was taken out of the journal, as the page says, and it came out otherwise."""
    trial = next(trial for trial in evaluation.plan.trials() if trial.strategy == "first")
    score = evaluation.scorer.score(trial.identity, [0, 1], PIPELINES["quick"], 0).as_json()
    evaluation.scores.append({**score, "bought": digest_of([1, 0])})
    run(evaluation)
    assert evaluation.score(trial, "quick", 0) == {**score, "bought": digest_of([0, 1])}
    purchase = evaluation.purchase(trial)
    assert purchase
    evaluation.purchases.append({**purchase, "purchased": [0, 2]})
    assert (trial, PIPELINES["quick"]) in list(evaluation.missing())
    assert evaluation.outdated() == 1


def test_missing_after_settings_were_changed_back(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(evaluation)
    done = len(evaluation.scores.records)
    own = CountingScorer.configuration
    with monkeypatch.context() as patched:
        patched.setattr(CountingScorer, "configuration", lambda *_: "other threads")
        run(evaluation)
    assert len(evaluation.scores.records) == 2 * done
    assert CountingScorer.configuration == own
    assert not list(evaluation.missing())


def test_score_of_equal_purchase_ignores_failures(evaluation: Evaluation) -> None:
    """Somebody takes its line out to have it tried again."""
    run(evaluation)
    first, second = (trial for trial in evaluation.plan.trials() if trial.strategy == "last")
    scored = evaluation.score(second, "quick", 0)
    assert scored
    assert scored["macro_f1"] is None
    assert evaluation.score_of_equal_purchase(first, PIPELINES["quick"], 0) is None


def test_run_failed_training_fails_its_strategy_only(
    evaluation: Evaluation,
) -> None:
    run(evaluation)
    rows = {row.strategy: row for row in leaderboard(score_table(evaluation.results()), "first")}
    assert rows["last"].failures == [
        "5:1 seed 0: training quick crashed",
        "5:2 seed 0: training quick crashed",
    ]
    assert rows["first"].mean == 0.02
    assert rows["all"].mean == 0.40
    failures = list(evaluation.failures())
    assert len(failures) == 2
    assert "the loss is not finite" in failures[0]
    assert not list(evaluation.missing())  # a failure is a result: nothing is tried for ever


def test_evaluation_refuses_a_record_without_a_field(evaluation: Evaluation) -> None:
    run(evaluation)
    path = evaluation.scores.path
    first, second, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first, second.replace('"macro_f1"', '"macro"'), *rest]))
    with pytest.raises(ConfigurationError, match=r"scores\.jsonl, line 2 .* it lacks 'macro_f1'"):
        replace(evaluation)  # reads the journals again


def test_run_killed_fifty_times_loses_the_running_step_only(
    evaluation: Evaluation,
) -> None:
    evaluation.plan = replace(evaluation.plan, seeds=8, training_seeds=3, reference_seeds=8)
    assert isinstance(evaluation.scorer, CountingScorer)
    evaluation.scorer.takes = 0.01
    steps = len(list(evaluation.missing()))
    rng = random.Random(0)
    kills, known = 0, 0
    while known < steps:
        child = os.fork()
        if child == 0:
            # tqdm's own lock is shared with forks, and one that is killed never gives it back.
            tqdm.set_lock(threading.RLock())
            again = replace(evaluation)  # reads the journals again
            run(again)
            os._exit(0)
        if kills < 50:
            time.sleep(rng.uniform(0.0, 0.03))
            os.kill(child, signal.SIGKILL)
            kills += 1
        os.waitpid(child, 0)
        after = replace(evaluation)
        records = after.purchases.records + after.scores.records
        keys = [(r["trial"], r.get("pipeline"), r.get("training_seed")) for r in records]
        assert len(keys) == len(set(keys))  # nothing was done twice
        assert len(keys) >= known  # and nothing finished was lost
        known = len(keys)
    assert kills == 50
    assert not list(replace(evaluation).missing())


NOTES = {
    0: {"round": 1, "probabilities": [0.5, 0, 1.0]},
    1: {"round": None, "probabilities": None},
}


@dataclass(frozen=True)
class FirstRowsRunner(SubprocessRunner):
    """Buys the first rows, in no process."""

    def run(self, submission: Path, trial: TrialInputs) -> Outcome:
        trial.vault.open = True
        for row in range(trial.pair.budget):
            trial.vault.purchase(row)
        return Outcome(notes=NOTES)


def workspace_of(evaluation: Evaluation) -> Workspace:
    return Workspace(evaluation.plan, evaluation.out, FirstRowsRunner(), evaluation.scorer)


def test_purchase_records_the_machine(evaluation: Evaluation) -> None:
    """What a submission gets done in its minutes depends on it."""
    for trial in (next(evaluation.plan.purchases()), next(evaluation.plan.reference_trials("all"))):
        made = purchase(workspace_of(evaluation), trial)
        assert made.record.device.endswith(device_name("cpu").rpartition(", ")[0])


def test_purchase_ignores_the_vault_file_of_a_killed_run(evaluation: Evaluation) -> None:
    """A machine that lost power can leave anything there, and the labels are bought again."""
    trial = next(evaluation.plan.purchases())
    left = evaluation.out / "vault" / f"{trial.identity}.jsonl"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"\0\0\0\n" + b'{"index": 9, "time": 0}\n')
    purchase(workspace_of(evaluation), trial)
    assert [record["index"] for record in Journal(left).records] == [0, 1, 2, 3, 4]


def test_read_notes_that_a_purchase_wrote(evaluation: Evaluation) -> None:
    trial = next(evaluation.plan.purchases())
    purchase(workspace_of(evaluation), trial)
    assert read_notes([evaluation.out], trial.identity, [0, 1], 3) == (NOTES, "")


def test_missing_with_compiled_steps(evaluation: Evaluation) -> None:
    run(evaluation)
    assert not list(evaluation.missing())
    evaluation.scorer.steps = "compiled"
    trainings = [pipeline for _, pipeline in evaluation.missing()]
    assert trainings
    assert None not in trainings, "a purchase does not depend on it"


def test_configuration_by_half_precision(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A T4 trains in float16, an H100 in bfloat16: a journal of both would be a mixture."""
    evaluation.scorer.device = "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = set()
    for capability in ((7, 5), (8, 0), (9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        found.add(evaluation.scorer.configuration(PIPELINES["quick"]))
    assert len(found) == 2


@pytest.mark.parametrize(
    ("device", "start", "an_epoch"), [("cpu", 0.0, 115.0), ("cuda", 18.0, 2.0)]
)
def test_measure_training_separates_start_up_on_a_gpu(
    device: str,
    start: float,
    an_epoch: float,
    evaluation: Evaluation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, loading = 0.0, 100.0  # its libraries, once

    def fit(trainer: ZEWDPCTrainer, images: Tensor, labels: Tensor) -> None:
        nonlocal now, loading
        assert trainer.progress is not None
        now += loading + 3.0 + 10.0  # a network, and kernels for its batches
        loading = 0.0
        for epoch in range(trainer.pipeline.epochs):
            now += 2.0
            trainer.progress((epoch + 0.5) / trainer.pipeline.epochs)
            trainer.progress((epoch + 1) / trainer.pipeline.epochs)
            now += 5.0 if epoch == 0 and device == "cuda" else 0.0  # kernels for what it holds out

    monkeypatch.setattr(estimate.time, "monotonic", lambda: now)
    monkeypatch.setattr(estimate, "synchronise", lambda _: None)
    monkeypatch.setattr(estimate.ZEWDPCTrainer, "fit", fit)
    splits = evaluation.plan.splits
    cost = measure_training(PIPELINES["quick"], splits, device)
    monkeypatch.undo()
    assert cost == pytest.approx((start, an_epoch / len(splits.training)))


def test_measure_training_out_of_memory(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(estimate.ZEWDPCTrainer, "fit", fit)
    with pytest.raises(ConfigurationError, match=r"Tried to allocate 2.00 GiB.*bought") as refused:
        measure_training(PIPELINES["quick"], evaluation.plan.splits, None)
    assert refused.value.code == "device-memory"


def test_estimate_seconds_largest_first(
    evaluation: Evaluation,
) -> None:
    steps = list(evaluation.missing())
    seconds = estimate_seconds(evaluation, steps, {"quick": TrainingCost(0, 1)})
    assert seconds[BUYING] == 2 * (60 + 120) + 4 * START_UP  # two strategies, 1 and 2 minutes
    assert list(seconds) == ["quick", BUYING]
    free = {"quick": TrainingCost(0, 0)}
    assert list(estimate_seconds(evaluation, steps, free)) == [BUYING, "quick"]


def test_announce_counts_features_once_and_not_again(tmp_path: Path) -> None:
    for seed, (split, n) in enumerate(SIZES.items()):
        write_split(tmp_path / "data" / split, n, seed, size=40)
    splits = open_splits(tmp_path / "data", progress=False)
    pipelines = (PIPELINES["lite"], PIPELINES["lite-long"])
    run_py = tmp_path / "run.py"
    run_py.write_text("# a submission")
    plan = Plan(
        splits, name_submissions([run_py]), ("first",), (Pair(5, 1),), 1, 1, pipelines=pipelines
    )
    scorer = Scorer(splits, weights="imagenet", device="cpu")
    evaluation = Evaluation(plan, tmp_path / "out", scorer, SubprocessRunner())
    n_learned, n_held_out = len(splits.training) + len(splits.unlabelled), len(splits.validation)
    # Blurred in four views and plain; both pipelines learn from the same.
    expected = {PIPELINES["lite"]: 5 * n_learned + n_held_out}
    assert scorer.features_to_compute(pipelines) == expected
    assert estimate.FEATURES in announce(evaluation, "cpu", estimated=True, in_detail=True)
    everything = range(len(splits.unlabelled))
    scorer.score("", everything, replace(PIPELINES["lite"], epochs=1), 0)
    assert scorer.features_to_compute(pipelines) == {PIPELINES["lite"]: 0}
    shown = announce(evaluation, "cpu", estimated=True, in_detail=True)
    assert "lite-long: " in shown
    assert estimate.FEATURES not in shown
