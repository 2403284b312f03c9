"""Cores for a purchase of its own, where the machine has so many."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


@contextmanager
def own_cores(n: int) -> Iterator[None]:
    """Run on `n` cores that no other purchase on this machine runs on, as far as there are so many.

    Two purchases that share a core are timed wrongly: of two evaluations side by side, or on a
    cluster, which counts cores but assigns none.
    """
    allowed = os.sched_getaffinity(0)
    folder = Path(tempfile.gettempdir()) / f"zewdpc-{os.getuid()}-cores"
    folder.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as held:
        mine: set[int] = set()
        for core in sorted(allowed):
            if len(mine) == n:
                break
            lock = held.enter_context((folder / str(core)).open("w"))
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mine.add(core)
        _run_on(mine if len(mine) == n else allowed)
        try:
            yield
        finally:
            _run_on(allowed)


def _run_on(cores: set[int]) -> None:
    """Move every thread of this process: torch's stay from task to task, and keep their cores."""
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread.name), cores)
