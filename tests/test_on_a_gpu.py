"""`benchmarks/on_a_gpu.sh` hangs together, so that an hour on somebody's GPU is not lost to it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPO_ROOT

SCRIPT = REPO_ROOT / "benchmarks" / "on_a_gpu.sh"


def run(out: Path, *steps: str, python: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": python, "OUT": str(out), "QUICK": "1"}
    return subprocess.run(
        ["bash", SCRIPT, *steps], env=environment, capture_output=True, text=True, check=False
    )


def test_on_a_gpu_script_runs_every_step_and_keeps_its_output(tmp_path: Path) -> None:
    done = run(tmp_path, python="echo")
    assert done.returncode == 0, done.stderr
    said = {path.stem: path.read_text().split() for path in tmp_path.glob("*.txt")}
    assert set(said) == {
        "tests", "calibrate", "training", "profile", "purchase", "scores", "steps", "leaderboard"
    }  # fmt: skip
    for words in said.values():
        assert words[0] == "-m" or (REPO_ROOT / words[0]).is_file()
    assert "--quick" in said["training"]


def test_on_a_gpu_script_goes_on_after_a_failed_step(tmp_path: Path) -> None:
    done = run(tmp_path, "training", "purchase", python="false")
    assert done.returncode == 1
    assert "failed: training purchase" in done.stderr


@pytest.mark.parametrize("steps", [["nonsense"], ["training", "nonsense"]])
def test_on_a_gpu_script_names_an_unknown_step(steps: list[str], tmp_path: Path) -> None:
    done = run(tmp_path, *steps, python="echo")
    assert done.returncode == 2
    assert "There is no step nonsense; there are tests calibrate" in done.stderr
