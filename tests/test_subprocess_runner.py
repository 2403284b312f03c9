"""Every way a submission can end has its status and reason, and the evaluator survives them all."""

import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from evaluator.data.dataset import Splits, open_splits
from evaluator.records.trial import Pair
from evaluator.worker.bubblewrap import BubblewrapRunner
from evaluator.worker.capped_log import last_lines
from evaluator.worker.cpu_affinity import reserve_cores
from evaluator.worker.outcome import (
    Limits,
    Outcome,
    TrialFailedError,
    check_notes,
    check_predictions,
)
from evaluator.worker.runner import (
    Runner,
    SubprocessRunner,
    TrialInputs,
)
from evaluator.worker.vault import LabelVault
from shared.errors import ConfigurationError
from tests.conftest import REPO_ROOT
from tests.submissions import left_running, skip_without_bubblewrap, write_submission

BUDGET = 5


@dataclass
class Run:
    outcome: Outcome
    vault: LabelVault
    log: Path
    sold: list[int] = field(default_factory=list)


Go = Callable[..., Run]


@pytest.fixture(scope="module")
def splits(squares: Path) -> Splits:
    return open_splits(squares, progress=False)


@pytest.fixture
def run(splits: Splits, tmp_path: Path) -> Go:
    def go(
        source: str | None = None,
        *,
        seconds: float = 60,
        limits: Limits | None = None,
        runner: Runner | None = None,
        **places: str,
    ) -> Run:
        sold: list[int] = []
        vault = LabelVault(splits.unlabelled.labels, BUDGET, sold.append)
        trial = TrialInputs(
            splits,
            Pair(BUDGET, seconds / 60),
            vault,
            tmp_path / "logs" / "trial.log",
            arguments={"strategy": None, "seed": 3},
        )
        submission = write_submission(tmp_path / "submission", source, **places)
        outcome = (runner or SubprocessRunner(limits or Limits())).run(submission, trial)
        assert left_running() == [], "a process was left behind"
        return Run(outcome, vault, tmp_path / "logs" / "trial.log", sold)

    return go


def test_run_well_behaved_submission(run: Go) -> None:
    result = run(after_purchase="print('bought with seed', self.seed)")
    assert (result.outcome.status, result.outcome.reason) == ("ok", "")
    assert list(result.vault.purchased) == result.sold == [0, 1, 2, 3, 4]
    assert set(result.outcome.seconds) == {"pre_training", "purchase", "prediction"}
    assert result.outcome.predictions is not None
    assert result.outcome.predictions.shape == (16, 3)
    assert result.outcome.warnings == []
    assert result.outcome.peak_memory > 2**23  # numpy and the images alone
    assert "bought with seed 3" in last_lines(result.log)


MISBEHAVIOUR: dict[str, tuple[dict[str, str], str, str]] = {
    # case: (what is put where, status, words of the reason)
    "an exception": (
        {"pre_training": "raise KeyError('no such thing')"},
        "crashed",
        "pre_training: KeyError: 'no such thing'",
    ),
    "an exception at import": (
        {"at_import": "import no_such_module"},
        "crashed",
        "start-up: ModuleNotFoundError: No module named 'no_such_module'",
    ),
    "os._exit": ({"purchase": "os._exit(0)"}, "crashed", "purchase: .* exit code 0"),
    "an index outside the pool": (
        {"purchase": "unlabelled_dataset.purchase_label(40)"},
        "crashed",
        r"Index 40 is outside the pool of 40 images \(0 to 39\)",
    ),
    "an index that is no number": (
        {"purchase": "unlabelled_dataset.purchase_label(1.5)"},
        "crashed",
        "purchase_label takes a whole number; got 1.5",
    ),
    "buying in the prediction phase": (
        {"purchase": "self.pool = unlabelled_dataset", "prediction": "self.pool.purchase_label(9)"},
        "crashed",
        "sold in the purchase phase only",
    ),
}


