"""The three runners: where they answer alike, and what only one of them does."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evaluator.data.dataset import Splits, open_splits
from evaluator.experiment.flags import RUNNERS
from evaluator.records.journal import read_records
from evaluator.records.trial import Pair
from evaluator.worker.bubblewrap import BubblewrapRunner
from evaluator.worker.capped_log import last_lines
from evaluator.worker.in_process import InProcessRunner
from evaluator.worker.outcome import Outcome
from evaluator.worker.runner import SubprocessRunner, TrialInputs
from evaluator.worker.vault import LabelVault
from shared.errors import ConfigurationError
from tests.conftest import REPO_ROOT
from tests.submissions import skip_without_bubblewrap, write_submission

BUDGET = 5

Run = Callable[..., tuple[Outcome, LabelVault]]


@pytest.fixture(scope="module")
def splits(squares: Path) -> Splits:
    return open_splits(squares, progress=False)


@pytest.fixture
def run(splits: Splits, tmp_path: Path) -> Run:
    def go(
        runner: str = "local", folder: str = "submission", seconds: float = 60, **places: str
    ) -> tuple[Outcome, LabelVault]:
        if runner == "bubblewrap":
            skip_without_bubblewrap()
        vault = LabelVault(splits.unlabelled.labels, BUDGET)
        trial = TrialInputs(
            splits, Pair(BUDGET, seconds / 60), vault, tmp_path / "trial.log", {"seed": 3}
        )
        submission = write_submission(tmp_path / folder, **places)
        runners = {
            "subprocess": SubprocessRunner(),
            "bubblewrap": BubblewrapRunner(hidden=(splits.root,)),
            "local": InProcessRunner(),
        }
        assert set(runners) == set(RUNNERS)
        return runners[runner].run(submission, trial), vault

    return go


@pytest.mark.parametrize("runner", RUNNERS)
def test_run_same_answers_from_every_runner(runner: str, run: Run) -> None:
    outcome, vault = run(
        runner,
        after_purchase="""
            self.purchase_notes = {i: {"round": 1} for i in bought}
            try:
                unlabelled_dataset.purchase_label(39)
            except Exception as error:
                assert type(error).__name__ == "OutOfBudgetError", error
        """,
        prediction="predictions[:, self.seed - 2] = 1",
    )
    assert (outcome.status, outcome.reason) == ("ok", "")
    assert list(vault.purchased) == [0, 1, 2, 3, 4]
    assert (vault.refused, vault.open) == (1, False)
    assert outcome.claimed == [0, 1, 2, 3, 4]
    assert outcome.notes == {i: {"round": 1, "probabilities": None} for i in range(BUDGET)}
    assert set(outcome.seconds) == {"pre_training", "purchase", "prediction"}
    assert outcome.predictions is not None
    assert outcome.predictions.mean(axis=0).tolist() == [0, 1, 0]


FAILURES = {
    "exception": ({"purchase": "raise KeyError('gone')"}, "crashed", "purchase: KeyError: 'gone'"),
    "exception at import": ({"at_import": "import no_such_module"}, "crashed", "start-up: Module"),
    "over budget": (
        {"after_purchase": "unlabelled_dataset.purchase_label(39)"},
        "over_budget",
        "purchase: shared.errors.OutOfBudgetError: All 5 labels",
    ),
    "out of memory": ({"pre_training": "raise MemoryError"}, "out_of_memory", "pre_training: "),
    "outside the pool": (
        {"purchase": "unlabelled_dataset.purchase_label(40)"},
        "crashed",
        "Index 40 is outside the pool of 40 images",
    ),
    "no integer": (
        {"purchase": "unlabelled_dataset.purchase_label('a')"},
        "crashed",
        "purchase_label takes a whole number; got 'a'",
    ),
    "bought too late": (
        {"purchase": "self.pool = unlabelled_dataset", "prediction": "self.pool.purchase_label(9)"},
        "crashed",
        "sold in the purchase phase only",
    ),
    "bad predictions": (
        {"prediction": "predictions = predictions + 2"},
        "bad_output",
        "prediction",
    ),
}


@pytest.mark.parametrize("runner", ["subprocess", "local"])
@pytest.mark.parametrize("case", FAILURES)
def test_run_same_status_from_every_runner(case: str, runner: str, run: Run) -> None:
    places, status, words = FAILURES[case]
    outcome, vault = run(runner, **places)
    assert outcome.status == status, outcome.reason
    assert words in outcome.reason
    assert not vault.open


def test_local_run_prints_to_the_terminal_and_logs_the_traceback(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome, _ = run(pre_training="print('looking at', len(training_dataset)); self.none.there")
    assert outcome.status == "crashed"
    printed = capsys.readouterr()
    assert "looking at 24" in printed.out
    assert "self.none.there" in printed.err
    assert "AttributeError" in last_lines(tmp_path / "trial.log")


def test_local_run_warns_where_another_runner_would_have_ended_it(run: Run) -> None:
    outcome, _ = run(seconds=0.2, pre_training="time.sleep(0.5)")
    assert outcome.status == "ok"
    assert "s of 0.2 s: with another runner it would have ended" in outcome.warnings[0]


def test_local_run_leaves_the_process_as_it_was(run: Run) -> None:
    before = Path.cwd(), list(sys.path), torch.get_num_threads()
    outcome, _ = run(pre_training=f"import torch; torch.set_num_threads({before[2] + 1})")
    assert outcome.status == "ok", outcome.reason
    assert (Path.cwd(), list(sys.path), torch.get_num_threads()) == before


def test_local_run_imports_each_submission_afresh(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b", "a"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "helper.py").write_text(f"NAME = {name!r}")
        outcome, _ = run(
            folder=name,
            at_import="import helper",
            pre_training=f"assert helper.NAME == {name!r}; assert os.getcwd().endswith({name!r})",
        )
        assert outcome.status == "ok", outcome.reason
    assert "helper" not in sys.modules


def test_local_preflight_refuses_as_the_others_do(tmp_path: Path) -> None:
    submission = write_submission(tmp_path, at_import="raise RuntimeError('not today')")
    with pytest.raises(ConfigurationError, match="cannot be used: RuntimeError: not today"):
        InProcessRunner().preflight(submission, [{}])
    with pytest.raises(ConfigurationError, match=r"Give the path of a run\.py"):
        InProcessRunner().preflight(tmp_path / "none.py", [])


def test_local_run_quit_from_the_debugger_ends_the_evaluation(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(purchase="import bdb; raise bdb.BdbQuit")


@pytest.mark.slow
def test_local_runner_stops_at_a_breakpoint(squares: Path, tmp_path: Path) -> None:
    submission = write_submission(tmp_path / "mine", purchase="breakpoint()")
    flags = ["--data", squares, "--submission", submission, "--out", tmp_path / "out"]
    flags += ["--runner", "local", "--pairs", "5:1", "--round", "1"]
    done = subprocess.run(
        [sys.executable, REPO_ROOT / "local_evaluation.py", *map(str, flags)],
        input="p 6 * budget + 700\nc\n",
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONBREAKPOINT": "pdb.set_trace"},
    )
    assert done.returncode == 0, done.stderr
    assert "730" in done.stdout
    (record,) = read_records(tmp_path / "out" / "purchases.jsonl")
    assert record["conditions"] == "round 1, 16 GiB, in process"
