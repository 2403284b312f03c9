"""Where the time of a purchase goes, and how near looking at the pool comes to its limit.

    python benchmarks/purchase.py --quick                  # minutes on two cores
    python benchmarks/purchase.py --data data/pcb_boards   # the challenge's budgets on real images

Runs the submission as it is, and listens to its events; an activity's seconds are its own, without
those of activities it started. One table, a row for each strategy and budget:

start-up         a worker process of the evaluator's, from its start to the first phase
decode           images of the training set and of the pool into memory, at the learner's size
pre-training     the first fit, and measuring this machine's speed before it
pool inference   the learner's look at the pool; one pass gives probabilities and embeddings
embedding        inference on what is labelled, for strategies that ask for its embeddings
selection        the strategy's choice
retraining       every later fit
rest             planning, buying, copying

and the epochs of every fit, which show the plan that was made.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

import run
from benchmarks.tables import hardware, print_table
from core.precision import autocast
from evaluator.data.dataset import (
    Splits,
    ZEWDPCBaseDataset,
    ZEWDPCProtectedDataset,
    open_splits,
)
from evaluator.records.trial import Pair
from evaluator.synthetic import RECIPES, generate
from evaluator.worker.runner import SubprocessRunner, TrialInputs
from evaluator.worker.vault import LabelVault
from models.image_bank import ImageBank
from models.member import INFERENCE_BATCHES
from models.network_learner import NetworkLearner
from models.networks import SMALL, TIMM_DEFAULT
from models.settings import DTYPES
from strategies.events import Event

PHASES = ("decode", "pre-training", "pool inference", "embedding", "selection", "retraining")
GOALS = "goals: start-up under 8 s, selection under 5 %, pool inference at least 90 % of its limit"
SAMPLE = 2048  # images of the pool looked at for the comparison with the limit
TURNS = 5
QUICK = {"size": 64, "images": 2000, "labels": [124], "minutes": 2.0}


class Listener:
    """Adds up the seconds of a purchase by activity, as its events tell them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.epochs: list[float] = []  # of every fit
        self._labelled_seconds = 0.0  # of inference that the next choice asked for

    def __call__(self, event: Event) -> None:
        facts = event.facts
        if event.name == "read":
            self.seconds["decode"] += facts["images"] * facts["read"]
            self.seconds["pre-training"] += facts["seconds"]
        elif event.name == "pool":
            self.seconds["decode"] += facts["seconds"]
        elif event.name == "fit":
            phase = "retraining" if "pool inference" in self.seconds else "pre-training"
            self.seconds[phase] += facts["seconds"]
            self.epochs.append(facts["epochs"])
        elif event.name == "look":
            self.seconds["pool inference"] += facts["seconds"]
        elif event.name == "look_at_labelled":
            self.seconds["embedding"] += facts["seconds"]
            self._labelled_seconds += facts["seconds"]
        elif event.name == "choice":
            self.seconds["selection"] += facts["seconds"] - self._labelled_seconds
            self._labelled_seconds = 0.0


def purchase(
    splits: Splits, strategy: str, pair: Pair, device: str, folder: Path
) -> tuple[dict[str, float], str, NetworkLearner]:
    """Seconds by activity of one purchase, the whole included, the epochs of its fits, and the
    learner that made it."""
    vault = LabelVault(splits.unlabelled.labels, pair.budget)
    vault.open = True
    pool = ZEWDPCProtectedDataset(splits.unlabelled.images, splits.class_names, vault.purchase)
    config, listener = folder / "submission.toml", Listener()
    text = run.CONFIG.read_text()
    # What takes time to train; heads on frozen features take next to none.
    backbone = SMALL if device == "cpu" else TIMM_DEFAULT
    for setting, value in (("device", device), ("backbone", backbone)):
        text = text.replace(f'{setting} = "auto"', f'{setting} = "{value}"')
    config.write_text(text)
    learners: list[NetworkLearner] = []

    def new_learner(*arguments: Any) -> NetworkLearner:
        learners.append(NetworkLearner(*arguments))
        return learners[-1]

    submission = run.ZEWDPCRun(strategy, config=config, on_event=listener, new_learner=new_learner)
    started = time.perf_counter()
    submission.pre_training_phase(splits.training, pair.minutes * 60)
    left = pair.minutes * 60 - (time.perf_counter() - started)
    submission.purchase_phase(pool, splits.training, pair.budget, left)
    whole = time.perf_counter() - started
    if len(vault.purchased) != pair.budget:
        raise RuntimeError(f"{strategy} bought {len(vault.purchased)} of {pair.budget} labels.")
    (learner,) = learners
    looks = submission.config.strategy.looks
    if (looks and "pool inference" not in listener.seconds) or not learner.members_:
        raise RuntimeError(
            f"{strategy} found no time to learn and to look in {pair.minutes:g} minutes here; give "
            "more --minutes."
        )
    epochs = ", ".join(f"{epochs:.4g}" for epochs in listener.epochs)
    return {**listener.seconds, "whole": whole}, epochs, learner


class StartedError(Exception):
    """The submission has begun its first phase; what comes after is not wanted."""