@pytest.mark.parametrize("case", MISBEHAVIOUR)
def test_run_status_and_reason(case: str, run: Go) -> None:
    places, status, words = MISBEHAVIOUR[case]
    result = run(**places)
    assert result.outcome.status == status, result.outcome.reason
    assert re.search(words, result.outcome.reason), result.outcome.reason


REFUSED = {
    # case: (what the prediction phase returned for 16 images and 3 classes, words of the reason)
    "wrong shape": (np.zeros(16, np.uint8), r"shape \[16\]; expected \[16, 3\]"),
    "wrong dtype": (np.zeros((16, 3), object), "dtype object; expected whole numbers 0 and 1"),
    "text": (np.zeros((16, 3), str), "expected whole numbers 0 and 1"),
    "NaN": (np.full((16, 3), np.nan), "48 values that are neither 0 nor 1, such as nan"),
    "probabilities": (np.full((16, 3), 0.3), "neither 0 nor 1, such as 0.3"),
    "nothing": (np.asarray(None), "dtype object"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_check_predictions_bad_output(case: str) -> None:
    returned, words = REFUSED[case]
    answer = {"type": "done", "dtype": returned.dtype.name, "shape": list(returned.shape)}
    with pytest.raises(TrialFailedError, match=words) as failed:
        check_predictions(answer, returned.tobytes(), (16, 3))
    assert failed.value.status == "bad_output"


@pytest.mark.parametrize("dtype", ["f8,(", "(-1,)f8", "O", "complex128", None, 7, [], {}])
def test_check_predictions_never_parses_a_dtype(dtype: object) -> None:
    with pytest.raises(TrialFailedError) as failed:
        check_predictions({"type": "done", "dtype": dtype, "shape": [2, 3]}, b"", (2, 3))
    assert failed.value.status == "bad_output"


def test_run_big_endian_predictions(run: Go) -> None:
    result = run(prediction="predictions = predictions.astype('>f4') + 1")
    assert result.outcome.predictions is not None, result.outcome.reason
    assert result.outcome.predictions.min() == 1


def test_run_dead_leader_with_living_fork(run: Go) -> None:
    started = time.monotonic()
    result = run(
        purchase="""
            if os.fork() == 0:
                time.sleep(600)
            os._exit(1)
        """
    )
    assert result.outcome.status == "crashed"
    assert "ended with exit code 1" in result.outcome.reason
    assert time.monotonic() - started < 45, "well before the deadline"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_run_parallel_purchases_use_different_cores(
    run: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where no other run holds a core
    everywhere = os.sched_getaffinity(0)
    with reserve_cores(1):  # of another evaluation
        taken = os.sched_getaffinity(0)
        os.sched_setaffinity(0, everywhere)
        result = run(limits=Limits(cpus=1), pre_training="print(os.sched_getaffinity(0))")
    assert result.outcome.status == "ok", result.outcome.reason
    ran_on = re.search(r"{(\d+)}", result.log.read_text())
    assert ran_on is not None
    assert int(ran_on[1]) in everywhere - taken


def test_run_timeout_of_worker_that_does_not_read(run: Go) -> None:
    result = run(
        seconds=3,
        purchase="""
            line = unlabelled_dataset._purchase.__self__._channel
            while True:
                line.send({"type": "purchase", "index": 0})
        """,
    )
    assert result.outcome.status == "timeout"
    assert sum(result.outcome.seconds.values()) < 6


def test_run_submission_with_its_own_evaluator_package(run: Go, tmp_path: Path) -> None:
    folder = tmp_path / "submission"
    (folder / "evaluator").mkdir(parents=True)
    (folder / "evaluator" / "__init__.py").write_text("raise RuntimeError('the old kit')")
    (folder / "random.py").write_text("raise RuntimeError('shadows the standard library')")
    result = run(pre_training="from evaluator.data.dataset import ZEWDPCBaseDataset")
    assert result.outcome.status == "ok", result.outcome.reason


@pytest.mark.parametrize(
    ("path", "at_import"),
    [
        ("", "import strategies"),
        (
            str(REPO_ROOT),
            "subprocess.run([sys.executable, '-c', 'import strategies'], check=True)",
        ),
    ],
)
def test_run_exposes_no_other_module_of_this_repository(
    path: str, at_import: str, run: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", path)
    result = run(at_import=at_import)
    assert result.outcome.status == "crashed"
    assert "No module named 'strategies'" in result.log.read_text()


@pytest.mark.parametrize(("method", "isolated"), [("spawn", False), ("forkserver", True)])
def test_run_spawned_processes_find_submission_and_data(
    method: str, isolated: bool, run: Go, splits: Splits
) -> None:
    if isolated:
        skip_without_bubblewrap()
    result = run(
        runner=BubblewrapRunner(hidden=(splits.root,)) if isolated else None,
        at_import="def count(dataset):\n    return len(dataset)",
        purchase=f"""
            import multiprocessing
            with multiprocessing.get_context({method!r}).Pool(1) as pool:
                print("counted", pool.map(count, [unlabelled_dataset]))
        """,
    )
    assert result.outcome.status == "ok", result.outcome.reason
    assert "counted [40]" in result.log.read_text()


def test_run_torch_data_loader_with_workers(run: Go) -> None:
    result = run(
        pre_training="""
            from torch.utils.data import ConcatDataset, DataLoader, random_split
            parts = random_split(training_dataset, [20, 4])
            whole = DataLoader(ConcatDataset(parts), batch_size=10, shuffle=True, num_workers=2)
            print("read", sorted(idx for batch in whole for idx in batch["idx"].tolist()))
        """
    )
    assert result.outcome.status == "ok", result.outcome.reason
    assert f"read {list(range(24))}" in result.log.read_text()


@pytest.mark.parametrize("cpus", [1, 2])
def test_run_cpu_limit_sets_torch_threads(
    cpus: int, run: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # it would decide alone
    result = run(
        limits=Limits(cpus=cpus), pre_training="import torch; print(torch.get_num_threads())"
    )
    allowed = min(cpus, len(os.sched_getaffinity(0)))
    assert last_lines(result.log).strip() == str(allowed)


def test_run_deadline_kills_what_ignores_sigterm(run: Go) -> None:
    started = time.monotonic()
    result = run(
        seconds=2,
        pre_training="""
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(0.1)
        """,
    )
    assert result.outcome.status == "timeout"
    assert result.outcome.reason.startswith("pre_training: the compute budget")
    assert 2 <= sum(result.outcome.seconds.values()) < 4
    assert time.monotonic() - started < 60


def test_run_compute_budget_is_shared_by_both_phases(run: Go) -> None:
    result = run(
        seconds=4,
        pre_training="time.sleep(2.5); time.time = lambda: 0.0",
        purchase="print('left', time_available); time.sleep(2.5)",
    )
    assert result.outcome.status == "timeout"
    assert result.outcome.reason.startswith("purchase")
    left = float(result.log.read_text().split("left ")[1].split()[0])
    assert 0 < left < 1.5


def test_run_over_budget_caught_by_the_submission(run: Go) -> None:
    result = run(
        after_purchase="""
            for i in (30, 31):
                try:
                    unlabelled_dataset.purchase_label(i)
                except Exception as error:
                    print(type(error).__name__)
        """
    )
    assert result.outcome.status == "ok"
    assert result.vault.refused == 2
    assert list(result.vault.purchased) == [0, 1, 2, 3, 4]
    assert result.log.read_text().count("OutOfBudgetError") == 2


def test_purchase_label_again_is_free(run: Go) -> None:
    result = run(
        purchase="""
            first = unlabelled_dataset.purchase_label(np.int64(1))
            assert all(list(unlabelled_dataset.purchase_label(1)) == list(first) for _ in range(9))
        """
    )
    assert result.outcome.status == "ok"
    assert list(result.vault.purchased) == [1, 0, 2, 3, 4]


def test_run_warns_of_a_returned_dict_that_disagrees(run: Go) -> None:
    result = run(after_purchase="bought = {i: [1, 1, 1] for i in range(3, 12)}")
    assert result.outcome.status == "ok"
    assert list(result.vault.purchased) == [0, 1, 2, 3, 4]
    assert (
        "9 indices, but 5 were bought (7 returned and not bought, 3 bought"
        in (result.outcome.warnings[0])
    )


def test_run_memory_limit_counts_the_process_tree(run: Go) -> None:
    result = run(
        limits=Limits(memory=500 * 2**20),
        pre_training="""
            for _ in range(3):
                subprocess.Popen([sys.executable, "-c",
                                  "x = bytearray(200 * 2**20); import time; time.sleep(60)"])
            time.sleep(60)
        """,
    )
    assert result.outcome.status == "out_of_memory"
    assert "of private memory in all its processes; the node has" in result.outcome.reason
    assert result.outcome.peak_memory > 500 * 2**20


def test_run_memory_is_checked_after_a_short_phase(run: Go) -> None:
    result = run(limits=Limits(memory=300 * 2**20), pre_training="self.kept = b'1' * (400 * 2**20)")
    assert result.outcome.status == "out_of_memory"
    assert result.outcome.reason.startswith("pre_training: ")
    # The last poll may fall into the middle of the allocation.
    assert 300 * 2**20 < result.outcome.peak_memory < 700 * 2**20


def test_run_mapped_files_do_not_count_as_memory(run: Go, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(2**20) * 600)
    result = run(
        limits=Limits(memory=600 * 2**20),
        pre_training=f"self.total = int(np.memmap({str(big)!r}, mode='r').sum()); time.sleep(1)",
    )
    assert result.outcome.status == "ok", result.outcome.reason


def test_run_kills_processes_left_in_other_sessions(run: Go, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    result = run(
        after_purchase=f"""
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    open({str(pid_file)!r}, "w").write(str(os.getpid()))
                    time.sleep(600)
                os._exit(0)
            time.sleep(0.5)
        """
    )
    assert result.outcome.status == "ok"
    assert result.outcome.left_running == 1
    assert "left running" in result.outcome.warnings[-1]
    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_purchase_label_is_recorded_before_it_is_answered(run: Go) -> None:
    result = run(purchase="unlabelled_dataset.purchase_label(7); os._exit(1)")
    assert result.outcome.status == "crashed"
    assert result.sold == [7]


def test_run_argument_names_of_the_kit(run: Go) -> None:
    result = run(
        """
import numpy as np
class ZEWDPCBaseRun:
    def pre_training_phase(self, training_dataset, compute_budget=None, **kwargs):
        assert compute_budget > 0 and "register_progress" in kwargs
    def purchase_phase(self, unlabelled_dataset, training_dataset, purchase_budget, compute_budget):
        return {i: unlabelled_dataset.purchase_label(i) for i in range(purchase_budget)}
    def prediction_phase(self, test_dataset):
        return np.zeros((len(test_dataset), 3), dtype=np.int64)
"""
    )
    assert result.outcome.status == "ok", result.outcome.reason
    assert len(result.vault.purchased) == BUDGET


def test_run_unknown_required_parameter(run: Go) -> None:
    result = run(
        """
class ZEWDPCBaseRun:
    def pre_training_phase(self, training_dataset, magic):
        pass
"""
    )
    assert result.outcome.status == "crashed"
    assert "requires a parameter 'magic'" in result.outcome.reason


PREFLIGHT = {
    "syntax error": ("def broken(:", {}, r"(?s)cannot be used: .*SyntaxError.*line 1"),
    "exit at import": ("import sys; sys.exit(0)", {}, "exit code 0"),
    "no strategies": (
        "class ZEWDPCBaseRun: pass",
        {"strategy": "entropy"},
        "takes no `strategy`, so --strategy entropy cannot be passed on",
    ),
}


@pytest.mark.parametrize("case", PREFLIGHT)
def test_preflight_refuses(case: str, tmp_path: Path) -> None:
    source, arguments, words = PREFLIGHT[case]
    with pytest.raises(ConfigurationError, match=words):
        SubprocessRunner().preflight(write_submission(tmp_path, source), [arguments])


HUNGRY = {
    "memory": (
        "hoard = bytearray(os.urandom(2**20)) * 600",
        Limits(memory=600 * 2**20),
        "GiB of private memory",
    ),
    "processes": (
        "for _ in range(40): subprocess.Popen(['sleep', '600'])",
        Limits(processes=30),
        "processes at one time; at most 30",
    ),
}


@pytest.mark.parametrize("case", HUNGRY)
def test_preflight_limits(case: str, tmp_path: Path) -> None:
    code, limits, words = HUNGRY[case]
    submission = write_submission(tmp_path, f"import os, subprocess, time\n{code}\ntime.sleep(600)")
    with pytest.raises(ConfigurationError, match=f"start-up: .*{words}"):
        SubprocessRunner(replace(limits, start_up=20)).preflight(submission, [{}])
    assert left_running() == []


def test_preflight_arguments_refused_in_one_line(tmp_path: Path) -> None:
    source = """
class ZEWDPCBaseRun:
    def __init__(self, strategy):
        raise ValueError(f"{strategy!r} is none of mine; did you mean 'entropy'?")
"""
    submission = write_submission(tmp_path, source)
    with pytest.raises(ConfigurationError) as caught:
        SubprocessRunner().preflight(submission, [{"strategy": "entrpy"}])
    (line,) = str(caught.value).splitlines()
    assert line.endswith(
        "refuses: 'entrpy' is none of mine; did you mean 'entropy'? (run.py, line 4)"
    )


def test_preflight_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"Give the path of a run\.py"):
        SubprocessRunner().preflight(tmp_path / "run.py", [])


# What a submission may say of its purchases, and what is kept of it; 1 and 2 were bought.
NOTES = [
    ([[1, 1, [0.5, 0.5]], [2, 2, None]], {1: (1, [0.5, 0.5]), 2: (2, None)}),
    ([[7, 1, None]], None),
    ([[1, True, [0.5]]], {1: (None, None)}),
    ([[1, 0, [0.5, 1.5]], [2, "<b>", [float("nan"), 0]]], {1: (None, None), 2: (None, None)}),
    ([[[1], 1, None], [True, 1, None], [1, 1], "x", None], None),
    ({"1": 1}, None),
    (None, None),
]


@pytest.mark.parametrize(("said", "kept"), NOTES)
def test_check_notes(said: object, kept: object) -> None:
    notes = check_notes(said, {1: (), 2: ()}, 2)
    shown = notes and {idx: (note["round"], note["probabilities"]) for idx, note in notes.items()}
    assert shown == kept


def test_run_returns_purchase_notes(run: Go) -> None:
    notes = "self.purchase_notes = {i: {'round': 1, 'probabilities': [0.25] * 3} for i in bought}"
    outcome = run(after_purchase=notes).outcome
    assert outcome.status == "ok"
    assert outcome.notes == {i: {"round": 1, "probabilities": [0.25] * 3} for i in range(BUDGET)}


@pytest.mark.parametrize("notes", ["[1, 2]", "{'a': 1}", "{0: {'probabilities': object()}}"])
def test_run_ignores_malformed_purchase_notes(notes: str, run: Go) -> None:
    ran = run(after_purchase=f"self.purchase_notes = {notes}")
    assert ran.outcome.status == "ok"
    assert ran.outcome.notes is None
    assert "purchase_notes were left out" in ran.log.read_text()
