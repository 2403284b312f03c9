"""Strategies against each other on kept features: hundreds of purchases and trainings an hour.

    python benchmarks/strategies.py data/pcb_boards --strategy random entropy --budgets 621 \\
        --seeds 20 --pipeline all-lite --workers 2 --out results/laboratory
    python benchmarks/strategies.py --table results/laboratory

Purchases are made by the submission's own session and strategies and scored by the evaluator's own
trainer; left out are the processes between them, the clock, and, with `--learner frozen`, reading
images: the buyer gets the features that a frozen learner would compute from them, out of the
evaluator's bank. With time to spare the submission buys the same images
(tests/test_laboratory.py). Other learners are trained on the images, which takes minutes. Trials
with the same seed are paired. What is finished is kept in `--out` and not done again.
"""

import argparse
import itertools
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.tables import hardware, print_table
from core.random_streams import stream
from evaluator.analysis.statistics import paired_test
from evaluator.data.dataset import ZEWDPCBaseDataset, open_splits
from evaluator.records.journal import Journal, Record, read_records
from evaluator.training.frozen import PREDICTION_VIEW
from evaluator.training.pipelines import PIPELINE_GROUPS, Pipeline, parse_pipeline
from evaluator.training.scoring import Scorer
from evaluator.worker.vault import LabelVault
from models.frozen_learner import FrozenLearner
from models.image_bank import Clock
from models.kinds import build_learner
from models.settings import FROZEN, LearnerSettings
from strategies.acquisition_loop import AcquisitionLoop
from strategies.label_budget import LabelBudget
from strategies.planner import PlannerSettings
from strategies.registry import parse_strategy
from strategies.session import Session

KEY = ("data", "learner", "strategy", "labelled", "budget", "seed")
ROW_BYTES = 3  # of a picture of one pixel
NOTHING, EVERYTHING = "none", "all"  # rows without a choice: no label bought, and the whole pool


@dataclass(frozen=True)
class Trial:
    """One purchase: so many labelled images to begin with, and so many labels to buy.

    learner : a `backbone` of `LearnerSettings`.
    """

    learner: str
    strategy: str
    labelled: int
    budget: int
    seed: int


class RowImages:
    """Pictures of one pixel, whose three bytes say which row of the kept features they are.

    rows : (n,). labels : (n, C), or None where labels are bought.
    """

    def __init__(self, rows: np.ndarray, labels: np.ndarray | None = None) -> None:
        self.rows, self.labels = rows, labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> dict[str, Any]:
        row = int(self.rows[position]).to_bytes(ROW_BYTES, "little")
        label = None if self.labels is None else self.labels[position]
        image = np.frombuffer(row, np.uint8).reshape(1, 1, ROW_BYTES)
        return {"idx": position, "image": image, "label": label}


class Shop:
    """What sells labels, as the data set of the contract does."""

    def __init__(self, labels: np.ndarray, budget: int) -> None:
        self.vault = LabelVault(labels, budget)
        self.vault.open = True

    def purchase_label(self, idx: int, /) -> Any:
        return self.vault.purchase(idx)


class KeptFeatures(FrozenLearner):
    """A frozen learner that gets `RowImages`, and looks their features up."""

    def __init__(
        self, features: Tensor, settings: LearnerSettings, seed: int, clock: Clock
    ) -> None:
        super().__init__(settings, seed, clock)
        self._features = features

    def encode(self, images: Tensor) -> Tensor:
        """Rows of the kept features (N, D), for images (N, 3, 1, 1)."""
        low, middle, high = images.flatten(1).long().unbind(1)
        return self._features[low + (middle << 8) + (high << 16)]


