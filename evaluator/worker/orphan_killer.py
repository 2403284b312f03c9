"""Kills a submission's process tree where the evaluator was killed and can no longer do so.

A process of its own beside the tree, asleep until the kernel signals that the evaluator is dead.
It knows the tree by a variable in the environment that each member inherits. It needs the
standard library only, and starts in some hundredths of a second.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
EMPTY_SCANS = 5  # scans in a row without a member before the tree counts as gone
MAX_SCANS = 500


def main(tag: str, evaluator: int) -> None:
    """Sleep until process `evaluator` has ended, then kill every process with `tag`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    while os.getppid() == evaluator:  # it may have ended before the signal was asked for
        signal.sigwait({signal.SIGTERM})
    empty = 0
    for _ in range(MAX_SCANS):
        found = members(tag.encode())
        for pid in found:
            _kill(pid)
        empty = 0 if found else empty + 1
        if empty == EMPTY_SCANS:
            return
        time.sleep(0.01)


def members(tag: bytes) -> list[int]:
    """Every living process that was started with `tag` (NAME=VALUE) in its environment."""
    folders = [folder for folder in Path("/proc").iterdir() if folder.name.isdecimal()]
    return [int(folder.name) for folder in folders if _has_tag(tag, folder)]


def _has_tag(tag: bytes, process: Path) -> bool:
    """Reads a living thread: where the first has ended, the process's own file is empty."""
    with contextlib.suppress(OSError):  # somebody else's, or it has just ended
        for thread in (process / "task").iterdir():
            with contextlib.suppress(OSError):
                if environment := (thread / "environ").read_bytes():
                    return tag in environment.split(b"\0")
    return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
