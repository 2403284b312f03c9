"""Runners: the ways to run one submission through one trial, behind one interface.

`SubprocessRunner` is the default. `BubblewrapRunner`, for `--isolate`, and `InProcessRunner`, for
debugging, are in modules of their own. docs/isolation.md has a table of what each promises.
"""

import contextlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from evaluator.data.dataset import Splits
from evaluator.records.trial import Pair
from evaluator.temp_dirs import scratch_folder
from evaluator.worker.capped_log import CappedLog, last_lines
from evaluator.worker.contract import ArgNames, Contract
from evaluator.worker.cpu_affinity import reserve_cores, warn_on_contention
from evaluator.worker.outcome import (
    Limits,
    Outcome,
    Progress,
    TrialFailedError,
    check_claim,
    check_notes,
    check_predictions,
    exception_names,
    read_claim,
    readable_reason,
)
from evaluator.worker.process_tree import ProcessTree, task_limit
from evaluator.worker.protocol import Channel, ChannelClosedError, Message
from evaluator.worker.supervisor import EXIT_SECONDS, Supervisor, how_it_ended
from evaluator.worker.vault import LabelVault
from shared.errors import ConfigurationError, ZEWDPCRuntimeError

REPO_ROOT = Path(__file__).resolve().parents[2]
EXPOSED_MODULES = ("evaluator", "shared", "base_run.py")  # of this repository, to the worker
JOB_FILE = "job.json"
TASKS_PER_PROCESS = 8  # threads that an allowed process may have, on average

PhaseFunction = Callable[[str, float, dict[str, Any]], tuple[Message, bytes]]


@dataclass(frozen=True)
class TrialInputs:
    """What one run is given besides the submission.

    vault : sells the pool's labels; afterwards it knows what was bought.
    log : file that receives what the submission prints.
    arguments : offered to its constructor by name (`strategy`, `seed`).
    arg_names : of the budgets, where its phases take them under more than one name.
    n_test : the prediction phase sees this many images of the validation split, labels hidden.
    """

    splits: Splits
    pair: Pair
    vault: LabelVault
    log: Path
    arguments: Mapping[str, Any] = field(default_factory=dict)
    arg_names: ArgNames = "page"
    n_test: int = 300
    progress: Progress = lambda phase, share: None

    @property
    def test_shape(self) -> tuple[int, int]:
        """(images, classes) of the predictions."""
        n_test = min(self.n_test, len(self.splits.validation))
        return n_test, len(self.splits.class_names)


@dataclass(frozen=True)
class SubmissionInfo:
    """What a submission offers, as found by importing it."""

    strategies: Any  # what its `describe_strategies()` returned; None where it has none
    contract: Contract


class Runner(Protocol):
    """Runs submissions. Picklable, so that it can travel to another machine."""

    name: ClassVar[str]
    trusted: ClassVar[bool]  # git may run what the submission's repository configures

    @property
    def limits(self) -> Limits: ...

    def with_limits(self, limits: Limits) -> "Runner": ...

    def run(self, submission: Path, trial: TrialInputs) -> Outcome:
        """Run the three phases of `submission` (a run.py)."""
        ...

    def preflight(self, submission: Path, variants: Sequence[Mapping[str, Any]]) -> SubmissionInfo:
        """Import a submission and instantiate it with each set of arguments.

        Done before hours are spent. Raises ConfigurationError, with the submission's own message,
        where it fails.
        """
        ...


