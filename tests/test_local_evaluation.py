"""The command line as a user runs it: from a data set to a leaderboard, and on after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from evaluator.cli import main
from evaluator.experiment.config import EvaluationConfig
from evaluator.experiment.flags import parser
from evaluator.records.journal import Journal, read_records, sole_writer
from evaluator.synthetic import RECIPES, generate
from shared.console import EVENTS
from tests.conftest import REPO_ROOT

SUBMISSION = """
import time
import numpy as np

class ZEWDPCBaseRun:
    def __init__(self, strategy="first", seed=0):
        if strategy not in (None, "first", "last", "slow", "broken"):
            raise ValueError(f"Unknown strategy: {strategy!r}. Known: first, last.")
        self.strategy = strategy

    def pre_training_phase(self, training_dataset):
        if self.strategy == "broken":
            print("about to break")
            raise RuntimeError("broken on purpose")

    def purchase_phase(self, unlabelled_dataset, budget):
        n = len(unlabelled_dataset)
        indices = range(n - budget, n) if self.strategy == "last" else range(budget)
        if self.strategy == "slow":
            open("buying", "w").close()
            time.sleep(600)
        return {i: unlabelled_dataset.purchase_label(i) for i in indices}

    def prediction_phase(self, test_dataset):
        return np.zeros((len(test_dataset), 3), dtype=np.uint8)
