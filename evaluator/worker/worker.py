"""The worker: imports a submission's `run.py`, runs its phases, and asks for labels.

`evaluator.worker.runner` starts it as a process of its own. It is given images and the training
labels, nothing else; everything it sends is checked by the evaluator.
"""

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # Before numpy and torch are imported, because they size their thread pools by it.
    _allowed = sorted(os.sched_getaffinity(0))
    _job = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    os.sched_setaffinity(0, _allowed[: _job["cpus"]])

import contextlib
import importlib
import inspect
import io
import operator
import resource
import socket
import threading
import traceback
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol

import numpy as np

import base_run
from evaluator.data.cache import load_images
from evaluator.data.dataset import ZEWDPCBaseDataset, ZEWDPCProtectedDataset
from evaluator.worker.contract import bind, describe
from evaluator.worker.gpu_memory import limit_gpu_memory
from evaluator.worker.process_tree import die_with_parent
from evaluator.worker.protocol import Channel, Message
from shared.errors import OutOfBudgetError, ZEWDPCRuntimeError

MAX_CLAIMED = 50_000  # indices sent back of the returned dict, which does not count anyway
MAX_NOTES = 1 << 19  # bytes of purchase_notes, half of the longest message


class ArgumentsRefusedError(ValueError):
    """The submission's own code refused, in words, what its constructor was given."""


class LabelSource(Protocol):
    """Where a phase buys labels and reports progress: the evaluator, in this process or not."""

    def purchase(self, index: Any) -> list[int]: ...

    def progress(self, share: float) -> None: ...


