"""The submission runs on the platform: without our judge, driven by a stand-in for theirs.

The stand-in is written from what the challenge's pages say: `from run import ZEWDPCBaseRun`,
plain data sets, a clock over pre-training + purchase, purchases that are counted.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
SHIPPED = ("run.py", "base_run.py", "submission.toml", "strategies", "models")
STAND_IN = '''
import csv
import os
import sys
import time
import numpy as np
from PIL import Image


class PlainDataset:
    """`__len__` and `__getitem__`, nothing else to lean on."""

    def __init__(self, folder, labelled):
        with open(f"{folder}/labels.csv", newline="") as file:
            self.rows = list(csv.reader(file))[1:]
        self.folder, self.labelled = folder, labelled

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        name, *label = self.rows[i]
        image = np.asarray(Image.open(f"{self.folder}/images/{name}"))
        label = np.array([int(value) for value in label])
        return {"idx": i, "image": image, "label": label if self.labelled else None}


class Pool(PlainDataset):
    def __init__(self, folder, budget):
        super().__init__(folder, labelled=False)
        self.budget, self.bought = budget, set()

    def purchase_label(self, idx):
        if idx not in self.bought:
            if len(self.bought) == self.budget:
                raise RuntimeError("out of budget")
            self.bought.add(idx)
        return np.array([int(value) for value in self.rows[idx][1:]])


def evaluate(root, budget, seconds, spelling):
    from run import ZEWDPCBaseRun

    training = PlainDataset(f"{root}/training", labelled=True)
    pool = Pool(f"{root}/unlabelled", budget)
    test = PlainDataset(f"{root}/validation", labelled=False)
    run = ZEWDPCBaseRun()
    started = time.time()
    quiet = lambda progress: None
    if spelling == "page":
        run.pre_training_phase(training, time_available=seconds, register_progress=quiet)
        left = seconds - (time.time() - started)
        returned = run.purchase_phase(
            pool, training, budget=budget, time_available=left, register_progress=quiet
        )
    elif spelling == "kit":
        run.pre_training_phase(training, compute_budget=seconds, register_progress=quiet)
        left = seconds - (time.time() - started)
        returned = run.purchase_phase(
            pool, training, purchase_budget=budget, compute_budget=left, register_progress=quiet
        )
    else:
        run.pre_training_phase(training, seconds, quiet)
        left = seconds - (time.time() - started)
        returned = run.purchase_phase(pool, training, budget, left, quiet)
    spent = time.time() - started
    predictions = run.prediction_phase(test, register_progress=quiet)
    assert spent < seconds, f"{spent} s of {seconds} s"
    assert len(pool.bought) == budget and set(returned) == pool.bought
    assert predictions.shape == (len(test), 3) and set(np.unique(predictions)) <= {0, 1}
    print("bought", len(pool.bought))


if __name__ == "__main__":
    assert not os.path.exists("evaluator")
    evaluate(sys.argv[1], budget=7, seconds=40, spelling=sys.argv[2])
'''


@pytest.mark.slow
@pytest.mark.parametrize("spelling", ["page", "kit", "positional"])
def test_runs_with_our_evaluator_deleted(spelling: str, squares: Path, tmp_path: Path) -> None:
    for name in SHIPPED:
        source = HOUSE / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, tmp_path / name, ignore=ignore)
        else:
            shutil.copy(source, tmp_path / name)
    (tmp_path / "their_evaluator.py").write_text(STAND_IN)
    done = subprocess.run(
        [sys.executable, "their_evaluator.py", str(squares), spelling],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bought 7" in done.stdout