"""


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    path = tmp_path / "submission" / "run.py"
    path.parent.mkdir()
    path.write_text(SUBMISSION)
    return path


def flags(squares: Path, submission: Path, out: Path, *more: str) -> list[str]:
    basic = ["--data", squares, "--submission", submission, "--out", out, "--pipeline", "quick"]
    return [*map(str, basic), "--pairs", "5:1", *more]


@pytest.mark.slow
def test_main_leaderboard_and_journals(
    squares: Path, submission: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    more = ("--strategy", "first", "last", "--seeds", "2", "--json")
    assert main(flags(squares, submission, out, *more)) == 0
    printed = capsys.readouterr().out
    rows = {row["strategy"]: row for row in json.loads(printed)}
    assert set(rows) == {"none", "all", "first", "last"}
    assert rows["first"]["n"] == 2
    assert rows["last"]["against_baseline"]["baseline"] == "first"

    purchases = Journal(out / "purchases.jsonl").records
    bought = {p["strategy"]: p["purchased"] for p in purchases if p["seed"] == 0}
    assert bought == {
        "none": [],
        "first": [0, 1, 2, 3, 4],
        "last": [35, 36, 37, 38, 39],
        "all": list(range(40)),
    }
    promised = (
        "trial dataset strategy budget minutes seed status reason purchased seconds own_macro_f1"
    )
    assert all(set(promised.split()) <= set(record) for record in purchases)
    scores = Journal(out / "scores.jsonl").records
    promised = (
        "trial pipeline training_seed status macro_f1 accuracy hamming_loss f1_per_class "
        "n_training n_purchased seconds"
    )
    assert all(set(promised.split()) <= set(record) for record in scores)
    assert len(scores) == 2 + 4 + 1

    files = [out / name for name in ("scores.jsonl", "purchases.jsonl", "commands.jsonl")]
    content = [file.read_bytes() for file in files]
    assert main(flags(squares, submission, out, *more)) == 0
    assert content == [file.read_bytes() for file in files]
    (command,) = Journal(out / "commands.jsonl").records
    assert {purchase["code"] for purchase in purchases} == {command["code"], ""}
    assert {score["configuration"] for score in scores} == {*command["configurations"].values()}
    assert "warning" not in capsys.readouterr().err

    last = next(purchase for purchase in purchases if purchase["strategy"] == "last")
    Journal(out / "purchases.jsonl").append(last | {"device": "another machine"})
    assert main(flags(squares, submission, out, *more)) == 0
    assert "warning: Purchases were made on different machines: " in capsys.readouterr().err
    assert "made on different machines" in (out / "report.html").read_text()


@pytest.mark.slow
def test_main_same_seed_same_scores_to_the_bit(
    squares: Path, submission: Path, tmp_path: Path
) -> None:
    scores = []
    for out in (tmp_path / "one", tmp_path / "two"):
        assert main(flags(squares, submission, out)) == 0
        scores.append(
            [
                {name: value for name, value in record.items() if name != "seconds"}
                for record in Journal(out / "scores.jsonl").records
            ]
        )
    assert scores[0] == scores[1]


def test_main_failed_trial_shows_its_log_and_others_run(
    squares: Path, submission: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--strategy", "broken", "first")
    assert main(flags(squares, submission, tmp_path / "out", *more)) == 1
    printed = "".join(capsys.readouterr())
    assert "pre_training: RuntimeError: broken on purpose" in printed
    assert "about to break" in printed
    assert "raise RuntimeError(" in printed
    assert "broken (failed: 5:1 seed 0: crashed)" in printed
    assert "first 5:1 seed 0: quick macro-F1" in printed
    assert "to try again, use another --out" in printed
    assert "see docs/troubleshooting.md#crashed" in printed


def test_main_prints_results_where_the_report_cannot_be_written(
    squares: Path, submission: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "report.html").mkdir(parents=True)
    basic = ["--data", squares, "--submission", submission, "--out", out, "--pairs", "5:1"]
    assert main([*map(str, basic), "--round", "1", "--quiet"]) == 2
    printed = capsys.readouterr()
    assert "own-predictions" in printed.out
    assert f"{out}/report.html cannot be written" in printed.err


@pytest.mark.parametrize("described", ["['first']", "[{'name': 'first'}]", "3"])
def test_list_refuses_malformed_strategies(
    described: str, submission: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submission.write_text(f"{SUBMISSION}\ndef describe_strategies():\n    return {described}\n")
    assert main(["--list", "--submission", str(submission)]) == 2
    assert "does not describe its strategies" in capsys.readouterr().err


def test_list_shows_parameters(submission: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = {"name": "first", "summary": "The first.", "source": "tests"}
    other = {**one, "name": "last", "parameters": "power=1.0"}
    text = f"{SUBMISSION}\ndef describe_strategies():\n    return {[one, other]}\n"
    submission.write_text(text)
    assert main(["--list", "--submission", str(submission)]) == 0
    assert capsys.readouterr().out.count("parameters: power=1.0") == 1


REFUSED = {
    "a mistyped strategy": (["--strategy", "frist"], "Unknown strategy: 'frist'. Known: first"),
    "a reserved name": (
        ["--strategy", "all"],
        "kept for reference rows of the evaluator",
    ),
    "the name of a removed row": (["--strategy", "oracle"], "--strategy oracle: this name is kept"),
    "a baseline that is not run": (
        ["--strategy", "first", "last", "--baseline", "random"],
        "--baseline random: not among the strategies evaluated, which are first, last",
    ),
    "a mistyped pipeline": (
        ["--pipeline", "quik"],
        "pipeline 'quik' is not known; did you mean 'quick'?",
    ),
    "a pipeline's setting": (
        ["--pipeline", "quick:epochs=0"],
        "epochs is '0', expected at least 1",
    ),
    "images that are too small": (["--pipeline", "organiser"], "organiser: images are 16 pixels"),
    "the same on a cluster": (
        ["--pipeline", "organiser", "--engine", "ray"],
        "organiser: images are 16 pixels",
    ),
    "a budget past the pool": (["--pairs", "41:1"], "more than the 40 images in the pool"),
    "no such data": (["--data", "no/such"], "not a folder"),
    "round 1 and a pipeline": (["--round", "1"], "trains no --pipeline"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_main_refuses_before_anything_runs(
    case: str,
    squares: Path,
    submission: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more, words = REFUSED[case]
    assert main([*flags(squares, submission, tmp_path / "out"), *more]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "purchases.jsonl").exists()


def test_references_flag_removed_oracle(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--references", "none", "oracle"])
    said = " ".join(capsys.readouterr().err.split())
    assert "argument --references: the row oracle was removed" in said
    assert "Use none or all, or --strategy entropy." in said


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ([], "eager"),
        (["--execution", "compile"], "compiled"),
        (["--steps", "launched"], "eager"),
        (["--steps", "compiled"], "compiled"),
    ],
)
def test_execution_flag(given: list[str], steps: str) -> None:
    assert EvaluationConfig.from_flags(parser().parse_args(given), given).steps == steps


def test_execution_flag_removed_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--steps", "recorded"])
    said = " ".join(capsys.readouterr().err.split())
    assert "argument --execution/--steps: recorded steps (CUDA graphs) were removed" in said


def test_pipeline_with_settings_is_named_in_every_record(
    squares: Path, submission: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "quick:epochs=1,minimum_steps=0"
    words = flags(squares, submission, tmp_path, "--pipeline", "quick:minimum_steps=0,epochs=1")
    assert main([*words, "--references", "none", "--json"]) == 0
    scores = Journal(tmp_path / "scores.jsonl").records
    assert {score["pipeline"] for score in scores} == {name}
    (command,) = Journal(tmp_path / "commands.jsonl").records
    assert set(command["configurations"]) == {name}
    assert {row["pipeline"] for row in json.loads(capsys.readouterr().out)} == {name}
    assert "quick:epochs=1,minimum_steps=0" in (tmp_path / "report.html").read_text()


def test_main_generates_nothing_for_a_submission_that_cannot_run(
    submission: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--recipe", "debug", "--submission", str(submission), "--plan"]
    assert main([*flags, "--strategy", "frist"]) == 2
    assert not (tmp_path / "data").exists()
    assert main([*flags, "--strategy", "first", "--pairs", "10:1", "--pipeline", "quick"]) == 0
    assert (tmp_path / "data" / "sheets-debug").is_dir()
    assert not (tmp_path / "results").exists()  # planning writes nothing there


def test_main_refuses_images_of_another_version_of_the_recipe(
    submission: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    earlier = replace(RECIPES["debug"], noise=(0.0, 0.0))
    generate(earlier, tmp_path / "data" / "sheets-debug", workers=1, progress=False)
    words = ["--submission", str(submission), "--pairs", "10:1", "--pipeline", "quick", "--plan"]
    assert main(["--recipe", "debug", *words]) == 2
    assert "remove it, or evaluate what it holds with --data" in capsys.readouterr().err
    assert main(["--data", "data/sheets-debug", *words]) == 0


def test_plan_is_refused_while_another_evaluation_writes(
    squares: Path, submission: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reading a journal whose last line is being written would cut that line off."""
    out = tmp_path / "out"
    with sole_writer(out):
        (out / "purchases.jsonl").write_text('{"trial": "half a li')
        assert main([*flags(squares, submission, out), "--plan"]) == 2
        assert (out / "purchases.jsonl").read_text() == '{"trial": "half a li'
    assert "Another evaluation is writing" in capsys.readouterr().err


