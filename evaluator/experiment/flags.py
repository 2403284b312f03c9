"""The flags of `local_evaluation.py`."""

import argparse
from pathlib import Path
from typing import get_args

from evaluator.arguments import count
from evaluator.experiment.plan import ANOTHER_TRAINING, POOL
from evaluator.experiment.t4_scaling import FILE
from evaluator.records.trial import REFERENCES, REMOVED_REFERENCE
from evaluator.synthetic import RECIPES
from evaluator.training.pipelines import PIPELINES
from evaluator.training.trainer import Steps
from evaluator.worker.in_process import RUNNERS

EPILOG = """examples:
  python local_evaluation.py --recipe demo --pipeline quick --strategy random entropy \\
      --pairs 200:1 --seeds 2
  python local_evaluation.py --data data/zew --strategy entropy --pairs 621:17 1889:51 --seeds 5
  python local_evaluation.py --submission ../other/run.py --pairs public

Every run is journalled in --out; the same command again goes on where it stopped."""


def parser() -> argparse.ArgumentParser:
    """Every flag of the command line."""
    p = argparse.ArgumentParser(
        prog="local_evaluation.py",
        description="Let a submission buy labels, train the judge's pipeline on what it bought, "
        "and rank the strategies.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = p.add_argument_group("what is judged")
    what.add_argument("--submission", type=Path, default=Path("run.py"), metavar="RUN_PY")
    what.add_argument(
        "--strategy",
        nargs="+",
        metavar="NAME",
        help="strategies to compare (default: what the submission is set to); parameters after a "
        'colon: "entropy:rounds=3"',
    )
    what.add_argument(
        "--baseline",
        metavar="NAME",
        help="the strategy that the others are compared with, seed by seed (random, else the "
        "first)",
    )
    what.add_argument(
        "--runner",
        choices=RUNNERS,
        default="subprocess",
        help="how the submission runs (docs/isolation.md): in a process of its own (default), in a "
        "bubblewrap sandbox, or in this process (local), for breakpoint() and print",
    )
    what.add_argument(
        "--isolate",
        dest="runner",
        action="store_const",
        const="bubblewrap",
        help="the same as --runner bubblewrap",
    )
    what.add_argument("--list", action="store_true", help="list the submission's strategies")
    data = p.add_argument_group("on what")
    source = data.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, metavar="DIR", help="a data set's folder")
    source.add_argument("--recipe", choices=RECIPES, help="generated synthetic images")
    data.add_argument("--workers", type=count, metavar="N", help="threads that decode images")
    grid = p.add_argument_group("how often")
    grid.add_argument("--round", type=int, choices=(1, 2), default=2, help="the challenge's rules")
    grid.add_argument(
        "--pairs",
        nargs="+",
        metavar="B:M",
        help="budgets as LABELS:MINUTES, `public` (default), or `random:N[:SEED]`",
    )
    grid.add_argument(
        "--scale-to-data",
        action="store_true",
        help=f"cut budgets by pool / {POOL:,}, as a pool smaller than the challenge's is",
    )
    grid.add_argument(
        "--hardware",
        choices=("native", "t4"),
        default="native",
        help="hardware that the minutes refer to: this machine (native), or a T4, scaled to the "
        "same work here by what `python -m evaluator calibrate` measured",
    )
    grid.add_argument(
        "--calibration", type=Path, default=FILE, metavar="FILE", help=f"for --hardware ({FILE})"
    )
    grid.add_argument("--seeds", type=count, default=1, metavar="N", help="purchase seeds (1)")
    grid.add_argument(
        "--first-seed",
        type=_seed,
        default=0,
        metavar="N",
        help="of them (0): other machines can make other seeds, and `report` joins them",
    )
    grid.add_argument(
        "--training-seeds", type=count, default=1, metavar="M", help="per purchase (1)"
    )
    grid.add_argument(
        "--reference-seeds", type=count, default=1, metavar="N", help="of the row `all` (1)"
    )
    grid.add_argument(
        "--references",
        nargs="*",
        type=_reference,
        choices=REFERENCES,
        default=REFERENCES,
        metavar="ROW",
        help="rows the judge adds: none (nothing bought), all (every label); default: both",
    )
    score = p.add_argument_group("scored how")
    score.add_argument(
        "--pipeline",
        nargs="+",
        metavar="NAME",
        help=f"{', '.join(PIPELINES)}; `all` for the five that follow the challenge, `all-lite` "
        "for five that need no GPU (default: organiser on a GPU, quick without); settings after "
        'a colon: "organiser:epochs=20,learning_rate=0.003"',
    )
    score.add_argument(
        "--weights",
        default="imagenet",
        metavar="W",
        help="what pretrained pipelines start from: imagenet (default), none, or a file",
    )
    score.add_argument("--device", help="where the judge trains, e.g. cpu or cuda:0")
    score.add_argument(
        "--steps",
        type=_steps,
        choices=get_args(Steps),
        default="eager",
        help="of a training: eager (default), or compiled by torch.compile, which is slow to start "
        "and whose scores are not mixed with others",
    )
    score.add_argument(
        "--memory", type=_gibibytes, default=16.0, metavar="GIB", help="of a submission (16)"
    )
    score.add_argument(
        "--gpu-memory",
        type=_gigabytes,
        default=16.0,
        metavar="GB",
        help="that a submission has of each GPU, as of the platform's T4 (16)",
    )
    out = p.add_argument_group("where, and where to")
    out.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="trials one by one here, or side by side on a Ray cluster (docs/cluster.md)",
    )
    out.add_argument("--ray-address", metavar="A", help="of a running cluster; `auto` finds one")
    out.add_argument(
        "--cpus-per-trial", type=count, default=4, metavar="N", help="with --engine ray (4)"
    )
    out.add_argument(
        "--gpus-per-trial",
        type=_share,
        default=0.0,
        metavar="X",
        help="with --engine ray; 0.5 puts two trials on one GPU (0)",
    )
    out.add_argument("--out", type=Path, metavar="DIR", help="journals and logs (results/DATA)")
    out.add_argument("--json", action="store_true", help="print the leaderboard as JSON")
    out.add_argument("--quiet", action="store_true", help="no progress bars")
    out.add_argument("--plan", action="store_true", help="show plan and estimate, then stop")
    return p


def _gibibytes(text: str) -> float:
    return _size(text, "GiB")


def _gigabytes(text: str) -> float:
    return _size(text, "GB")


def _size(text: str, unit: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} above 0")
    return number


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf") or (number > 1 and number % 1):
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 to 1 and no whole number")
    return number


def _steps(text: str) -> str:
    if text == "recorded":
        raise argparse.ArgumentTypeError(
            "recorded steps (CUDA graphs) were removed (docs/benchmarks.md). Leave --steps out: "
            "eager steps learn the same."
        )
    return "eager" if text == "launched" else text  # what it was called beside recorded steps


def _reference(text: str) -> str:
    if text == REMOVED_REFERENCE:
        raise argparse.ArgumentTypeError(
            f"the row {text} was removed: with every label known it bought what the strategy "
            f"entropy buys (docs/results.md). Use {' or '.join(REFERENCES)}, or --strategy entropy."
        )
    return text


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= ANOTHER_TRAINING:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number from 0 to {ANOTHER_TRAINING - 1}"
        )
    return int(text)
