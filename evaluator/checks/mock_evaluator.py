"""A mock of the organisers' evaluator, written from what the challenge's pages say.

`python -m evaluator package` puts this file, alone, in the place of `evaluator/`, and runs it in
the submission's folder: plain data sets, purchases that are counted, a clock over pre-training and
purchase. So it imports nothing of our evaluator, and its exit code says whether all went well.
"""

import argparse
import csv
import importlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


class PlainDataset:
    """`__len__` and `__getitem__`, nothing else to lean on."""

    def __init__(self, folder: Path, labelled: bool) -> None:
        with (folder / "labels.csv").open(newline="", encoding="utf-8-sig") as file:
            header, *self.rows = list(csv.reader(file))
        self.folder, self.labelled, self.n_classes = folder, labelled, len(header) - 1

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        image = np.asarray(Image.open(self.folder / "images" / self.rows[i][0]))
        return {"idx": i, "image": image, "label": self.label(i) if self.labelled else None}

    def label(self, i: int) -> np.ndarray:
        return np.array([int(value) for value in self.rows[i][1:]])


class UnlabelledPool(PlainDataset):
    """Images whose labels are sold, one unit of budget each."""

    def __init__(self, folder: Path, budget: int) -> None:
        super().__init__(folder, labelled=False)
        self.budget = budget
        self.bought: set[int] = set()

    def purchase_label(self, idx: int) -> np.ndarray:
        if idx not in self.bought:
            if len(self.bought) == self.budget:
                raise RuntimeError(f"all {self.budget} labels of the budget are bought")
            self.bought.add(idx)
        return self.label(idx)


def evaluate(root: Path, budget: int, seconds: float, arg_names: str) -> None:
    """The three phases, their arguments spelled as the challenge's page or its kit does.

    Ends the process with a message where the contract is not kept.
    """
    # The organisers do `from run import ZEWDPCBaseRun`. That would be an import across the wall.
    run = importlib.import_module("run").ZEWDPCBaseRun()
    training = PlainDataset(root / "training", labelled=True)
    pool = UnlabelledPool(root / "unlabelled", budget)
    test = PlainDataset(root / "validation", labelled=False)
    started = time.time()
    if arg_names == "page":
        run.pre_training_phase(training, time_available=seconds, register_progress=_quiet)
        left = seconds - (time.time() - started)
        returned = run.purchase_phase(
            pool, training, budget=budget, time_available=left, register_progress=_quiet
        )
    else:
        run.pre_training_phase(training, compute_budget=seconds, register_progress=_quiet)
        left = seconds - (time.time() - started)
        returned = run.purchase_phase(
            pool, training, purchase_budget=budget, compute_budget=left, register_progress=_quiet
        )
    spent = time.time() - started
    predictions = np.asarray(run.prediction_phase(test, register_progress=_quiet))

    _expect(spent < seconds, f"{spent:.1f} s were used of {seconds:g} s")
    _expect(isinstance(returned, dict), f"purchase_phase returned {type(returned)}, not a dict")
    _expect(set(returned) == pool.bought, "the returned dict is not of the labels bought")
    wanted = (len(test), test.n_classes)
    _expect(predictions.shape == wanted, f"predictions of {predictions.shape}, not {wanted}")
    _expect(bool(np.isin(predictions, (0, 1)).all()), "predictions that are neither 0 nor 1")
    print(f"mock evaluator: bought {len(pool.bought)} of {budget} labels in {spent:.1f} s")


def _quiet(progress: float) -> None:
    """A `register_progress` that does nothing."""


def _expect(kept: bool, otherwise: str) -> None:
    if not kept:
        sys.exit(otherwise)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--budget", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--arg_names", choices=("page", "kit"), default="page")
    flags = parser.parse_args()
    evaluate(flags.data, flags.budget, flags.seconds, flags.arg_names)


if __name__ == "__main__":
    main()
