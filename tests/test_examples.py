"""The examples run as they stand: submissions through the evaluator, the notebook cell by cell."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evaluator.cli import main
from evaluator.records.journal import read_records
from tests.conftest import REPO_ROOT

EXAMPLES = REPO_ROOT / "examples"
SUBMISSIONS = sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_examples_are_the_documented_ones() -> None:
    assert SUBMISSIONS == [
        "entropy_frozen.py",
        "first_k.py",
        "random_choice.py",
        "starter_kit_2022.py",
    ]


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_example_buys_its_whole_budget(name: str, squares: Path, tmp_path: Path) -> None:
    code = main(
        [
            *("--submission", str(EXAMPLES / name), "--data", str(squares), "--pairs", "6:1"),
            *("--round", "1", "--references", "--out", str(tmp_path / "out")),
        ]
    )
    (record,) = read_records(tmp_path / "out" / "purchases.jsonl")
    assert (code, record["status"]) == (0, "ok"), record["reason"]
    assert len(set(record["purchased"])) == 6


@pytest.mark.slow
def test_tour_runs_cell_by_cell(tmp_path: Path) -> None:
    copy = tmp_path / "repository"
    made = {REPO_ROOT / name for name in (".git", ".venv", "data", "results")}

    def skip(folder: str, names: list[str]) -> list[str]:
        return [one for one in names if one == "__pycache__" or Path(folder, one) in made]

    shutil.copytree(REPO_ROOT, copy, ignore=skip)
    cells = json.loads((copy / "examples" / "tour.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=copy / "examples",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok, 20 labels" in done.stdout
