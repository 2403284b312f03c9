"""Cores reserved for one purchase, where the machine has enough, and contention on them."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from evaluator.temp_dirs import private_folder

CONTENTION_SHARE = 0.1  # of its cores' time that others may take before a warning
MIN_SECONDS = 10.0  # the kernel counts in ticks: a shorter measurement means little


@contextmanager
def reserve_cores(n: int) -> Iterator[None]:
    """Run on `n` cores that no other purchase on this machine uses, as far as so many are free.

    Purchases that share a core are timed wrongly. They would in two evaluations side by side, and
    on a cluster, which counts cores but assigns none.
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
    """Move every thread of this process: torch's threads outlive a task and keep their cores."""
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread.name), cores)


@contextmanager
def warn_on_contention(warnings: list[str]) -> Iterator[None]:
    """Add a warning where other processes took much of this process's cores meanwhile.

    Its own are this process and the children that it started and waited for inside the block.
    Others are all other processes, and the host of a virtual machine that lent the cores elsewhere.
    """
    cores = os.sched_getaffinity(0)
    started, busy, own = time.monotonic(), _busy(cores), _own()
    yield
    seconds = time.monotonic() - started
    others = (_busy(cores) - busy) - (_own() - own)
    share = others / (seconds * len(cores))
    if seconds >= MIN_SECONDS and share > CONTENTION_SHARE:
        warnings.append(
            f"CPU contention: other processes used {share:.0%} of this trial's {len(cores)} cores; "
            "the result may understate the submission."
        )


def _busy(cores: set[int]) -> float:
    """Seconds of work on those cores since the machine started; 0 where the kernel does not say."""
    ticks = 0
    with suppress(OSError):
        for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines():
            name, *counted = line.split()
            if name.removeprefix("cpu").isdigit() and int(name.removeprefix("cpu")) in cores:
                # user, nice, system, (idle, waiting for a disk,) interrupts twice, steal: proc(5)
                ticks += sum(map(int, counted[:3] + counted[5:8]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Seconds of work of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