def start_up(splits: Splits, strategy: str) -> float:
    """Seconds from starting the child process to the first line of its first phase."""

    def stop(*_: object) -> None:
        raise StartedError

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with contextlib.suppress(StartedError):
            trial = TrialInputs(
                splits,
                Pair(1, 1),
                LabelVault(splits.unlabelled.labels, 1),
                Path(folder) / "log",
                arguments={"strategy": strategy, "seed": 0},
                progress=stop,
            )
            outcome = SubprocessRunner().run(Path(run.__file__), trial)
            raise RuntimeError(f"the child did not get so far: {outcome.reason}")
        return time.perf_counter() - started


def share_of_limit(learner: NetworkLearner, images: Tensor) -> tuple[float, float]:
    """Images per second of a look at uint8 `images` (N, 3, S, S), and its share of the limit.

    The limit: every member of the learner, in its own precision, over and over on one batch that
    lies on the device. The two take turns; medians.
    """
    device, dtype = learner.resolved.device, DTYPES[learner.resolved.precision]
    n = min(INFERENCE_BATCHES * learner.batch_size_, len(images))
    batch = images[:n].to(device).contiguous(memory_format=torch.channels_last)
    batches = max(1, len(images) // n)

    def limit() -> float:
        with torch.inference_mode(), autocast(device, dtype):
            for member in learner.members_:
                member.network.eval()
                for _ in range(batches):
                    member.network(batch)
        return batches * n

    def look() -> float:
        learner.infer(images)
        return len(images)

    turns: list[list[float]] = []
    for _ in range(TURNS + 1):
        speeds = []
        for work in (look, limit):
            started = time.perf_counter()
            done = work()
            learner.synchronise()
            speeds.append(done / (time.perf_counter() - started))
        turns.append(speeds)
    kept = turns[1:]  # the first warms up
    return (
        statistics.median(look for look, _ in kept),
        statistics.median(look / limit for look, limit in kept),
    )


def row(splits: Splits, strategy: str, pair: Pair, device: str) -> list[str]:
    """One line of the table."""
    waited = start_up(splits, strategy)
    with tempfile.TemporaryDirectory() as folder:
        seconds, epochs, learner = purchase(splits, strategy, pair, device, Path(folder))
    bank = ImageBank.from_dataset(
        splits.unlabelled,
        min(learner.resolved.image_size, splits.unlabelled.images.shape[1]),
        positions=range(min(SAMPLE, len(splits.unlabelled))),
    )
    speed, share = share_of_limit(learner, bank.images)
    whole = waited + seconds["whole"]
    parts = [waited, *(seconds.get(phase, 0.0) for phase in PHASES)]
    parts.append(whole - sum(parts))
    cells = [f"{part:.1f} s ({part / whole:.1%})" for part in parts]
    looked = [f"{speed:,.0f}/s", f"{share:.0%}"]
    return [f"`{strategy}`", f"{pair}", *cells, f"{whole:.0f} s", epochs, *looked]


def first(splits: Splits, images: int) -> Splits:
    """The data set with a pool of its first `images` images."""
    pool = splits.unlabelled
    if images >= len(pool):
        return splits
    cut = ZEWDPCBaseDataset(pool.images[:images], pool.labels[:images], pool.class_names)
    return replace(splits, unlabelled=cut)


def main() -> None:
    """Parse the flags, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--strategies", nargs="+", default=["entropy", "badge", "uherding"])
    parser.add_argument("--labels", type=int, nargs="+", default=[621, 1889])
    parser.add_argument("--minutes", type=float, default=17, help="compute budget")
    parser.add_argument("--data", type=Path, help="a data set (default: generated images)")
    parser.add_argument("--size", type=int, default=256, help="pixels of the generated images")
    parser.add_argument("--images", type=int, default=10_000, help="in the pool")
    parser.add_argument("--device", default="auto", help="of the learner")
    parser.add_argument("--quick", action="store_true", help="2,000 sheets of 64 px, 124 labels")
    if parser.parse_args().quick:
        parser.set_defaults(**QUICK)
    flags = parser.parse_args()
    device = None if flags.device == "auto" else flags.device
    with tempfile.TemporaryDirectory() as folder:
        root = flags.data
        if root is None:
            recipe = replace(RECIPES["round2"], unlabelled=flags.images, validation=100)
            root = generate(recipe, Path(folder) / "sheets", size=flags.size)
        splits = first(open_splits(root), flags.images)
        n, side = len(splits.unlabelled), splits.unlabelled.images.shape[1]
        print(
            f"{hardware(device)}; {splits.name}, {side} px, a pool of {n:,}; one run each; {GOALS}"
        )
        rows = []
        for labels in flags.labels:
            for strategy in flags.strategies:
                rows.append(row(splits, strategy, Pair(labels, flags.minutes), flags.device))
                print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
        header = ["strategy", "labels:minutes", "start-up", *PHASES, "rest", "whole", "epochs"]
        print_table([*header, "pool inference", "of its limit"], rows)


if __name__ == "__main__":
    main()
