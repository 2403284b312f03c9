"""The submission's whole family of processes: started, watched, and ended to the last one."""

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from evaluator.worker.memory import private_memory
from evaluator.worker.shared_memory import Shared, existing, mapped_by, remove_unused

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
QUIET_LOOKS = 5  # looks in a row without a living or dead member before a family counts as gone
MARK = "ZEWDPC_FAMILY"  # the environment variable by which a guardian knows its family
FIRST_INSIDE = 2  # a sandbox's first process of ours; its number 1 is bubblewrap's


class ProcessTree:
    """A command in a process group of its own, with everything it starts.

    The judge adopts orphans while the tree lives, so that a process that left its group or whose
    parent died is still found, counted and killed. Should the judge itself be killed, a guardian
    (or the sandbox's own end) kills the family.

    Parameters
    ----------
    sandboxed : the command is bubblewrap's, whose own two processes are no members.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        output: IO[bytes] | int,
        pass_fds: Sequence[int],
        sandboxed: bool = False,
    ) -> None:
        self._sandboxed = sandboxed
        self._shared: set[Shared] = set()
        self._shared_before = existing()
        self._before = set(_descendants())
        self._ended = False
        mark = secrets.token_hex(8)
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.leader = subprocess.Popen(
            command,
            cwd=cwd,
            env={**env} if sandboxed else {**env, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        self._guardian: subprocess.Popen[bytes] | None = None
        if not sandboxed:
            self._guardian = _start_guardian(f"{MARK}={mark}")
            self._before.add(psutil.Process(self._guardian.pid))

    def members(self) -> list[psutil.Process]:
        """Every living process that the command started, itself included."""
        return [process for process in self._family() if self._counts(process)]

    def private_memory(self, members: Sequence[psutil.Process]) -> int:
        """Bytes of anonymous and shared memory of members; mapped files do not count."""
        self._note_shared(members)
        return sum(map(private_memory, _threads_of(members)))

    def wait(self, timeout: float) -> int | None:
        """The leader's exit code, or None when it still runs after `timeout` seconds."""
        try:
            code = self.leader.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        # As a shell does, bubblewrap says 128 + n of a command that signal n has killed.
        return 128 - code if self._sandboxed and code > 128 else code

    def settle(self, patience: float) -> None:
        """Give the submission's first process `patience` seconds to end by itself."""
        if not self._sandboxed:
            self.wait(patience)
            return
        # A sandbox ends with its first process and takes the others along uncounted, unless
        # bubblewrap does not come to hear of it.
        self.leader.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + patience
        while any(map(self._is_first, self.members())) and time.monotonic() < deadline:
            time.sleep(0.02)

    def kill(self, patience: float = 10.0) -> int:
        """Kill every member; returns how many beside the first were still running.

        Ends when nothing was found in several looks in a row, because a family that forks
        faster than it is looked at can hide from one.
        """
        if self._ended:
            return 0
        self._ended = True
        try:
            members = self.members()
            self._note_shared(members)
            return sum(not self._is_first(process) for process in members)
        finally:
            self._end(patience)

    def _end(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        quiet = 0
        while quiet < QUIET_LOOKS and time.monotonic() < deadline:
            if self.leader.poll() is None:
                _kill_group(self.leader.pid)
            ours = self._family()
            _kill_groups(ours)
            for process in ours:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
                if process.pid != self.leader.pid:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(process.pid, os.WNOHANG)
            quiet = 0 if ours else quiet + 1
            time.sleep(0.01)
        self.wait(timeout=max(0.0, deadline - time.monotonic()))
        remove_unused(self._shared - self._shared_before)
        _prctl(PR_SET_CHILD_SUBREAPER, 0)
        if self._guardian:
            self._guardian.kill()
            self._guardian.wait()

    def _note_shared(self, members: Iterable[psutil.Process]) -> None:
        if not self._sandboxed:  # there it is the sandbox's own and ends with it
            self._shared |= mapped_by(_threads_of(members))

    def _family(self) -> list[psutil.Process]:
        """Members, the dead ones that nobody has buried, and the sandbox's own processes."""
        return [process for process in _descendants() if process not in self._before]

    def _counts(self, process: psutil.Process) -> bool:
        if living_thread(process) is None:
            return False
        return not self._sandboxed or number_inside(process.pid) >= FIRST_INSIDE

    def _is_first(self, process: psutil.Process) -> bool:
        if self._sandboxed:
            return number_inside(process.pid) == FIRST_INSIDE
        return bool(process.pid == self.leader.pid)


def number_inside(pid: int) -> int:
    """The number that a process has in the first sandbox it is in; 0 where it is in none."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # Not splitlines: a process may name itself with anything that ends a line but the newline.
    numbers = [line.split()[1:] for line in status.split(b"\n") if line.startswith(b"NSpid:")]
    return int(numbers[0][1]) if numbers and len(numbers[0]) > 1 else 0


def living_thread(process: psutil.Process) -> int | None:
    """The number of a thread that has not ended; the first can end long before the others."""
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.pid
        threads = list(Path(f"/proc/{process.pid}/task").iterdir())
    except (psutil.NoSuchProcess, FileNotFoundError):
        return None
    for thread in threads:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            state = (thread / "stat").read_bytes().rpartition(b")")[2].split()[0]
            if state not in (b"Z", b"X"):
                return int(thread.name)
    return None


def task_limit(room: int) -> int:
    """RLIMIT_NPROC that leaves `room`: it counts processes and threads of the whole user."""
    count = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):  # it has just ended
                if folder.stat().st_uid == os.getuid():
                    count += sum(1 for _ in (folder / "task").iterdir())
    return count + room


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the one that started it ends."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _start_guardian(mark: str) -> "subprocess.Popen[bytes]":
    guardian = Path(__file__).with_name("orphan_killer.py")
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(guardian), mark, str(os.getpid())],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def _kill_groups(processes: Iterable[psutil.Process]) -> None:
    """Kill whole process groups, which even a family that forks all the time cannot outrun."""
    groups = set()
    for process in processes:
        if process.is_running():  # its number may be another process's by now
            with contextlib.suppress(ProcessLookupError):
                groups.add(os.getpgid(process.pid))
    for group in groups - {os.getpgrp()}:
        _kill_group(group)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _threads_of(processes: Iterable[psutil.Process]) -> Iterator[int]:
    """A living thread of each, by whose number /proc tells what the process has in memory."""
    for process in processes:
        if thread := living_thread(process):
            yield thread
