"""The submission runs on the platform: without our evaluator, driven by a mock of theirs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO_ROOT
from tests.test_architecture import imported

MOCK_EVALUATOR = REPO_ROOT / "evaluator" / "checks" / "mock_evaluator.py"
SHIPPED = ("run.py", "base_run.py", "submission.toml", "core", "strategies", "models")


def test_mock_evaluator_imports_nothing_of_ours() -> None:
    beside_python = imported(MOCK_EVALUATOR.read_text()) - sys.stdlib_module_names
    assert beside_python == {"numpy", "PIL"}


@pytest.mark.slow
def test_submission_runs_without_our_evaluator(squares: Path, tmp_path: Path) -> None:
    for name in SHIPPED:
        source = REPO_ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, tmp_path / name, ignore=ignore)
        else:
            shutil.copy(source, tmp_path / name)
    (tmp_path / "evaluator").mkdir()  # theirs; nothing of ours is in it
    (tmp_path / "evaluator" / "__init__.py").touch()
    shutil.copy(MOCK_EVALUATOR, tmp_path / "evaluator" / "__main__.py")
    command = [sys.executable, "-m", "evaluator", str(squares), "--budget", "7"]
    done = subprocess.run(
        [*command, "--seconds", "40", "--arg_names", "kit"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bought 7 of 7" in done.stdout
