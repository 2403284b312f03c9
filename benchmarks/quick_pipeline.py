"""What `quick` scores and costs: training set alone, with random labels added, and with all.

    python benchmarks/quick_pipeline.py --data data/pcb_boards --seeds 5

Each seed draws its own purchase and its own training; every pixel and label of the held-out split
is only ever predicted. Finished runs are kept in `--out` and not repeated, so the command can be
stopped and started again.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluator.datasets.dataset import Splits, open_splits
from evaluator.randomness import stream
from evaluator.training.metrics import score
from evaluator.training.pipelines import PIPELINES, Pipeline
from evaluator.training.trainer import ZEWDPCTrainer, resize_images

Run = dict[str, object]


def main() -> None:
    """Parse the flags, run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/pcb_boards"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--all-seeds", type=int, help="seeds for all labels; --seeds by default")
    parser.add_argument("--bought", type=int, nargs="+", default=[0, 621, 2000])
    parser.add_argument("--pipeline", default="quick", choices=sorted(PIPELINES))
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--out", type=Path, default=Path("quick_pipeline.jsonl"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    pipeline = PIPELINES[flags.pipeline]
    splits = open_splits(flags.data)
    every_label = len(splits.unlabelled)
    wanted = [(bought, seed) for bought in flags.bought for seed in range(flags.seeds)]
    all_seeds = flags.seeds if flags.all_seeds is None else flags.all_seeds
    wanted += [(every_label, seed) for seed in range(all_seeds)]
    done = list(finished(flags.out, pipeline, splits))
    missing = [run for run in wanted if run not in [(d["bought"], d["seed"]) for d in done]]
    if missing:
        images = [
            resize_images(part.images, pipeline.size)
            for part in (splits.training, splits.unlabelled, splits.validation)
        ]
        for bought, seed in missing:
            run = measure(splits, images, pipeline, flags.weights, bought, seed)
            done.append(run)
            with flags.out.open("a") as journal:
                journal.write(json.dumps(run) + "\n")
            print(f"bought {bought}, seed {seed}: {run['macro_f1']:.4f}", file=sys.stderr)
    print_table([d for d in done if (d["bought"], d["seed"]) in wanted], pipeline, splits)


def finished(out: Path, pipeline: Pipeline, splits: Splits) -> Iterator[Run]:
    """Runs of this pipeline on this data that an earlier call finished."""
    if out.exists():
        for line in out.read_text().splitlines():
            run: Run = json.loads(line)
            if run["of"] == setting(pipeline, splits):
                yield run


def setting(pipeline: Pipeline, splits: Splits) -> list[object]:
    """What makes two runs comparable."""
    return [pipeline.fingerprint(), splits.fingerprint, torch.get_num_threads(), processor()]


def measure(
    splits: Splits,
    images: list[torch.Tensor],
    pipeline: Pipeline,
    weights: str,
    bought: int,
    seed: int,
) -> Run:
    """Train on the training set and `bought` random labels; score the held-out split."""
    training, pool, held_out = images
    shuffled = torch.randperm(len(pool), generator=stream(seed, "benchmark random purchase"))
    rows = shuffled[:bought].sort().values
    started = time.perf_counter()
    trainer = ZEWDPCTrainer(pipeline, splits.class_names, seed=seed, weights=weights)
    trainer.fit(
        torch.cat([training, pool[rows]]),
        np.concatenate([splits.training.labels, splits.unlabelled.labels[rows.numpy()]]),
    )
    fitted = time.perf_counter()
    scores = score(splits.validation.labels, trainer.predict(held_out), splits.class_names)
    return {
        "of": setting(pipeline, splits),
        "bought": bought,
        "seed": seed,
        "macro_f1": scores.macro_f1,
        "accuracy": scores.accuracy,
        "f1_per_class": scores.f1_per_class,
        "seconds": {"fit": fitted - started, "predict": time.perf_counter() - fitted},
    }


def print_table(runs: list[Run], pipeline: Pipeline, splits: Splits) -> None:
    """One row per purchase size: mean and sample deviation over the seeds."""
    print(
        f"Pipeline {pipeline.name} ({pipeline.fingerprint()}) on {splits.name}: "
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}\n"
    )
    print("| labels bought at random | images trained on | n | macro-F1 | sd | lowest | highest |"
          " exact match | fit, s | predict, s |")  # fmt: skip
    print("|-:|-:|-:|-:|-:|-:|-:|-:|-:|-:|")
    for bought in sorted({int(str(run["bought"])) for run in runs}):
        row = [run for run in runs if run["bought"] == bought]
        f1 = np.array([run["macro_f1"] for run in row], dtype=float)
        exact = np.array([run["accuracy"] for run in row], dtype=float)
        seconds = [run["seconds"] for run in row]
        fit, predict = (
            np.array([part[key] for part in seconds if isinstance(part, dict)], dtype=float)
            for key in ("fit", "predict")
        )
        sd = f"{f1.std(ddof=1):.3f}" if len(f1) > 1 else "–"
        print(
            f"| {bought:,} | {len(splits.training) + bought:,} | {len(row)} | {f1.mean():.3f} | "
            f"{sd} | {f1.min():.3f} | {f1.max():.3f} | {exact.mean():.3f} | {fit.mean():.0f} | "
            f"{predict.mean():.1f} |"
        )


def processor() -> str:
    """The processor's name where the system tells it."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
