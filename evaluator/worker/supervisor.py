"""The judge's eyes on a running submission: its clock, its memory, its questions."""

import contextlib
import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil

from evaluator.errors import OutOfBudgetError, ZEWDPCRuntimeError
from evaluator.records.trial import Status
from evaluator.worker.bubblewrap import Sandbox
from evaluator.worker.process_tree import ProcessTree
from evaluator.worker.protocol import Channel, ChannelClosedError, Message
from evaluator.worker.vault import LabelVault

POLL = 0.25  # seconds between looks at the child's processes and memory
LOOKING_SHARE = 20.0  # a look is followed by a pause this many times as long
LAST_WORDS = 0.05  # seconds to read what an ended process had still sent
ANSWER_PATIENCE = 10.0  # seconds for the child to take what it asked for or was told
EXIT_PATIENCE = 5.0  # seconds for the child to end after its last phase
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Limits:
    """What one purchase run may use: the platform's node; start-up and prediction our choice.

    Start-up (importing run.py) and prediction have limits of their own and do not count
    towards the compute budget, which the challenge defines over pre-training + purchase.
    """

    memory: int = 16 * 2**30  # bytes, private memory of all processes together
    cpus: int = 4
    processes: int = 512  # living at one time
    start_up: float = 300.0  # seconds
    prediction: float = 900.0  # seconds
    sandbox: Sandbox | None = None  # what it may see; None: all that this user sees


@dataclass
class Outcome:
    """How a purchase run ended."""

    status: Status = "ok"
    reason: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    claimed: list[int] | None = None  # indices of the returned dict; None where it was no dict
    predictions: np.ndarray | None = None  # (n_test, C) of 0/1
    warnings: list[str] = field(default_factory=list)
    left_running: int = 0
    peak_memory: int = 0  # bytes
    notes: dict[int, dict[str, Any]] | None = None  # the submission's own; see base_run


