"""A log of bounded size: its beginning at once, its end at the end, and a word on what is gone."""

import os
import time
from pathlib import Path

import pytest

from evaluator.worker.capped_log import CappedLog

FIRST, LAST = 1000, 100_000


def wait_for_text(path: Path, text: bytes) -> None:
    deadline = time.monotonic() + 30
    while text not in path.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("size", [0, 1, FIRST, FIRST + 1, FIRST + LAST])
def test_capped_log_keeps_what_fits(size: int, tmp_path: Path) -> None:
    printed = os.urandom(size)
    with CappedLog(tmp_path / "log", first=FIRST, last=LAST) as log:
        os.write(log.pipe, printed)
    assert (tmp_path / "log").read_bytes() == printed


def test_capped_log_is_readable_while_written(tmp_path: Path) -> None:
    with CappedLog(tmp_path / "log") as log:
        os.write(log.pipe, b"begun")
        wait_for_text(tmp_path / "log", b"begun")


def test_capped_log_drops_and_counts_the_middle(tmp_path: Path) -> None:
    lines = [b"%08d\n" % number for number in range(1_000_000)]
    printed = b"".join(lines)
    with CappedLog(tmp_path / "log", first=FIRST, last=LAST) as log:
        os.write(log.pipe, b"")
        for start in range(0, len(printed), 4096):
            os.write(log.pipe, printed[start : start + 4096])
    kept = (tmp_path / "log").read_bytes()
    beginning, note, end = kept.partition(b"\n[... ")
    assert beginning == printed[:FIRST]
    dropped, _, end = end.partition(b" bytes were left out of this log ...]\n")
    assert note
    assert end == printed[-LAST:]
    assert int(dropped.replace(b",", b"")) == len(printed) - FIRST - LAST


def test_capped_log_on_a_full_disk() -> None:
    with CappedLog(Path("/dev/full"), first=FIRST, last=LAST) as log:
        for _ in range(100):
            os.write(log.pipe, b"x" * 4096)


def test_capped_log_closes_beside_a_living_writer(tmp_path: Path) -> None:
    with CappedLog(tmp_path / "log") as log:
        stays = os.dup(log.pipe)
        os.write(log.pipe, b"said")
    os.close(stays)
    assert (tmp_path / "log").read_bytes() == b"said"
