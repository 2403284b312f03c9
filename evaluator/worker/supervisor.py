"""Supervises a submission's worker process: deadline, memory, processes, and its messages."""

import contextlib
import math
import signal
import time
from collections.abc import Sequence
from typing import Any

import psutil

from evaluator.worker.outcome import (
    Limits,
    Outcome,
    Progress,
    TrialFailedError,
    failure_of,
    out_of_time,
)
from evaluator.worker.process_tree import ProcessTree
from evaluator.worker.protocol import Channel, ChannelClosedError, Message
from evaluator.worker.vault import LabelVault
from shared.errors import OutOfBudgetError, ZEWDPCRuntimeError

POLL = 0.25  # seconds between looks at the worker's processes and memory
POLL_SHARE = 20.0  # a poll is followed by a pause this many times as long
DRAIN_SECONDS = 0.05  # to read what an ended process had still sent
SEND_SECONDS = 10.0  # for the worker to take what it is sent
EXIT_SECONDS = 5.0  # for the worker to end after its last phase


class Supervisor:
    """Talks to the worker while it watches the clock and the memory."""

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
        self._next_count = self._next_memory_check = 0.0

    def wait_until_ready(self) -> None:
        self._until_answer("start-up", time.monotonic() + self.limits.start_up, "ready")
        self._check_memory(self.tree.members(), "start-up")

    def first_message(self) -> Message | None:
        """The worker's first message of any type; None after the start-up limit."""
        deadline = time.monotonic() + self.limits.start_up
        while time.monotonic() < deadline:
            self.poll("start-up")
            frame = receive_while_alive(self.channel, self.tree, POLL)
            if frame:
                return frame[0]
        return None

    def run_phase(
        self, phase: str, allowed: float, arguments: dict[str, Any]
    ) -> tuple[Message, bytes]:
        """Start a phase and wait for its end, at most `allowed` seconds by this clock."""
        started = time.monotonic()
        try:
            with contextlib.suppress(ChannelClosedError):  # then waiting tells how it ended
                command = {"type": "phase", "name": phase, "arguments": arguments}
                self.channel.send(command, timeout=_send_timeout(allowed))
            answer = self._until_answer(phase, started + allowed, "done")
        finally:
            self.outcome.seconds[phase] = round(time.monotonic() - started, 3)
        # A short phase may have passed between two polls.
        self._check_memory(self.tree.members(), phase)
        return answer

    def end(self) -> None:
        """Tell the worker that nothing more is wanted and give it a moment to end by itself."""
        with contextlib.suppress(ChannelClosedError):  # it has ended already
            self.channel.send({"type": "end"}, timeout=SEND_SECONDS)
        self.tree.wait_for_exit(EXIT_SECONDS)

    def _until_answer(self, phase: str, deadline: float, wanted: str) -> tuple[Message, bytes]:
        while True:
            self.poll(phase)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TrialFailedError("timeout", out_of_time(phase))
            try:
                frame = receive_while_alive(self.channel, self.tree, min(left, POLL))
                if frame is None:
                    continue
                if frame[0]["type"] == wanted:
                    # A late answer is late even when it came before the next poll.
                    if time.monotonic() > deadline:
                        raise TrialFailedError("timeout", out_of_time(phase))
                    return frame
                self._handle(frame[0], phase, left)
            except ChannelClosedError:
                raise self._ended(phase, deadline) from None
            except ZEWDPCRuntimeError as error:
                raise TrialFailedError("crashed", f"{phase}: {error}") from None

    def _handle(self, message: Message, phase: str, left: float) -> None:
        kind = message["type"]
        if kind == "purchase":
            answer = self._handle_purchase(message.get("index"))
            self.channel.send(answer, timeout=_send_timeout(left))
        elif kind == "progress":
            share = message.get("share")
            if isinstance(share, float) and math.isfinite(share):
                self.progress(phase, min(max(share, 0.0), 1.0))
        elif kind == "failed":
            raise failure_of(message, phase, self.vault.refused)
        else:
            raise ZEWDPCRuntimeError(f"An unexpected message {kind!r} came.")

    def _handle_purchase(self, index: Any) -> Message:
        try:
            return {"type": "label", "label": list(self.vault.purchase(index))}
        except OutOfBudgetError as error:
            return {"type": "out_of_budget", "reason": str(error)}
        except ZEWDPCRuntimeError as error:
            return {"type": "refused", "reason": str(error)}

    def _ended(self, phase: str, deadline: float) -> TrialFailedError:
        """The connection is gone, by the worker's own doing: nothing was killed yet."""
        code = self.tree.wait(min(EXIT_SECONDS, max(0.0, deadline - time.monotonic())))
        if code is None and time.monotonic() >= deadline:
            return TrialFailedError("timeout", out_of_time(phase))
        return TrialFailedError(
            "crashed", f"{phase}: the submission's process {how_it_ended(code)}"
        )

    def poll(self, phase: str) -> None:
        """Count the processes and, less often where there are many, check their memory.

        Raises TrialFailedError where either is over its limit.
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
        memory_is_due = started >= self._next_memory_check
        if memory_is_due:
            self._check_memory(members, phase)
        ended = time.monotonic()
        self._next_count = ended + _pause_after(counted - started)
        if memory_is_due:
            self._next_memory_check = ended + _pause_after(ended - counted)

    def _check_memory(self, members: Sequence[psutil.Process], phase: str) -> None:
        used = self.tree.private_memory(members)
        self.outcome.peak_memory = max(self.outcome.peak_memory, used)
        if used > self.limits.memory:
            raise TrialFailedError(
                "out_of_memory",
                f"{phase}: {used / 2**30:.2f} GiB of private memory in all its processes; the node "
                f"has {self.limits.memory / 2**30:g} GiB",
            )


def receive_while_alive(
    channel: Channel, tree: ProcessTree, timeout: float
) -> tuple[Message, bytes] | None:
    """The next frame, or None after `timeout` seconds.

    Raises ChannelClosedError when the leader has ended, even where a process it left behind
    still holds the connection open.
    """
    frame = channel.receive(timeout)
    if frame is None and tree.leader.poll() is not None:
        frame = channel.receive(DRAIN_SECONDS)
        if frame is None:
            raise ChannelClosedError("the leader has ended")
    return frame


def _send_timeout(left: float) -> float:
    """Seconds that a worker which does not read may block its supervisor; no more than it has."""
    return min(max(left, 0.0), SEND_SECONDS)


def _pause_after(poll: float) -> float:
    """Seconds to the next poll: one costs the submission CPU time, the more the larger it is."""
    return max(POLL, POLL_SHARE * poll)


def how_it_ended(code: int | None) -> str:
    """What an exit code means, for a sentence that begins with "the submission's process"."""
    if code is None:
        return "closed its connection to the evaluator but kept running"
    if code < 0:
        known = {number.value: number.name for number in signal.Signals}
        return f"was killed by {known.get(-code, f'signal {-code}')}"
    return f"ended with exit code {code} before the phase was over"
