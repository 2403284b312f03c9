"""Cores for a purchase of its own, where the machine has so many."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from evaluator.submission.scratch import private_folder


@contextmanager
def own_cores(n: int) -> Iterator[None]:
    """Run on `n` cores that no other purchase on this machine runs on, as far as there are so many.

    Two purchases that share a core are timed wrongly: of two evaluations side by side, or on a
    cluster, which counts cores but assigns none. Where fewer are free, some are shared.
    """
    allowed = os.sched_getaffinity(0)
    mine: set[int] = set()
    with ExitStack() as held:
        with suppress(PermissionError):  # somebody else's folder: nothing can be held
            folder = private_folder("cores")
            for core in sorted(allowed):
                if len(mine) < n and held.enter_context(_locked(folder / str(core))):
                    mine.add(core)
        _run_on(mine.union(sorted(allowed - mine)[: n - len(mine)]))
        try:
            yield
        finally:
            _run_on(allowed)


@contextmanager
def _locked(file: Path) -> Iterator[bool]:
    """Whether the core that `file` stands for was free, and is held."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        yield free
    finally:
        os.close(lock)


def _run_on(cores: set[int]) -> None:
    """Move every thread of this process: torch's stay from task to task, and keep their cores."""
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread.name), cores)