def test_round_one_scores_own_predictions(squares: Path, submission: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    basic = ["--data", squares, "--submission", submission, "--out", out, "--pairs", "5:1"]
    assert main([*map(str, basic), "--round", "1", "--quiet"]) == 0
    (score,) = Journal(out / "scores.jsonl").records
    assert (score["pipeline"], score["macro_f1"]) == ("own-predictions", 0.0)
    events = read_records(out / EVENTS, ("time", "level", "logger", "event"), ("message",))
    assert [event["event"] for event in events] == ["plan", "purchase"]
    assert events[1]["fields"]["labels"] == 5


@pytest.mark.slow
def test_main_killed_resumes_and_repeats_nothing(
    squares: Path, submission: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = flags(squares, submission, out, "--strategy", "first", "last", "--seeds", "2")
    command = [sys.executable, str(REPO_ROOT / "local_evaluation.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPO_ROOT)}
    # Wait for a different number of journal lines each time, then kill without warning.
    for lines in (2, 5):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if count_lines(out) >= lines:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.01)
        assert process.wait() == -signal.SIGKILL
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    for name, key in (("purchases", ("trial",)), ("scores", ("trial", "training_seed"))):
        records = Journal(out / f"{name}.jsonl").records
        keys = [tuple(record[field] for field in key) for record in records]
        assert len(set(keys)) == len(keys) == 7


def count_lines(out: Path) -> int:
    files = (out / "purchases.jsonl", out / "scores.jsonl")
    return sum(file.read_bytes().count(b"\n") for file in files if file.exists())


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_submission_dies_with_its_evaluator(
    end: signal.Signals, squares: Path, submission: Path, tmp_path: Path
) -> None:
    arguments = flags(squares, submission, tmp_path / "out", "--strategy", "slow")
    command = [sys.executable, str(REPO_ROOT / "local_evaluation.py"), *arguments]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPO_ROOT)})
    buying = submission.parent / "buying"
    deadline = time.monotonic() + 120
    while not buying.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(submission)
    process.send_signal(end)
    process.wait()
    deadline = time.monotonic() + 20
    while alive(submission) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(submission)


def alive(submission: Path) -> bool:
    """Whether a submission's process still runs from that folder."""
    folder = str(submission.parent)
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if str(link.readlink()) == folder:
                return True
        except OSError:
            continue
    return False
