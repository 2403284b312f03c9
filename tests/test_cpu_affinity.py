"""A purchase runs on cores that no other runs on, where there are so many; else it is warned."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from evaluator.worker import cpu_affinity
from evaluator.worker.cpu_affinity import reserve_cores, warn_on_contention


def test_reserve_cores_moves_running_threads() -> None:
    before = os.sched_getaffinity(0)
    seen: list[set[int]] = []
    moved, done = threading.Event(), threading.Event()

    def compute() -> None:
        moved.wait()
        seen.append(os.sched_getaffinity(0))
        done.set()

    thread = threading.Thread(target=compute)
    thread.start()
    with reserve_cores(1):
        moved.set()
        done.wait()
        own = os.sched_getaffinity(0)
    thread.join()
    assert seen == [own]
    assert len(own) == 1 or own == before  # all cores where none was free
    assert os.sched_getaffinity(0) == before


def test_reserve_cores_twice_gives_different_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where no other run holds a core
    before = os.sched_getaffinity(0)
    with reserve_cores(1):
        first = os.sched_getaffinity(0)
        os.sched_setaffinity(0, before)  # as another process has it, to which all are allowed
        with reserve_cores(1):
            second = os.sched_getaffinity(0)
        with reserve_cores(len(before)):
            assert os.sched_getaffinity(0) == before, "not so many are free: some are shared"
    assert os.sched_getaffinity(0) == before
    assert len(first) == len(second) == 1
    assert len(before) == 1 or first != second


def test_reserve_cores_ignores_a_foreign_lock_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "theirs" / "0"
    victim.parent.mkdir()
    victim.write_text("kept")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"zewdpc-{os.getuid()}-cores").symlink_to(victim.parent)
    before = os.sched_getaffinity(0)
    with reserve_cores(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
    assert victim.read_text() == "kept"


def busy_process() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "while True: pass"])


def test_warn_on_contention_names_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_affinity, "MIN_SECONDS", 1.0)
    warnings: list[str] = []
    with reserve_cores(1):
        other = busy_process()  # on the same core; not waited for, so not one of its own
        with warn_on_contention(warnings):
            time.sleep(2)
        other.kill()
        other.wait()
    (warning,) = warnings
    share = int(warning.removeprefix("CPU contention: other processes used ").partition("%")[0])
    assert 60 <= share <= 105, warning
    assert "of this trial's 1 cores" in warning


@pytest.mark.parametrize(
    ("busy", "own", "seconds", "warns"),
    [
        (39.0, 39.0, 10.0, False),  # all its own, also where others idle
        (43.0, 38.0, 11.0, True),  # of 44 seconds of four cores, 5 went to others
        (43.0, 39.0, 11.0, False),  # 4 of 44
        (8.0, 0.0, 9.0, False),  # too short to say
        (0.0, 30.0, 60.0, False),  # a kernel that counts nothing
    ],
)
def test_warn_on_contention_threshold(
    busy: float, own: float, seconds: float, warns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def readings(difference: float) -> Iterator[float]:
        yield 100.0
        yield 100.0 + difference

    of_cores, of_own, clock = readings(busy), readings(own), readings(seconds)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1, 2, 3})
    monkeypatch.setattr(cpu_affinity, "_busy", lambda _cores: next(of_cores))
    monkeypatch.setattr(cpu_affinity, "_own", lambda: next(of_own))
    monkeypatch.setattr(cpu_affinity, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    warnings: list[str] = []
    with warn_on_contention(warnings):
        pass
    assert bool(warnings) == warns


def test_busy_seconds_where_the_kernel_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_path: Path, **_how: str) -> str:
        raise PermissionError("/proc/stat")

    assert cpu_affinity._busy(os.sched_getaffinity(0)) > 0
    monkeypatch.setattr(Path, "read_text", closed)
    assert cpu_affinity._busy(os.sched_getaffinity(0)) == 0


def test_own_seconds_include_ended_children() -> None:
    before = cpu_affinity._own()
    work = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    assert 0.45 <= cpu_affinity._own() - before < 2  # counted in ticks