class Laboratory:
    """One data set with its kept features, in one process."""

    def __init__(self, root: str) -> None:
        self.splits = open_splits(root, progress=False)
        self.scorer = Scorer(self.splits, weights="imagenet", device="cpu")
        network, parts = parse_pipeline("lite"), (self.splits.training, self.splits.unlabelled)
        kept = [self.scorer.features(part, network, [PREDICTION_VIEW]) for part in parts]
        self.features = torch.cat([features for (features,) in kept])

    def run(
        self, trial: Trial, pipelines: Sequence[str], bought: list[int] | None = None
    ) -> tuple[Record | None, list[Record]]:
        """The record of the purchase, and one for each of the `pipelines` that scores it.

        With what was `bought` before, nothing is bought.
        """
        purchase, rows = None, self.labelled_rows(trial)
        if bought is None:
            started = time.process_time()
            bought = self.purchase(trial, rows)
            labels = self.splits.unlabelled.labels[bought]
            purchase = {
                "data": self.splits.name,
                **vars(trial),
                "purchased": bought,
                "with_a_positive": float(labels.any(1).mean()) if bought else 0.0,
                "positives": labels.sum(0).tolist(),
                "cpu_seconds": round(time.process_time() - started, 3),
            }
        return purchase, [self.score(trial, rows, bought, parse_pipeline(n)) for n in pipelines]

    def labelled_rows(self, trial: Trial) -> np.ndarray:
        """The rows of the training set that are there to begin with, drawn by the seed."""
        n = len(self.splits.training)
        if trial.labelled >= n:
            return np.arange(n)
        drawn = torch.randperm(n, generator=stream(trial.seed, "laboratory/labelled"))
        return np.sort(drawn[: trial.labelled].numpy())

    def purchase(self, trial: Trial, rows: np.ndarray) -> list[int]:
        """What the strategy buys, in order."""
        pool = self.splits.unlabelled
        if trial.strategy == NOTHING:
            return []
        if trial.strategy == EVERYTHING:
            return list(range(len(pool)))
        shop, n = Shop(pool.labels, trial.budget), len(self.splits.training)
        planner, strategy = PlannerSettings(), parse_strategy(trial.strategy)
        frozen = trial.learner == FROZEN
        labels = self.splits.training.labels[rows]
        session = Session.open(
            RowImages(rows, labels) if frozen else self.training(rows),
            RowImages(n + np.arange(len(pool))) if frozen else pool,
            LearnerSettings(device="cpu", backbone=trial.learner, threads=1),
            strategy,
            trial.seed,
            on_event=lambda event: None,
            new_learner=partial(KeptFeatures, self.features) if frozen else build_learner,
        )
        if strategy.looks:
            session.fit(planner.epochs)
            session.read_pool()
        AcquisitionLoop(
            session, LabelBudget(shop, trial.budget), planner, safe_end=float("inf")
        ).run()
        return list(shop.vault.purchased)

    def training(self, rows: np.ndarray) -> ZEWDPCBaseDataset:
        """These images of the training set."""
        whole = self.splits.training
        return ZEWDPCBaseDataset(whole.images, whole.labels[rows], whole.class_names, rows)

    def score(
        self, trial: Trial, rows: np.ndarray, bought: list[int], pipeline: Pipeline
    ) -> Record:
        """The score of a purchase under one pipeline, trained from the trial's seed."""
        started = time.process_time()
        self.scorer.splits = replace(self.splits, training=self.training(rows))
        record = self.scorer.score("", bought, pipeline, trial.seed)
        return {
            "data": self.splits.name,
            **vars(trial),
            "pipeline": pipeline.name,
            "macro_f1": record.macro_f1,
            "f1_per_class": dict(record.f1_per_class),
            "cpu_seconds": round(time.process_time() - started, 3),
        }


_laboratory: Laboratory  # of a worker process


def _open(root: str) -> None:
    global _laboratory  # noqa: PLW0603
    torch.set_num_threads(1)
    _laboratory = Laboratory(root)


def _run(*given: Any) -> tuple[Record | None, list[Record]]:
    return _laboratory.run(*given)


def trials(flags: argparse.Namespace) -> Iterator[Trial]:
    """Seed by seed, so that what is finished is comparable at any time."""
    for seed, labelled in itertools.product(
        range(flags.first_seed, flags.first_seed + flags.seeds), flags.labelled
    ):
        for strategy in flags.strategy:
            for budget in [0] if strategy in (NOTHING, EVERYTHING) else flags.budgets:
                yield Trial(flags.learner, strategy, labelled, budget, seed)


