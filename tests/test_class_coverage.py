"""A class that a split never shows bounds the score or what can be learned, and is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluator.__main__ import main as evaluator_main
from evaluator.analysis.loading import read_results
from evaluator.cli import main as local_evaluation
from evaluator.records.journal import Journal
from evaluator.training.metrics import score
from shared.images.class_coverage import absent_classes, coverage_doubts, macro_f1_bound
from shared.images.layout import SPLITS

CLASSES = ("scratch", "dent", "rust")
EVERY = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
NO_RUST = [[1, 1, 0], [0, 1, 0]]
NOTHING = [[0, 0, 0]]


def doubts_of(training: list[list[int]], pool: list[list[int]], held_out: list[list[int]]) -> str:
    rows = zip(SPLITS, (training, pool, held_out), strict=True)
    labels = {split: np.array(own, np.uint8) for split, own in rows}
    return "\n".join(coverage_doubts(labels, CLASSES))


@pytest.mark.parametrize(
    ("labels", "absent"), [(EVERY, ()), (NO_RUST, ("rust",)), (NOTHING, CLASSES)]
)
def test_absent_classes_are_those_without_a_positive(
    labels: list[list[int]], absent: tuple[str, ...]
):
    assert absent_classes(np.array(labels), CLASSES) == absent


@pytest.mark.parametrize("held_out", [EVERY, NO_RUST, NOTHING])
def test_macro_f1_bound_is_what_a_perfect_prediction_scores(held_out: list[list[int]]):
    absent = absent_classes(np.array(held_out), CLASSES)
    perfect = score(np.array(held_out), np.array(held_out), CLASSES).macro_f1
    said = macro_f1_bound(absent, 3)
    assert (f"cannot exceed {3 - len(absent)}/3 ({perfect:.3f})" in said) == bool(absent)
    assert said or perfect == 1


@pytest.mark.parametrize(
    ("training", "pool", "held_out", "lines"),
    [
        (EVERY, EVERY, EVERY, []),
        (EVERY, EVERY, NO_RUST, ["no held-out image shows rust", "exceed 2/3"]),
        (NO_RUST, EVERY, EVERY, ["no training image shows rust: only bought labels"]),
        (EVERY, NO_RUST, EVERY, ["no image of the pool shows rust: no purchase"]),
        (NO_RUST, NO_RUST, EVERY, ["no training image and none of the pool shows rust"]),
        (NO_RUST, NO_RUST, NO_RUST, ["no held-out image shows rust"]),
        (EVERY, EVERY, NOTHING, ["shows scratch, dent, rust", "exceed 0/3 (0.000)"]),
    ],
)
def test_coverage_doubts_name_class_and_split(
    training: list[list[int]], pool: list[list[int]], held_out: list[list[int]], lines: list[str]
):
    said = doubts_of(training, pool, held_out)
    assert all(line in said for line in lines), said
    assert said.count("\n") + bool(said) == min(len(lines), 1)


@pytest.fixture
def never_held_out(make_data: Callable[[], Path]) -> Path:
    """A data set whose validation images never show the last class."""
    root = make_data()
    table = root / "validation" / "labels.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, *(row[:-1] + "0" for row in rows)]))
    return root


def test_data_check_and_the_evaluation_warn_of_a_class_never_held_out(
    never_held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    warning = "no held-out image shows striped: F1 is 0 there whatever is predicted, and macro-F1"
    assert evaluator_main(["data", "check", str(never_held_out)]) == 0
    assert f"warning: {warning} cannot exceed 2/3 (0.667)" in capsys.readouterr().err
    words = ["--data", str(never_held_out), "--pairs", "5:1", "--plan", "--quiet"]
    assert local_evaluation([*words, "--out", str(tmp_path / "out"), "--strategy", "random"]) == 0
    assert f"warning     {warning}" in capsys.readouterr().out


def test_report_names_classes_never_held_out(tmp_path: Path):
    trial = {"trial": "t", "dataset": "boards", "fingerprint": "f", "strategy": "random"}
    trial |= {"budget": 2, "minutes": 1.0, "seed": 0, "status": "ok", "purchased": [1]}
    command = {"command": ["..."], "dataset": "boards", "fingerprint": "f"}
    command |= {"class_names": list(CLASSES), "never_held_out": ["rust"]}
    for name in ("one", "two"):
        Journal(tmp_path / name / "purchases.jsonl").append(trial | {"seconds": {}})
        Journal(tmp_path / name / "commands.jsonl").append(command)
    (notice,) = read_results([tmp_path / "one", tmp_path / "two"]).notices
    assert notice.startswith("In boards no held-out image shows rust: ")
    assert "cannot exceed 2/3" in notice
    Journal(tmp_path / "one" / "commands.jsonl").append(command | {"fingerprint": "of other data"})
    assert not read_results([tmp_path / "one"]).notices
