"""One purchase run: the submission in a process of its own, the judge's clock beside it."""

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.data.dataset import Splits
from evaluator.errors import ConfigurationError, ZEWDPCRuntimeError
from evaluator.records.trial import Pair
from evaluator.worker.bubblewrap import Sandbox, home_of
from evaluator.worker.capped_log import CappedLog
from evaluator.worker.contract import Contract, Spelling
from evaluator.worker.cpu_affinity import looking_for_others, own_cores
from evaluator.worker.process_tree import ProcessTree, task_limit
from evaluator.worker.protocol import Channel, ChannelClosedError, Message
from evaluator.worker.response_validation import (
    check_claim,
    check_notes,
    check_predictions,
    read_claim,
)
from evaluator.worker.supervisor import (
    EXIT_PATIENCE,
    POLL,
    Limits,
    Outcome,
    Progress,
    TrialFailedError,
    Watch,
    how_it_ended,
    kinds_of,
    receive_while_alive,
)
from evaluator.worker.temp_dirs import scratch_folder
from evaluator.worker.vault import LabelVault

HOUSE = Path(__file__).resolve().parents[2]
LENT = ("evaluator", "base_run.py")  # of the house, to the submission's process
IMAGES = ("training_images", "unlabelled_images", "test_images")  # what the child maps
TASKS_PER_PROCESS = 8  # threads that an allowed process may have, on average
LONGEST_REASON = 4096  # characters
LOG_LINES = 20  # told of a log where a failure is


def run_submission(
    submission: Path,
    splits: Splits,
    pair: Pair,
    vault: LabelVault,
    log: Path,
    *,
    arguments: dict[str, Any] | None = None,
    spelling: Spelling = "page",
    n_test: int = 300,
    limits: Limits | None = None,
    progress: Progress = lambda phase, share: None,
) -> Outcome:
    """Run the three phases of `submission` (a run.py) in a child process and watch it.

    Parameters
    ----------
    vault : sells the pool's labels; afterwards it knows what was bought.
    log : file that receives what the submission prints.
    arguments : offered to its constructor by name (`strategy`, `seed`).
    spelling : of the budgets, where its phases take them under more than one name.
    n_test : the prediction phase sees this many images of the validation split, labels hidden.
    """
    limits = limits or Limits()
    n_test = min(n_test, len(splits.validation))
    job = {
        "kind": "trial",
        "submission": str(submission.resolve()),
        "arguments": arguments or {},
        "spelling": spelling,
        "class_names": splits.class_names,
        "training_images": str(splits.image_files["training"].resolve()),
        "unlabelled_images": str(splits.image_files["unlabelled"].resolve()),
        "test_images": str(splits.image_files["validation"].resolve()),
        "training_labels": splits.training.labels.tolist(),
        "n_test": n_test,
        "cpus": limits.cpus,
        "most_tasks": task_limit(TASKS_PER_PROCESS * limits.processes),
    }
    outcome = Outcome()
    with (
        own_cores(limits.cpus),
        looking_for_others(outcome.warnings),
        _child(job, log, limits.sandbox) as (tree, channel),
    ):
        watch = Watch(tree, channel, vault, limits, outcome, progress)
        try:
            watch.wait_until_ready()
            _run_phases(watch, pair, limits, (n_test, len(splits.class_names)))
            watch.end()
        except TrialFailedError as failed:
            outcome.status, outcome.reason = failed.status, _told(failed.reason)
        finally:
            vault.open = False
            outcome.left_running = tree.kill()
    if outcome.left_running:
        outcome.warnings.append(f"{outcome.left_running} processes were left running; killed.")
    return outcome


def preflight(
    submission: Path, variants: list[dict[str, Any]], limits: Limits | None = None
) -> list[dict[str, str]] | None:
    """Import a submission and instantiate it with each set of arguments, before hours are spent.

    All limits count but the prediction's. Returns the strategies it describes, or None where it
    describes none. Raises ConfigurationError with the submission's own message.
    """
    message = _preflight(submission, variants, limits or Limits())
    strategies: list[dict[str, str]] | None = message.get("strategies")
    return strategies


def contract_of(submission: Path, arguments: dict[str, Any]) -> Contract:
    """Import a submission, instantiate it, and look at its class. Raises as `preflight` does."""
    return Contract.from_message(_preflight(submission, [arguments], Limits()).get("contract"))