class TrialFailedError(Exception):
    """The run is over; carries the status it ends with."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Watch:
    """Talks to the child while looking at the clock and at its memory."""

    def __init__(
        self,
        tree: ProcessTree,
        channel: Channel,
        vault: LabelVault,
        limits: Limits,
        outcome: Outcome,
        progress: Progress,
    ) -> None:
        self.tree, self.channel, self.vault = tree, channel, vault
        self.limits, self.outcome, self.progress = limits, outcome, progress
        self._next_count = self._next_weighing = 0.0

    def wait_until_ready(self) -> None:
        self._until_answer("start-up", time.monotonic() + self.limits.start_up, "ready")
        self._weigh(self.tree.members(), "start-up")

    def run_phase(
        self, phase: str, allowed: float, arguments: dict[str, Any]
    ) -> tuple[Message, bytes]:
        """Order a phase and wait for its end, at most `allowed` seconds by the judge's clock."""
        started = time.monotonic()
        try:
            with contextlib.suppress(ChannelClosedError):  # then waiting says how it ended
                order = {"type": "phase", "name": phase, "arguments": arguments}
                self.channel.send(order, timeout=_patience(allowed))
            answer = self._until_answer(phase, started + allowed, "done")
        finally:
            self.outcome.seconds[phase] = round(time.monotonic() - started, 3)
        self._weigh(self.tree.members(), phase)  # a short one may have passed between two looks
        return answer

    def end(self) -> None:
        """Tell the child that nothing more is wanted and give it a moment to end by itself."""
        with contextlib.suppress(ChannelClosedError):  # it has ended already
            self.channel.send({"type": "end"}, timeout=ANSWER_PATIENCE)
        self.tree.settle(EXIT_PATIENCE)

    def _until_answer(self, phase: str, deadline: float, wanted: str) -> tuple[Message, bytes]:
        while True:
            self.look(phase)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TrialFailedError("timeout", _out_of_time(phase))
            try:
                frame = receive_while_alive(self.channel, self.tree, min(left, POLL))
                if frame is None:
                    continue
                if frame[0]["type"] == wanted:
                    # A late answer is late even when it came before the judge next looked.
                    if time.monotonic() > deadline:
                        raise TrialFailedError("timeout", _out_of_time(phase))
                    return frame
                self._answer(frame[0], phase, left)
            except ChannelClosedError:
                raise self._ended(phase, deadline) from None
            except ZEWDPCRuntimeError as error:
                raise TrialFailedError("crashed", f"{phase}: {error}") from None

    def _answer(self, message: Message, phase: str, left: float) -> None:
        kind = message["type"]
        if kind == "purchase":
            self.channel.send(self._sell(message.get("index")), timeout=_patience(left))
        elif kind == "progress":
            share = message.get("share")
            if isinstance(share, float) and math.isfinite(share):
                self.progress(phase, min(max(share, 0.0), 1.0))
        elif kind == "failed":
            raise TrialFailedError(*self._failure(message, phase))
        else:
            raise ZEWDPCRuntimeError(f"An unexpected message {kind!r} came.")

    def _sell(self, index: Any) -> Message:
        try:
            return {"type": "label", "label": list(self.vault.purchase(index))}
        except OutOfBudgetError as error:
            return {"type": "out_of_budget", "reason": str(error)}
        except ZEWDPCRuntimeError as error:
            return {"type": "refused", "reason": str(error)}

    def _failure(self, message: Message, phase: str) -> tuple[Status, str]:
        names = kinds_of(message)
        reason = f"{phase}: {message.get('reason')}"
        if "OutOfBudgetError" in names and self.vault.refused:
            return "over_budget", reason
        if "MemoryError" in names or "OutOfMemoryError" in names:
            return "out_of_memory", reason
        return "crashed", reason

    def _ended(self, phase: str, deadline: float) -> TrialFailedError:
        """The line went dead: by the child's own doing, for the judge has killed nothing yet."""
        code = self.tree.wait(min(EXIT_PATIENCE, max(0.0, deadline - time.monotonic())))
        if code is None and time.monotonic() >= deadline:
            return TrialFailedError("timeout", _out_of_time(phase))
        return TrialFailedError(
            "crashed", f"{phase}: the submission's process {how_it_ended(code)}"
        )

    def look(self, phase: str) -> None:
        """Count the processes and, not so often where there are many, weigh their memory.

        Raises TrialFailedError where either is more than is allowed.
        """
        started = time.monotonic()
        if started < self._next_count:
            return
        members = self.tree.members()
        if len(members) > self.limits.processes:
            raise TrialFailedError(
                "crashed",
                f"{phase}: {len(members)} processes at one time; at most {self.limits.processes} "
                "are allowed",
            )
        counted = time.monotonic()
        weighed = started >= self._next_weighing
        if weighed:
            self._weigh(members, phase)
        ended = time.monotonic()
        self._next_count = ended + _pause_after(counted - started)
        if weighed:
            self._next_weighing = ended + _pause_after(ended - counted)

    def _weigh(self, members: Sequence[psutil.Process], phase: str) -> None:
        used = self.tree.private_memory(members)
        self.outcome.peak_memory = max(self.outcome.peak_memory, used)
        if used > self.limits.memory:
            raise TrialFailedError(
                "out_of_memory",
                f"{phase}: {used / 2**30:.2f} GiB of private memory in all its processes; the node "
                f"has {self.limits.memory / 2**30:g} GiB",
            )


def kinds_of(message: Message) -> list[str]:
    """The names of the classes that an exception of the submission belongs to, as far as told."""
    kinds = message.get("kinds")
    return [kind for kind in kinds if isinstance(kind, str)] if isinstance(kinds, list) else []


def receive_while_alive(
    channel: Channel, tree: ProcessTree, timeout: float
) -> tuple[Message, bytes] | None:
    """The next frame, or None after `timeout` seconds.

    Raises ChannelClosedError when the leader has ended, even where a process it left behind
    still holds the line open.
    """
    frame = channel.receive(timeout)
    if frame is None and tree.leader.poll() is not None:
        frame = channel.receive(LAST_WORDS)
        if frame is None:
            raise ChannelClosedError("the leader has ended")
    return frame


def _patience(left: float) -> float:
    """Seconds that a child which does not read may keep its judge waiting; no more than it has."""
    return min(max(left, 0.0), ANSWER_PATIENCE)


def _pause_after(look: float) -> float:
    """Seconds to the next look: one costs the submission processor time, the more the larger."""
    return max(POLL, LOOKING_SHARE * look)


def _out_of_time(phase: str) -> str:
    if phase in ("pre_training", "purchase"):
        return f"{phase}: the compute budget of pre-training and purchase together was used up"
    return f"{phase}: its time limit was used up"


def how_it_ended(code: int | None) -> str:
    """What an exit code says, for a sentence that begins with "the submission's process"."""
    if code is None:
        return "closed its line to the judge and went on"
    if code < 0:
        known = {number.value: number.name for number in signal.Signals}
        return f"was killed by {known.get(-code, f'signal {-code}')}"
    return f"ended with exit code {code} before the phase was over"
