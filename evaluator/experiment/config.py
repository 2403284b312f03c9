"""The flags of `local_evaluation.py`, and the configuration that is made of them once."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from evaluator.experiment.plan import ANOTHER_TRAINING, POOL, ROUND_PAIRS, parse_pairs
from evaluator.experiment.t4_scaling import FILE
from evaluator.records.trial import REFERENCES, REMOVED_REFERENCE, Pair
from evaluator.synthetic import RECIPES
from evaluator.training.pipelines import PIPELINE_GROUPS, PIPELINES, Pipeline, parse_pipeline
from evaluator.training.trainer import Steps
from evaluator.worker.gpu_memory import GB
from evaluator.worker.in_process import RUNNERS, make_runner
from evaluator.worker.outcome import Limits
from evaluator.worker.runner import Runner
from shared.console import add_verbosity_flags, positive_int
from shared.errors import ConfigurationError

DATA = Path("data")
RESULTS = Path("results")
OFFICIAL = DATA / "zew"  # where `python -m evaluator data unpack` puts the organisers' archives

EXECUTION: dict[str, Steps] = {"eager": "eager", "compile": "compiled"}  # as the trainer calls it
FORMER_EXECUTION = {"launched": "eager", "compiled": "compile"}  # as typed before
RUNNER_CONDITIONS = {"bubblewrap": ", isolated", "local": ", in process"}

EPILOG = """examples:
  python local_evaluation.py --recipe demo --pipeline quick --strategy random entropy \\
      --pairs 200:1 --seeds 2
  python local_evaluation.py --data data/zew --strategy entropy --pairs 621:17 1889:51 --seeds 5
  python local_evaluation.py --submission mine/run.py theirs/run.py --pairs public
  python local_evaluation.py --submission run.py run.py@HEAD~1 --pairs 621:17

Every run is journalled in --out; the same command resumes where it stopped."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What an evaluation does, and how. The flags of the command line, checked and typed."""

    submissions: tuple[str, ...]  # paths of run.py, or PATH@REVISION of git
    strategies: tuple[str | None, ...]  # None: the submission's own default
    baseline: str | None
    runner: Literal["subprocess", "bubblewrap", "local"]
    limits: Limits
    data: Path | None
    recipe: str | None
    workers: int | None
    round: int
    pairs: tuple[Pair, ...]
    scale_to_data: bool
    hardware: Literal["native", "t4"]
    calibration: Path
    seeds: int
    first_seed: int
    training_seeds: int
    reference_seeds: int
    references: tuple[str, ...]
    pipelines: tuple[Pipeline, ...]
    weights: str
    device: str | None
    steps: Steps
    engine: Literal["local", "ray"]
    ray_address: str | None
    cpus_per_trial: int
    gpus_per_trial: float
    out: Path | None
    as_json: bool
    progress: bool
    command: tuple[str, ...] = ()  # the words that were typed

    @classmethod
    def from_flags(cls, flags: argparse.Namespace, words: Sequence[str]) -> "EvaluationConfig":
        """Raises ConfigurationError for flags that do not go together."""
        _check_combinations(flags)
        return cls(
            submissions=tuple(dict.fromkeys(flags.submission)),
            strategies=_strategies(flags.strategy),
            baseline=flags.baseline,
            runner=flags.runner,
            limits=Limits(int(flags.memory * 2**30), flags.gpu_memory * GB),
            data=flags.data,
            recipe=flags.recipe,
            workers=flags.workers,
            round=flags.round,
            pairs=parse_pairs(flags.pairs) if flags.pairs else ROUND_PAIRS[flags.round],
            scale_to_data=flags.scale_to_data,
            hardware=flags.hardware,
            calibration=flags.calibration,
            seeds=flags.seeds,
            first_seed=flags.first_seed,
            training_seeds=flags.training_seeds,
            reference_seeds=flags.reference_seeds,
            references=tuple(dict.fromkeys(flags.references)),
            pipelines=_pipelines(flags),
            weights=flags.weights,
            device=flags.device,
            steps=EXECUTION[flags.execution],
            engine=flags.engine,
            ray_address=flags.ray_address,
            cpus_per_trial=flags.cpus_per_trial,
            gpus_per_trial=flags.gpus_per_trial,
            out=flags.out,
            as_json=flags.json,
            # A bar would be drawn over what is typed at a breakpoint.
            progress=not flags.quiet and flags.runner != "local",
            command=("python", "local_evaluation.py", *words),
        )

    @property
    def task_threads(self) -> int | None:
        """torch's threads, which scores depend on: on a cluster those of its workers."""
        return self.cpus_per_trial if self.engine == "ray" else None

    def conditions(self) -> str:
        """Of a trial, as far as they are known before the data are; see Trial."""
        on_gpu = self.gpus_per_trial > 0 if self.engine == "ray" else torch.cuda.is_available()
        limited = on_gpu and self.runner != "local"  # which has no process of its own to limit
        gpu = f", {self.limits.gpu_memory / GB:g} GB of a GPU" if limited else ""
        return f"round {self.round}, {self.limits.memory / 2**30:g} GiB{gpu}"

    def make_runner(self, hidden: tuple[Path, ...] | None = None) -> Runner:
        """The runner; `hidden` from a sandbox are all known data and results by default."""
        if hidden is None:
            data = [self.data] if self.data else DATA.glob("*")
            hidden = (*data, *([self.out] if self.out else RESULTS.glob("*")))
        return make_runner(self.runner, self.limits, hidden)


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


def _check_combinations(flags: argparse.Namespace) -> None:
    if flags.runner == "local" and flags.engine == "ray":
        raise ConfigurationError(
            "local-runner-on-cluster",
            "--runner local runs the submission in this process, and --engine ray on other "
            "machines. Leave one of the two flags out.",
        )
    if flags.hardware == "t4" and flags.engine == "ray":
        raise ConfigurationError(
            "hardware-on-cluster",
            "--hardware t4 scales by what was measured on this machine, and with --engine ray the "
            "trials run on others. Give minutes of theirs: --hardware native.",
        )
    if flags.round == 1 and flags.pipeline:
        raise ConfigurationError(
            "round-1-pipeline",
            "--round 1 scores the submission's own predictions and trains no --pipeline. "
            "Leave one of the two flags out.",
        )


def _strategies(named: Sequence[str] | None) -> tuple[str | None, ...]:
    if not named:
        return (None,)
    reserved = [name for name in named if name in (*REFERENCES, REMOVED_REFERENCE)]
    if reserved:
        raise ConfigurationError(
            "reserved-strategy",
            f"--strategy {reserved[0]}: this name is kept for reference rows of the evaluator "
            f"({', '.join((*REFERENCES, REMOVED_REFERENCE))}). Name strategies of the submission "
            "only; --list shows them.",
        )
    return tuple(dict.fromkeys(named))


def _pipelines(flags: argparse.Namespace) -> tuple[Pipeline, ...]:
    if flags.round == 1:
        return ()
    if not flags.pipeline:
        on_gpu = torch.cuda.is_available() and flags.device != "cpu"
        return (PIPELINES["organiser" if on_gpu else "quick"],)
    names: list[str] = []
    for name in flags.pipeline:
        names += PIPELINE_GROUPS.get(name, (name,))
    return tuple(parse_pipeline(name) for name in dict.fromkeys(names))


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
