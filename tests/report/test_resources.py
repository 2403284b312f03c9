"""Time and memory, failures and notices, environment and commands."""

import json
from pathlib import Path

from tests.report.journals import CASES, TWO, write_journals
from tests.report.pages import report


def test_resource_table_has_seconds_share_and_memory(tmp_path: Path) -> None:
    row = report(write_journals(tmp_path, {"random": (0.4,)})).table("Mean seconds")["random"]
    assert (row["pre-training"], row["purchase"], row["budget"]) == ("6 s", "24 s", "60 s")
    assert (row["used, mean"], row["used, largest"]) == ("50%", "50%")
    assert (row["peak memory"], row["seeds"]) == ("1.50 GiB", "3")


def test_resource_table_leaves_out_what_crashed_early(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO)
    lines = [json.loads(line) for line in (out / "purchases.jsonl").read_text().splitlines()]
    lines[0] |= {"status": "crashed", "seconds": {"pre_training": 0.1}}
    (out / "purchases.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    row = report(out).table("Mean seconds")["random"]
    assert (row["pre-training"], row["seeds"]) == ("6 s", "2")


def test_failure_table_has_status_and_reason(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, **CASES["a failed strategy"]))
    row = page.table("Failures")["entropy"]
    assert (row["status"], row["reason"], row["seed"]) == ("timeout", "killed at 60 s", "2")
    assert "No trial failed" not in page.text
    assert "No trial failed" in report(write_journals(tmp_path / "other", TWO)).text


def test_failure_table_names_a_failed_training_once(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO, pipelines=("quick", "organiser"))
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    failed = {"macro_f1": None, "status": "crashed", "reason": "not finite", "f1_per_class": {}}
    lines[-1] |= failed
    (out / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = report(out)
    assert len(page.table("Failures")) == 1
    row = page.table("Failures")["entropy"]
    assert (row["status"], row["reason"]) == ("training organiser crashed", "not finite")
    assert page.table("Leaderboard under quick")["entropy"]["macro-F1"] == "0.510"


def test_failure_section_counts_purchases_without_a_score(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO, seeds=(0, 1))
    lines = (out / "scores.jsonl").read_text().splitlines(keepends=True)
    (out / "scores.jsonl").write_text("".join(line for line in lines if "seed0" in line))
    assert "2 trials of 4 unfinished" in report(out).text


def test_environment_has_versions_and_commands(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO, revision="abc123", versions={"torch": "2.10.0"})
    assert "No command is recorded" in report(out).text
    command = ["local_evaluation.py", "--strategy", "entropy:rounds=3 x"]
    line = json.dumps({"command": command, "started": "2026-01-02T03:04:05Z"}) + "\n"
    (out / "commands.jsonl").write_text(2 * line)
    page = report(out)
    assert page.text.count("local_evaluation.py --strategy 'entropy:rounds=3 x'") == 1
    (out / "commands.jsonl").write_text(json.dumps({"command": command, "threads": 2}) + "\n")
    assert "OMP_NUM_THREADS=2 local_evaluation.py --strategy" in report(out).text
    facts = page.table("Code, libraries and processors")
    assert facts["submission's revision"]["value"] == "abc123"
    assert facts["torch"]["value"] == "2.10.0"
    assert facts["device of the trainings"]["value"] == "not recorded"
