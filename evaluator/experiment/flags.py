"""The flags of `local_evaluation.py`; `EvaluationConfig` is made of them."""

import argparse
from pathlib import Path
from typing import Any

from evaluator.experiment.plan import ANOTHER_TRAINING, POOL
from evaluator.experiment.t4_scaling import FILE
from evaluator.records.trial import REFERENCES, REMOVED_REFERENCE
from evaluator.synthetic import RECIPES
from evaluator.training.pipelines import PIPELINES
from evaluator.training.trainer import Steps
from shared.console import add_verbosity_flags, positive_int

RUNNERS = ("subprocess", "bubblewrap", "local")
EXECUTION: dict[str, Steps] = {"eager": "eager", "compile": "compiled"}  # as the trainer calls it
FORMER_EXECUTION = {"launched": "eager", "compiled": "compile"}  # as typed before
EPILOG = """examples:
  python local_evaluation.py --recipe demo --pipeline quick --strategy random entropy \\
      --pairs 200:1 --seeds 2
  python local_evaluation.py --data data/zew --strategy entropy --pairs 621:17 1889:51 --seeds 5
  python local_evaluation.py --submission mine/run.py theirs/run.py --pairs public
  python local_evaluation.py --submission run.py run.py@HEAD~1 --pairs 621:17

Every run is journalled in --out; the same command resumes where it stopped."""


def parser() -> argparse.ArgumentParser:
    """Every flag of the command line."""
    p = argparse.ArgumentParser(
        prog="local_evaluation.py",
        description="Let a submission buy labels, train a pipeline on what it bought, and rank "
        "the strategies.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    submission = p.add_argument_group("submission")
    submission.add_argument(
        "--submission",
        nargs="+",
        default=["run.py"],
        metavar="RUN_PY",
        help="run.py (default); several are compared in one table; PATH@REVISION is the code of a "
        "commit",
    )
    submission.add_argument(
        "--strategy",
        nargs="+",
        metavar="NAME",
        help="strategies to compare (default: the strategy in submission.toml); parameters after a "
        'colon: "entropy:rounds=3"',
    )
    submission.add_argument(
        "--baseline",
        metavar="NAME",
        help="the row that the others are compared with, seed by seed (random, else the first)",
    )
    submission.add_argument(
        "--runner",
        choices=RUNNERS,
        default="subprocess",
        help="how the submission runs (docs/isolation.md): in a process of its own (default), in a "
        "bubblewrap sandbox, or in this process (local), for breakpoint() and print",
    )
    submission.add_argument(
        "--isolate",
        dest="runner",
        action="store_const",
        const="bubblewrap",
        help="run the submission in a bubblewrap sandbox; the same as --runner bubblewrap",
    )
    submission.add_argument(
        "--memory", type=_size("GiB"), default=16.0, metavar="GIB", help="of a submission (16)"
    )
    submission.add_argument(
        "--gpu-memory",
        type=_size("GB"),
        default=16.0,
        metavar="GB",
        help="that a submission has of each GPU, as of the platform's T4 (16)",
    )
    submission.add_argument("--list", action="store_true", help="list the submission's strategies")

    data = p.add_argument_group("data")
    source = data.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, metavar="DIR", help="a data set's folder")
    source.add_argument(
        "--recipe", choices=RECIPES, help="a synthetic data set, generated where it is missing"
    )
    data.add_argument(
        "--workers", type=positive_int, metavar="N", help="threads that decode images"
    )

    budgets = p.add_argument_group("budgets and seeds")
    budgets.add_argument(
        "--round", type=int, choices=(1, 2), default=2, help="of the challenge, whose rules apply"
    )
    budgets.add_argument(
        "--pairs",
        nargs="+",
        metavar="B:M",
        help="budgets as LABELS:MINUTES, `public` (default), or `random:N[:SEED]`",
    )
    budgets.add_argument(
        "--scale-to-data",
        action="store_true",
        help=f"cut budgets by pool / {POOL:,} where the pool is smaller than the challenge's",
    )
    budgets.add_argument(
        "--hardware",
        choices=("native", "t4"),
        default="native",
        help="hardware that the minutes refer to: this machine (native), or a T4, scaled to the "
        "same work here by what `python -m evaluator calibrate` measured",
    )
    budgets.add_argument(
        "--calibration", type=Path, default=FILE, metavar="FILE", help=f"for --hardware ({FILE})"
    )
    budgets.add_argument(
        "--seeds", type=positive_int, default=1, metavar="N", help="purchase seeds (1)"
    )
    budgets.add_argument(
        "--first-seed",
        type=_seed,
        default=0,
        metavar="N",
        help="first purchase seed (0); run other seeds on other machines and join them by `report`",
    )
    budgets.add_argument(
        "--training-seeds", type=positive_int, default=1, metavar="M", help="per purchase (1)"
    )
    budgets.add_argument(
        "--reference-seeds", type=positive_int, default=1, metavar="N", help="of the row `all` (1)"
    )
    budgets.add_argument(
        "--references",
        nargs="*",
        type=_reference,
        choices=REFERENCES,
        default=REFERENCES,
        metavar="ROW",
        help="rows to add: none (nothing bought), all (every label bought); default: both",
    )

    scoring = p.add_argument_group("scoring")
    scoring.add_argument(
        "--pipeline",
        nargs="+",
        metavar="NAME",
        help=f"{', '.join(PIPELINES)}; `all` for the five that follow the challenge, `all-lite` "
        "for five that need no GPU (default: organiser on a GPU, quick without); settings after "
        'a colon: "organiser:epochs=20,learning_rate=0.003"',
    )
    scoring.add_argument(
        "--weights",
        default="imagenet",
        metavar="W",
        help="what pretrained pipelines start from: imagenet (default), none, or a file",
    )
    scoring.add_argument("--device", help="where pipelines are trained, e.g. cpu or cuda:0")
    scoring.add_argument(
        "--execution",
        "--steps",
        type=_execution,
        choices=EXECUTION,
        default="eager",
        help="of training steps: eager (default), or compile (by torch.compile), which is slow to "
        "start and whose scores are kept apart",
    )

    out = p.add_argument_group("execution and output")
    out.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="trials one by one here, or in parallel on a Ray cluster (docs/cluster.md)",
    )
    out.add_argument("--ray-address", metavar="A", help="of a running cluster; `auto` finds one")
    out.add_argument(
        "--cpus-per-trial", type=positive_int, default=4, metavar="N", help="with --engine ray (4)"
    )
    out.add_argument(
        "--gpus-per-trial",
        type=_gpu_share,
        default=0.0,
        metavar="X",
        help="with --engine ray; 0.5 puts two trials on one GPU (0)",
    )
    out.add_argument("--out", type=Path, metavar="DIR", help="journals and logs (results/DATA)")
    out.add_argument("--json", action="store_true", help="print the leaderboard as JSON")
    out.add_argument("--plan", action="store_true", help="show plan and estimate, then stop")
    add_verbosity_flags(out)
    return p


def _size(unit: str) -> Any:
    def size(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} above 0")
        return number

    return size


def _gpu_share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf") or (number > 1 and number % 1):
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 to 1 and no whole number")
    return number


def _execution(text: str) -> str:
    if text in ("recorded", "cuda-graph"):
        raise argparse.ArgumentTypeError(
            "recorded steps (CUDA graphs) were removed (docs/benchmarks.md). Leave the flag out: "
            "eager steps learn the same."
        )
    return FORMER_EXECUTION.get(text, text)


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
