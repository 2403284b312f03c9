"""A purchase runs on cores that no other runs on, as far as there are so many."""

import os
import tempfile
import threading
from pathlib import Path

import pytest

from evaluator.submission.cores import own_cores


def test_threads_that_run_already_move_to_the_cores_of_a_purchase() -> None:
    before = os.sched_getaffinity(0)
    seen: list[set[int]] = []
    moved, done = threading.Event(), threading.Event()

    def compute() -> None:
        moved.wait()
        seen.append(os.sched_getaffinity(0))
        done.set()

    thread = threading.Thread(target=compute)
    thread.start()
    with own_cores(1):
        moved.set()
        done.wait()
        own = os.sched_getaffinity(0)
    thread.join()
    assert seen == [own]
    assert len(own) == 1 or own == before  # all cores where none was free
    assert os.sched_getaffinity(0) == before


def test_of_two_side_by_side_none_has_the_others_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where no other run holds a core
    before = os.sched_getaffinity(0)
    with own_cores(1):
        first = os.sched_getaffinity(0)
        os.sched_setaffinity(0, before)  # as another process has it, to which all are allowed
        with own_cores(1):
            second = os.sched_getaffinity(0)
        with own_cores(len(before)):
            assert os.sched_getaffinity(0) == before, "not so many are free: some are shared"
    assert os.sched_getaffinity(0) == before
    assert len(first) == len(second) == 1
    assert len(before) == 1 or first != second


def test_a_folder_that_somebody_else_may_have_made_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "theirs" / "0"
    victim.parent.mkdir()
    victim.write_text("kept")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"zewdpc-{os.getuid()}-cores").symlink_to(victim.parent)
    before = os.sched_getaffinity(0)
    with own_cores(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
    assert victim.read_text() == "kept"
