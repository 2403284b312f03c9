"""The configuration of an evaluation, made once from the flags of `local_evaluation.py`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from evaluator.experiment.flags import EXECUTION
from evaluator.experiment.plan import ROUND_PAIRS, parse_pairs
from evaluator.records.trial import REFERENCES, REMOVED_REFERENCE, Pair
from evaluator.training.pipelines import PIPELINE_GROUPS, PIPELINES, Pipeline, parse_pipeline
from evaluator.training.trainer import Steps
from evaluator.worker.bubblewrap import BubblewrapRunner
from evaluator.worker.gpu_memory import GB
from evaluator.worker.in_process import InProcessRunner
from evaluator.worker.outcome import Limits
from evaluator.worker.runner import Runner, SubprocessRunner
from shared.errors import ConfigurationError

DATA = Path("data")
RESULTS = Path("results")
OFFICIAL = DATA / "zew"  # where `python -m evaluator data unpack` puts the organisers' archives

RUNNER_CONDITIONS = {"bubblewrap": ", isolated", "local": ", in process"}


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
        if self.runner == "bubblewrap":
            return BubblewrapRunner(self.limits, hidden)
        if self.runner == "local":
            return InProcessRunner(self.limits)
        return SubprocessRunner(self.limits)


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