class EvaluatorClient:
    """The evaluator as the worker process sees it: a connection that sells labels."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._selling = False

    def send(self, message: Message, payload: bytes = b"") -> None:
        """Report the result of a command. From then on no thread can buy: it would read the next
        command instead of its label."""
        if os.getpid() != self._process:  # a fork that left the phase must not answer for it
            os._exit(1)
        with self._lock:
            self._selling = False
            self._channel.send(message, payload)

    def next_command(self) -> Message:
        command = self._receive()
        self._selling = command.get("name") == "purchase"
        return command

    def progress(self, share: float) -> None:
        """What a phase calls as `register_progress`."""
        if os.getpid() == self._process:
            with self._lock:
                self._channel.send({"type": "progress", "share": float(share)})

    def purchase(self, index: Any) -> list[int]:
        """Ask for a label. Safe from any thread; not from a forked or spawned process."""
        if os.getpid() != self._process:
            raise ZEWDPCRuntimeError(
                "purchase_label was called in a worker process; call it in the process that runs "
                "purchase_phase (threads are fine)."
            )
        number = whole_number(index)
        with self._lock:
            if not self._selling:
                raise ZEWDPCRuntimeError("Labels are sold in the purchase phase only.")
            self._channel.send({"type": "purchase", "index": number})
            answer = self._receive()
        if answer["type"] == "out_of_budget":
            raise OutOfBudgetError(answer["reason"])
        if answer["type"] == "refused":
            raise ZEWDPCRuntimeError(answer["reason"])
        label: list[int] = answer["label"]
        return label

    def _receive(self) -> Message:
        received = self._channel.receive()
        if received is None:  # only with a timeout, and none is given
            raise ZEWDPCRuntimeError("The evaluator did not answer.")
        return received[0]


def whole_number(index: Any) -> int:
    """`index` as an int, also where it is NumPy's or torch's."""
    try:
        return operator.index(index)
    except TypeError:
        raise ZEWDPCRuntimeError(f"purchase_label takes a whole number; got {index!r}.") from None


class PhaseRunner:
    """The data sets of one trial and the submission that acts on them."""

    def __init__(self, job: Mapping[str, Any], source: LabelSource) -> None:
        self._job = job
        self._source = source
        self._submission = load_submission(Path(job["submission"]), job["arguments"])
        names = job["class_names"]
        training_labels = np.array(job["training_labels"], dtype=np.uint8)
        self._training = ZEWDPCBaseDataset(
            load_images(Path(job["training_images"])),
            training_labels.reshape(-1, len(names)),
            names,
        )
        self._unlabelled = ZEWDPCProtectedDataset(
            load_images(Path(job["unlabelled_images"])), names, source.purchase
        )

    def run_phase(self, name: str, arguments: Mapping[str, Any]) -> tuple[Message, bytes]:
        """Run one phase; the message and payload that answer for it."""
        offered = {"register_progress": self._source.progress, **arguments}
        if name == "prediction":
            return self._predict(offered)
        offered["training_dataset"] = self._training
        if name == "purchase":
            offered["unlabelled_dataset"] = self._unlabelled
        method = getattr(self._submission, f"{name}_phase")
        returned = method(**bind(method, offered, self._job["arg_names"]))
        if name != "purchase":
            return {"type": "done"}, b""
        notes = _plain_notes(self._submission)
        return {"type": "done", "claimed": _claimed_indices(returned), "notes": notes}, b""

    def _predict(self, offered: dict[str, Any]) -> tuple[Message, bytes]:
        images = load_images(Path(self._job["test_images"]))[: self._job["n_test"]]
        names = self._job["class_names"]
        hidden = np.full((len(images), len(names)), -1, dtype=np.int8)
        offered["test_dataset"] = ZEWDPCBaseDataset(images, hidden, names)
        method = self._submission.prediction_phase
        predictions = np.asarray(method(**bind(method, offered)))
        # What the evaluator refuses anyway is not sent: it can be as large as the memory.
        plain = predictions.dtype.kind in "biuf" and predictions.shape == hidden.shape
        if plain:
            native = predictions.dtype.newbyteorder("=")
            predictions = np.ascontiguousarray(predictions, dtype=native)
        about = {"shape": list(predictions.shape), "dtype": predictions.dtype.name}
        return {"type": "done", **about}, predictions.tobytes() if plain else b""


def load_submission(run_py: Path, arguments: Mapping[str, Any]) -> Any:
    """Import `run.py` as the organisers do and instantiate its `ZEWDPCBaseRun`."""
    module = import_run(run_py)
    cls = getattr(module, "ZEWDPCBaseRun", None)
    if cls is None:
        raise ImportError(
            f"{run_py} has no name `ZEWDPCBaseRun`. The evaluator does `from run import "
            "ZEWDPCBaseRun`: name your class so, or add `ZEWDPCBaseRun = YourClass` at the end."
        )
    wanted = {name: value for name, value in arguments.items() if value is not None}
    accepted = inspect.signature(cls).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    if "strategy" in wanted and "strategy" not in accepted and not takes_any:
        raise ArgumentsRefusedError(
            f"the class takes no `strategy`, so --strategy {wanted['strategy']} cannot "
            "be passed on. Leave the flag out, or add a parameter `strategy` to __init__."
        )
    try:
        return cls(**{n: value for n, value in wanted.items() if takes_any or n in accepted})
    except ValueError as error:
        *_, last = traceback.extract_tb(error.__traceback__)
        file = Path(last.filename)
        own = file.is_relative_to(run_py.parent) and "site-packages" not in file.parts
        if not own or not str(error):
            raise
        raise ArgumentsRefusedError(f"{error} ({file.name}, line {last.lineno})") from error


def import_run(run_py: Path) -> Any:
    """`import run`, with only the exposed modules before the submission's folder on the path.

    Raises ImportError where that name does not lead to `run_py`.
    """
    name = run_py.stem
    if str(run_py.parent) not in sys.path:
        # base_run is imported already; a process that the submission spawns looks for it again.
        first = [str(Path(base_run.__file__).parent), str(run_py.parent)]
        sys.path[:] = [*first, *(path for path in sys.path if path not in first)]
    if run_py.suffix != ".py" or "." in name:
        raise ImportError(
            f"`import {name}` does not find {run_py.name}. Rename it: one name without a dot, and "
            ".py, such as run.py or baseline-v2.py."
        )
    module = importlib.import_module(name)
    found = getattr(module, "__file__", None) or "a part of Python itself"
    if found != str(run_py):
        raise ImportError(
            f"`import {name}` finds another module than {run_py.name}: {found}. Rename "
            f"{run_py.name}, for example to run.py."
        )
    return module


def inspect_submission(run_py: Path, variants: list[Mapping[str, Any]]) -> Message:
    """Import and instantiate a submission once for each set of arguments; what it offers."""
    for arguments in variants:
        load_submission(run_py, arguments)
    module = import_run(run_py)
    strategies = getattr(module, "describe_strategies", None)
    return {
        "type": "ready",
        "strategies": strategies() if strategies else None,
        "contract": describe(getattr(module, "ZEWDPCBaseRun", None)),
    }


def failure_message(error: BaseException) -> Message:
    """An exception of the submission as the message that reports it."""
    kinds = [cls.__name__ for cls in type(error).__mro__]
    refused = isinstance(error, ArgumentsRefusedError)
    message = str(error) if refused else "".join(traceback.format_exception_only(error)).strip()
    return {"type": "failed", "kinds": kinds, "reason": message[:4000]}


def _claimed_indices(returned: Any) -> list[int] | None:
    """The indices of the dict that the purchase phase returned; None where it is no such dict."""
    if not isinstance(returned, Mapping) or len(returned) > MAX_CLAIMED:
        return None
    try:
        return [operator.index(index) for index in returned]
    except TypeError:
        return None


def _plain_notes(submission: Any) -> list[list[Any]] | None:
    """`purchase_notes` as rows of [idx, round, probabilities]; None where they are malformed.

    They are for the report only, so a mistake in them is written to the log and ends nothing.
    """
    try:
        notes = getattr(submission, "purchase_notes", None)
        if notes is None:
            return None
        rows = [
            [
                operator.index(idx),
                note.get("round"),
                None if (p := note.get("probabilities")) is None else np.asarray(p).tolist(),
            ]
            for idx, note in notes.items()
        ]
        size = len(json.dumps(rows))
    except Exception:
        _print(f"purchase_notes were left out:\n{traceback.format_exc()}")
        return None
    if size > MAX_NOTES:
        _print(f"purchase_notes of {size} bytes were left out; at most {MAX_NOTES} are taken.")
        return None
    return rows


def _print(text: str) -> None:
    """Into the log, unless the submission has closed its streams or replaced them."""
    with contextlib.suppress(Exception):
        print(text.rstrip(), file=sys.stderr)


def serve(client: EvaluatorClient, job: Mapping[str, Any]) -> None:
    """Run the phases that the evaluator asks for until it has no more."""
    phases = PhaseRunner(job, client)
    client.send({"type": "ready"})
    while (command := client.next_command())["type"] == "phase":
        answer, payload = phases.run_phase(command["name"], command.get("arguments", {}))
        with contextlib.suppress(Exception):  # closed, or replaced by something else
            sys.stdout.flush()
        client.send(answer, payload)


def preflight(client: EvaluatorClient, job: Mapping[str, Any]) -> None:
    client.send(inspect_submission(Path(job["submission"]), job["variants"]))


def limit_tasks(most: int) -> None:
    """Let forks fail past `most` processes and threads of this user. Root has no such limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def main() -> None:
    die_with_parent()
    # A process that the submission spawns imports its parent's main module; not this one.
    sys.modules["__main__"] = ModuleType("__main__")
    client = EvaluatorClient(Channel(socket.socket(fileno=int(sys.argv[1]))))
    job = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    limit_tasks(job["most_tasks"])
    limit_gpu_memory(job["gpu_memory"], _print)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        {"trial": serve, "preflight": preflight}[job["kind"]](client, job)
    except Exception as error:
        if job["kind"] == "trial" or not isinstance(error, ArgumentsRefusedError):
            _print(traceback.format_exc())
        client.send(failure_message(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
