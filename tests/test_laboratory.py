"""Purchases and scores on kept features are those of the submission and of the evaluator."""

from pathlib import Path

import numpy as np
import pytest

import run
from benchmarks.strategies import Laboratory, RowImages, Trial, main
from evaluator.data.dataset import ZEWDPCProtectedDataset
from evaluator.training.pipelines import PIPELINES
from evaluator.training.scoring import Scorer
from evaluator.worker.vault import LabelVault

BUDGET = 7


@pytest.fixture(scope="module")
def laboratory(squares: Path) -> Laboratory:
    return Laboratory(str(squares))


@pytest.mark.parametrize("strategy", ["random", "entropy", "badge"])
def test_laboratory_buys_and_scores_as_the_submission_and_the_evaluator(
    strategy: str, laboratory: Laboratory, tmp_path: Path
) -> None:
    splits = laboratory.splits
    path = tmp_path / "submission.toml"
    path.write_text('[learner]\ndevice = "cpu"\nbackbone = "frozen"\nthreads = 1\n')
    vault = LabelVault(splits.unlabelled.labels, BUDGET)
    vault.open = True
    pool = ZEWDPCProtectedDataset(splits.unlabelled.images, splits.class_names, vault.purchase)
    submission = run.ZEWDPCRun(strategy, 3, path)
    submission.pre_training_phase(splits.training, 3600)
    submission.purchase_phase(pool, splits.training, BUDGET, 3600)

    n = len(splits.training)
    purchase, (score,) = laboratory.run(Trial("frozen", strategy, n, BUDGET, seed=3), ["lite"])
    assert purchase is not None
    assert purchase["purchased"] == list(vault.purchased)
    scorer = Scorer(splits, weights="imagenet", device="cpu")
    expected = scorer.score("", purchase["purchased"], PIPELINES["lite"], 3)
    assert score["macro_f1"] == expected.macro_f1


def test_laboratory_starts_from_a_part_of_what_is_labelled(laboratory: Laboratory) -> None:
    first, same, other = (
        laboratory.labelled_rows(Trial("frozen", "random", 10, 0, seed)).tolist()
        for seed in (0, 0, 1)
    )
    assert first == same != other
    assert len(set(first)) == 10


def test_row_images_say_which_row_they_are() -> None:
    images = RowImages(np.array([5, 70_004]))
    assert images[1]["image"].reshape(3).tolist() == [*(70_004).to_bytes(3, "little")]


@pytest.mark.slow
def test_laboratory_goes_on_where_it_was_and_prints_tables(
    squares: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["strategies.py", str(squares), "--budgets", "5", "--labelled", "24"]
    arguments += ["--out", str(tmp_path)]
    for seeds, pipelines, new in (
        (1, ["lite"], 4),
        (2, ["lite"], 4),
        (2, ["lite", "lite-no-blur"], 8),
        (2, ["lite"], 0),
    ):
        monkeypatch.setattr(
            "sys.argv", [*arguments, "--seeds", str(seeds), "--pipeline", *pipelines]
        )
        main()
        shown = capsys.readouterr().out
        assert f"{new} trials; " in shown
    assert "| strategy | lite | lite-no-blur | n |" in shown
    assert "`entropy`" in shown
    assert len((tmp_path / "purchases.jsonl").read_text().splitlines()) == 8