@dataclass(frozen=True)
class SubprocessRunner:
    """Runs a submission in a process of its own, with a deadline and a memory limit."""

    limits: Limits = field(default_factory=Limits)

    name: ClassVar[str] = "subprocess"
    trusted: ClassVar[bool] = True

    def with_limits(self, limits: Limits) -> "SubprocessRunner":
        return replace(self, limits=limits)

    def run(self, submission: Path, trial: TrialInputs) -> Outcome:
        """See Runner."""
        outcome = Outcome()
        with (
            reserve_cores(self.limits.cpus),
            warn_on_contention(outcome.warnings),
            self._worker(trial_job(submission, trial), trial.log) as (tree, channel),
        ):
            supervisor = Supervisor(
                tree, channel, trial.vault, self.limits, outcome, trial.progress
            )
            try:
                supervisor.wait_until_ready()
                run_phases(supervisor.run_phase, trial, self.limits, outcome)
                supervisor.end()
            except TrialFailedError as failed:
                outcome.status, outcome.reason = failed.status, readable_reason(failed.reason)
            finally:
                trial.vault.open = False
                outcome.left_running = tree.kill()
        if outcome.left_running:
            outcome.warnings.append(f"{outcome.left_running} processes were left running; killed.")
        return outcome

    def preflight(self, submission: Path, variants: Sequence[Mapping[str, Any]]) -> SubmissionInfo:
        """See Runner. All limits hold but the prediction's."""
        require_submission(submission)
        job = {
            "kind": "preflight",
            "submission": str(submission.resolve()),
            "variants": list(variants),
        }
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            message = self._first_message(job, log)
            if message is None:
                raise ConfigurationError(
                    "submission-slow",
                    f"{submission} did not start within {self.limits.start_up:g} s.\n"
                    f"{last_lines(log)}",
                )
            if message["type"] != "ready":
                raise _refusal(submission, message, log)
        contract = Contract.from_message(message.get("contract"))
        return SubmissionInfo(message.get("strategies"), contract)

    def _first_message(self, job: dict[str, Any], log: Path) -> Message | None:
        nothing_to_sell = LabelVault(np.empty((0, 0)), 0)
        with self._worker(job, log) as (tree, channel):
            supervisor = Supervisor(
                tree, channel, nothing_to_sell, self.limits, Outcome(), lambda phase, share: None
            )
            try:
                return supervisor.first_message()
            except ChannelClosedError:
                code = tree.wait(EXIT_SECONDS)
                return {"type": "failed", "reason": f"its process {how_it_ended(code)}"}
            except (TrialFailedError, ZEWDPCRuntimeError) as error:
                return {"type": "failed", "reason": str(error)}
            finally:
                tree.kill()

    @contextlib.contextmanager
    def _worker(self, job: dict[str, Any], log: Path) -> Iterator[tuple[ProcessTree, Channel]]:
        """A worker process that does `job`, and the connection to it; both end with the block."""
        log.parent.mkdir(parents=True, exist_ok=True)
        most_tasks = task_limit(TASKS_PER_PROCESS * self.limits.processes)
        job = {
            **job,
            "cpus": self.limits.cpus,
            "gpu_memory": self.limits.gpu_memory,
            "most_tasks": most_tasks,
        }
        ours, theirs = socket.socketpair()
        with scratch_folder() as scratch, ours, theirs, CappedLog(log) as output:
            job_file = scratch / JOB_FILE
            job_file.write_text(json.dumps(job))
            command = [sys.executable, "-P", "-m", "evaluator.worker.worker"]
            command += [str(theirs.fileno()), str(job_file)]
            tree = self._start(
                command, job, scratch, output=output.pipe, pass_fds=[theirs.fileno()]
            )
            theirs.close()
            try:
                yield tree, Channel(ours)
            finally:
                tree.kill()

    def _start(
        self,
        command: list[str],
        job: Mapping[str, Any],
        scratch: Path,
        **streams: Any,
    ) -> ProcessTree:
        """Start the worker: in the submission's folder, with this environment."""
        environment = {**os.environ, "PYTHONPATH": _python_path(_expose_modules(scratch))}
        return ProcessTree(
            command,
            cwd=Path(job["submission"]).parent,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            **streams,
        )


def trial_job(submission: Path, trial: TrialInputs) -> dict[str, Any]:
    """What the worker receives of a trial: images and training labels, no other labels."""
    splits = trial.splits
    return {
        "kind": "trial",
        "submission": str(submission.resolve()),
        "arguments": dict(trial.arguments),
        "arg_names": trial.arg_names,
        "class_names": splits.class_names,
        "training_images": str(splits.image_files["training"].resolve()),
        "unlabelled_images": str(splits.image_files["unlabelled"].resolve()),
        "test_images": str(splits.image_files["validation"].resolve()),
        "training_labels": splits.training.labels.tolist(),
        "n_test": trial.test_shape[0],
    }


def run_phases(
    run_phase: PhaseFunction, trial: TrialInputs, limits: Limits, outcome: Outcome
) -> None:
    """The three phases in order, on one compute budget; fills `outcome`."""
    vault, compute = trial.vault, trial.pair.minutes * 60
    run_phase("pre_training", compute, {"time_available": compute})
    left = compute - outcome.seconds["pre_training"]
    vault.open = True
    arguments = {"budget": trial.pair.budget, "time_available": max(left, 0.0)}
    answer, _ = run_phase("purchase", left, arguments)
    vault.open = False
    outcome.claimed = read_claim(answer.get("claimed"))
    outcome.warnings += check_claim(outcome.claimed, vault.purchased)
    outcome.notes = check_notes(answer.get("notes"), vault.purchased, trial.test_shape[1])
    answer, payload = run_phase("prediction", limits.prediction, {})
    outcome.predictions = check_predictions(answer, payload, trial.test_shape)


def require_submission(submission: Path) -> None:
    """Raise ConfigurationError where there is no such file."""
    if not submission.is_file():
        raise ConfigurationError(
            "no-submission", f"There is no submission at {submission}. Give the path of a run.py."
        )


def _refusal(submission: Path, message: Message, log: Path) -> ConfigurationError:
    reason = readable_reason(str(message.get("reason", "it sent something else than expected")))
    if "ArgumentsRefusedError" in exception_names(message):
        return ConfigurationError("arguments-refused", f"{submission} refuses: {reason}")
    return ConfigurationError(
        "submission-unusable", f"{submission} cannot be used: {reason}\n{last_lines(log)}"
    )


def _expose_modules(scratch: Path) -> Path:
    """A folder with what a submission may import of this repository."""
    folder = scratch / "exposed"
    folder.mkdir()
    for name in EXPOSED_MODULES:
        (folder / name).symlink_to(REPO_ROOT / name)
    return folder


def _python_path(exposed: Path) -> str:
    """PYTHONPATH for the worker: without this repository, of which it sees `exposed` only."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [path for path in paths if path and Path(path).resolve() != REPO_ROOT]
    return os.pathsep.join([str(exposed), *kept])
