"""A submission's process tree: started, counted, and killed to the last process."""

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

from evaluator.worker.memory import (
    Shared,
    existing,
    mapped_by,
    private_memory,
    remove_unused,
)

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
EMPTY_SCANS = 5  # scans in a row without a living or dead member before a tree counts as gone
ENV_TAG = "ZEWDPC_TREE"  # the environment variable by which the orphan killer knows its tree
FIRST_INSIDE = 2  # pid of a sandbox's first process of ours; pid 1 is bubblewrap's


class ProcessTree:
    """A command in a process group of its own, with everything it starts.

    The evaluator adopts orphans while the tree lives, so that a process that left its group or
    whose parent died is still found, counted and killed. Should the evaluator itself be killed,
    the orphan killer (or the end of the sandbox) kills the tree.

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
        self._before = set(_all_descendants())
        self._ended = False
        tag = secrets.token_hex(8)
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.leader = subprocess.Popen(
            command,
            cwd=cwd,
            env={**env} if sandboxed else {**env, ENV_TAG: tag},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        self._orphan_killer: subprocess.Popen[bytes] | None = None
        if not sandboxed:
            self._orphan_killer = _start_orphan_killer(f"{ENV_TAG}={tag}")
            self._before.add(psutil.Process(self._orphan_killer.pid))

    def members(self) -> list[psutil.Process]:
        """Every living process that the command started, itself included."""
        return [process for process in self._descendants() if self._is_member(process)]

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
        # Like a shell, bubblewrap returns 128 + n for a command that signal n has killed.
        return 128 - code if self._sandboxed and code > 128 else code

    def wait_for_exit(self, patience: float) -> None:
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

        Ends after several empty scans in a row, because a tree that forks faster than it is
        scanned can hide from one.
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
        empty = 0
        while empty < EMPTY_SCANS and time.monotonic() < deadline:
            if self.leader.poll() is None:
                _kill_group(self.leader.pid)
            ours = self._descendants()
            _kill_groups(ours)
            for process in ours:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
                if process.pid != self.leader.pid:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(process.pid, os.WNOHANG)
            empty = 0 if ours else empty + 1
            time.sleep(0.01)
        self.wait(timeout=max(0.0, deadline - time.monotonic()))
        remove_unused(self._shared - self._shared_before)
        _prctl(PR_SET_CHILD_SUBREAPER, 0)
        if self._orphan_killer:
            self._orphan_killer.kill()
            self._orphan_killer.wait()

    def _note_shared(self, members: Iterable[psutil.Process]) -> None:
        if not self._sandboxed:  # there it is the sandbox's own and ends with it
            self._shared |= mapped_by(_threads_of(members))

    def _descendants(self) -> list[psutil.Process]:
        """Members, zombies, and the sandbox's own processes."""
        return [process for process in _all_descendants() if process not in self._before]

    def _is_member(self, process: psutil.Process) -> bool:
        if living_thread(process) is None:
            return False
        return not self._sandboxed or namespace_pid(process.pid) >= FIRST_INSIDE

    def _is_first(self, process: psutil.Process) -> bool:
        if self._sandboxed:
            return namespace_pid(process.pid) == FIRST_INSIDE
        return bool(process.pid == self.leader.pid)


def namespace_pid(pid: int) -> int:
    """The pid that a process has in the outermost sandbox it is in; 0 where it is in none."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # Not splitlines: a process may name itself with anything that ends a line but the newline.
    numbers = [line.split()[1:] for line in status.split(b"\n") if line.startswith(b"NSpid:")]
    return int(numbers[0][1]) if numbers and len(numbers[0]) > 1 else 0


def living_thread(process: psutil.Process) -> int | None:
    """The id of a thread that has not ended; the first can end long before the others."""
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
    """RLIMIT_NPROC that leaves `room`: it counts all processes and threads of this user."""
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


def _start_orphan_killer(tag: str) -> "subprocess.Popen[bytes]":
    script = Path(__file__).with_name("orphan_killer.py")
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(script), tag, str(os.getpid())],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def _kill_groups(processes: Iterable[psutil.Process]) -> None:
    """Kill process groups at once, which even a tree that forks all the time cannot outrun."""
    groups = set()
    for process in processes:
        if process.is_running():  # its pid may be another process's by now
            with contextlib.suppress(ProcessLookupError):
                groups.add(os.getpgid(process.pid))
    for group in groups - {os.getpgrp()}:
        _kill_group(group)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _all_descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _threads_of(processes: Iterable[psutil.Process]) -> Iterator[int]:
    """A living thread of each: under its id /proc shows what the process has in memory."""
    for process in processes:
        if thread := living_thread(process):
            yield thread
