"""The submission's whole family of processes: started, watched, and ended to the last one."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
QUIET_LOOKS = 5  # looks in a row without a living or dead member before a family counts as gone


class ProcessTree:
    """A command in a process group of its own, with everything it starts.

    On Linux the judge adopts orphans while the tree lives, so that a process that left its
    group or whose parent died is still found, counted and killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        output: IO[bytes],
        pass_fds: Sequence[int],
    ) -> None:
        self._before = set(_descendants())
        self._ended = False
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.leader = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            start_new_session=True,
        )

    def members(self) -> list[psutil.Process]:
        """Every living process that the command started, itself included."""
        return [
            process
            for process in _descendants()
            if process not in self._before and not _is_zombie(process)
        ]

    def private_memory(self) -> int:
        """Bytes of anonymous and shared memory of the tree; mapped files do not count."""
        return sum(_private_memory(process.pid) for process in self.members())

    def wait(self, timeout: float) -> int | None:
        """The leader's exit code, or None when it still runs after `timeout` seconds."""
        try:
            return self.leader.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def kill(self, patience: float = 10.0) -> int:
        """Kill every member; returns how many beside the leader were still running.

        Ends when nothing was found in several looks in a row, because a family that forks
        faster than it is looked at can hide from one.
        """
        if self._ended:
            return 0
        self._ended = True
        left_running = {process.pid for process in self.members()} - {self.leader.pid}
        deadline = time.monotonic() + patience
        quiet = 0
        while quiet < QUIET_LOOKS and time.monotonic() < deadline:
            if self.leader.poll() is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.leader.pid, signal.SIGKILL)
            ours = [process for process in _descendants() if process not in self._before]
            for process in ours:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
                if process.pid != self.leader.pid:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(process.pid, os.WNOHANG)
            quiet = 0 if ours else quiet + 1
            time.sleep(0.01)
        self.wait(timeout=max(0.0, deadline - time.monotonic()))
        _prctl(PR_SET_CHILD_SUBREAPER, 0)
        return len(left_running)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the one that started it ends (Linux only)."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _private_memory(pid: int) -> int:
    """Proportional anonymous and shared memory, so forked pages count once over the tree."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except FileNotFoundError:
        return _private_memory_elsewhere(pid)
    except OSError:
        return 0  # it ended in the meantime
    fields = dict(line.split(":", 1) for line in rollup.splitlines()[1:])
    return sum(
        int(fields[name].split()[0]) * 1024 for name in ("Pss_Anon", "Pss_Shmem") if name in fields
    )


def _private_memory_elsewhere(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except psutil.Error:
        return 0