def _preflight(submission: Path, variants: list[dict[str, Any]], limits: Limits) -> Message:
    if not submission.is_file():
        raise ConfigurationError(
            "no-submission", f"There is no submission at {submission}. Give the path of a run.py."
        )
    job = {
        "kind": "preflight",
        "submission": str(submission.resolve()),
        "variants": variants,
        "cpus": limits.cpus,
        "most_tasks": task_limit(TASKS_PER_PROCESS * limits.processes),
    }
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with _child(job, log, limits.sandbox) as (tree, channel):
            try:
                nothing = LabelVault(np.empty((0, 0)), 0)
                watch = Watch(tree, channel, nothing, limits, Outcome(), lambda phase, share: None)
                message = _first_message(watch)
            except ChannelClosedError:
                code = tree.wait(EXIT_PATIENCE)
                message = {"type": "failed", "reason": f"its process {how_it_ended(code)}"}
            except (TrialFailedError, ZEWDPCRuntimeError) as error:
                message = {"type": "failed", "reason": str(error)}
            finally:
                tree.kill()
        if message is None:
            raise ConfigurationError(
                "submission-slow",
                f"{submission} did not start within {limits.start_up:g} s.\n{last_lines(log)}",
            )
        if message["type"] != "ready":
            raise _refusal(submission, message, log)
        return message


def _refusal(submission: Path, message: Message, log: Path) -> ConfigurationError:
    reason = _told(str(message.get("reason", "it sent something else than expected")))
    if "ArgumentsRefusedError" in kinds_of(message):
        return ConfigurationError("arguments-refused", f"{submission} refuses: {reason}")
    return ConfigurationError(
        "submission-unusable", f"{submission} cannot be used: {reason}\n{last_lines(log)}"
    )


def last_lines(log: Path) -> str:
    """The end of a log, indented, for a person to read where the failure is told."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16384))
        lines = file.read().decode(errors="backslashreplace").splitlines()[-LOG_LINES:]
    return "\n".join(f"    {_plain(line)}" for line in lines) or "    (it printed nothing)"


def _told(reason: str) -> str:
    """A reason as the submission gave it, fit to be shown and kept."""
    return _plain(reason)[:LONGEST_REASON]


def _plain(text: str) -> str:
    """What a terminal would act on, and not show, as escapes such as \\x1b."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


@contextlib.contextmanager
def _child(
    job: dict[str, Any], log: Path, sandbox: Sandbox | None
) -> Iterator[tuple[ProcessTree, Channel]]:
    log.parent.mkdir(parents=True, exist_ok=True)
    ours, theirs = socket.socketpair()
    with (
        scratch_folder() as scratch,
        ours,
        theirs,
        CappedLog(log) as output,
    ):
        job_file = scratch / "job.json"
        job_file.write_text(json.dumps(job))
        command = [sys.executable, "-P", "-m", "evaluator.worker.worker"]
        command += [str(theirs.fileno()), str(job_file)]
        cwd = Path(job["submission"]).parent
        environment = {**os.environ, "PYTHONPATH": _python_path(_lent(scratch))}
        if sandbox:
            images = [Path(job[name]) for name in IMAGES if name in job]
            command = sandbox.command(command, cwd, [job_file, *images], scratch)
            cwd, environment = home_of(scratch), sandbox.environment(scratch)
        tree = ProcessTree(
            command,
            cwd=cwd,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            output=output.pipe,
            pass_fds=[theirs.fileno()],
            sandboxed=sandbox is not None,
        )
        theirs.close()
        try:
            yield tree, Channel(ours)
        finally:
            tree.kill()


def _lent(scratch: Path) -> Path:
    """A folder with what a submission may import of the house; a sandbox shows no more of it."""
    folder = scratch / "house"
    folder.mkdir()
    for name in LENT:
        (folder / name).symlink_to(HOUSE / name)
    return folder


def _python_path(lent: Path) -> str:
    asked = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([str(lent), *(p for p in asked if p and Path(p).resolve() != HOUSE)])


def _run_phases(watch: Watch, pair: Pair, limits: Limits, test_shape: tuple[int, int]) -> None:
    compute = pair.minutes * 60
    watch.run_phase("pre_training", compute, {"time_available": compute})
    left = compute - watch.outcome.seconds["pre_training"]
    watch.vault.open = True
    arguments = {"budget": pair.budget, "time_available": max(left, 0.0)}
    answer, _ = watch.run_phase("purchase", left, arguments)
    watch.vault.open = False
    purchased = watch.vault.purchased
    watch.outcome.claimed = read_claim(answer.get("claimed"))
    watch.outcome.warnings += check_claim(watch.outcome.claimed, purchased)
    watch.outcome.notes = check_notes(answer.get("notes"), purchased, test_shape[1])
    answer, payload = watch.run_phase("prediction", limits.prediction, {})
    watch.outcome.predictions = check_predictions(answer, payload, test_shape)


def _first_message(watch: Watch) -> Message | None:
    deadline = time.monotonic() + watch.limits.start_up
    while time.monotonic() < deadline:
        watch.look("start-up")
        frame = receive_while_alive(watch.channel, watch.tree, POLL)
        if frame:
            return frame[0]
    return None