def measure(flags: argparse.Namespace) -> None:
    """Run what is not in the journals of `--out` yet."""
    names = [one for name in flags.pipeline for one in PIPELINE_GROUPS.get(name, (name,))]
    purchases = Journal(flags.out / "purchases.jsonl", KEY)
    scores = Journal(flags.out / "scores.jsonl", (*KEY, "pipeline"))
    data = Path(flags.data).resolve().name
    wanted = []
    for trial in trials(flags):
        key = (data, *vars(trial).values())
        if missing := [name for name in names if scores.last(*key, name) is None]:
            bought = (purchases.last(*key) or {}).get("purchased")
            wanted.append((trial, missing, bought))
    print(f"{len(wanted)} trials; {hardware('cpu')}", flush=True)
    started = time.monotonic()
    with ProcessPoolExecutor(
        flags.workers,
        multiprocessing.get_context("spawn"),
        initializer=_open,
        initargs=(flags.data,),
    ) as pool:
        for future in as_completed([pool.submit(_run, *one) for one in wanted]):
            purchase, found = future.result()
            if purchase is not None:
                purchases.append(purchase)
            for record in found:
                scores.append(record)
    print(f"{len(wanted)} trials took {time.monotonic() - started:.0f} s", flush=True)


def table(folder: Path) -> None:
    """Means and paired gains over random labels, by pipeline; one table for each budget."""
    frame = pd.DataFrame(read_records(folder / "scores.jsonl"))
    frame = frame.drop_duplicates(subset=[*KEY, "pipeline"], keep="last")
    fixed = frame[frame.strategy.isin([NOTHING, EVERYTHING])]
    for (data, learner, labelled, budget), found in frame.drop(fixed.index).groupby(
        ["data", "learner", "labelled", "budget"]
    ):
        rows, means = [], {}
        beside = fixed[(fixed.data == data) & (fixed.labelled == labelled)]
        names = list(dict.fromkeys(found.pipeline))
        for strategy, own in pd.concat([found, beside]).groupby("strategy", sort=False):
            cells, by_pipeline = [], []
            for name in names:
                ours = own[own.pipeline == name].set_index("seed").macro_f1
                theirs = found[(found.pipeline == name) & (found.strategy == "random")]
                cell, mean = _cell(ours, theirs.set_index("seed").macro_f1)
                cells.append(cell)
                by_pipeline.append(mean)
            means[str(strategy)] = by_pipeline
            rows.append([f"`{strategy}`", *cells, f"{own.seed.nunique()}"])
        about = f"{data}, {labelled} labelled, {budget} bought by a learner {learner!r}"
        print(f"\n{about}: macro-F1 in points (less `random`, paired, and its 95 % interval)")
        print_table(["strategy", *names, "n"], rows)
        compared = [mean for name, mean in means.items() if name not in (NOTHING, EVERYTHING)]
        if len(compared) > 2:
            agreement = pd.DataFrame(compared, columns=names).corr(method="kendall")
            pairs = itertools.combinations(names, 2)
            taus = ", ".join(f"{a} and {b} {agreement.loc[a, b]:.2f}" for a, b in pairs)
            print(f"Rank agreement between pipelines (Kendall's tau): {taus}")


def _cell(ours: "pd.Series[float]", theirs: "pd.Series[float]") -> tuple[str, float]:
    """Mean, and gain over random labels with its 95 % interval, in points."""
    ours = ours.dropna()
    common = ours.index.intersection(theirs.dropna().index)
    mean = f"{100 * ours.mean():.1f}"
    if ours.equals(theirs) or len(common) < 2:
        spread = f" (sd {100 * statistics.stdev(ours):.1f})" if len(ours) > 1 else ""
        return mean + spread, float(ours.mean())
    test = paired_test(ours[common], theirs[common])
    low, high = test.interval or (float("nan"), float("nan"))
    return (
        f"{mean} ({100 * test.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}])",
        float(ours.mean()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", help="a data set in the challenge's layout")
    parser.add_argument("--strategy", nargs="+", default=["none", "random", "entropy", "all"])
    parser.add_argument("--learner", default=FROZEN, help="a backbone of submission.toml")
    parser.add_argument("--budgets", nargs="+", type=int, default=[621])
    parser.add_argument("--labelled", nargs="+", type=int, default=[1000])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--pipeline", nargs="+", default=["all-lite"])
    parser.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=Path("results/laboratory"))
    parser.add_argument("--table", type=Path, help="print the tables of a finished folder")
    flags = parser.parse_args()
    if flags.table:
        table(flags.table)
    elif flags.data:
        measure(flags)
        table(flags.out)
    else:
        parser.error("name a data set, or --table FOLDER")


if __name__ == "__main__":
    main()
