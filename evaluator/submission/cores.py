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
    cluster, which counts cores but assigns none. Where fewer are free, some are shared.
    """
    allowed = os.sched_getaffinity(0)
    with ExitStack() as held:
        mine: set[int] = set()
        for core in sorted(allowed):
            if len(mine) < n and held.enter_context(_locked(core)):
                mine.add(core)
        _run_on(mine.union(sorted(allowed - mine)[: n - len(mine)]))
        try:
            yield
        finally:
            _run_on(allowed)


@contextmanager
def _locked(core: int) -> Iterator[bool]:
    """Whether the core was free, and is held; by a file that only this user can have put there."""
    folder = Path(tempfile.gettempdir()) / f"zewdpc-{os.getuid()}-cores"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        yield False
        return
    lock = os.open(folder / str(core), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
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
