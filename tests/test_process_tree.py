"""Process trees: what is counted, and that none outlives an evaluator that is killed."""

import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from evaluator.worker import memory
from evaluator.worker.memory import Shared, existing, private_memory, resident_memory
from evaluator.worker.orphan_killer import members
from evaluator.worker.process_tree import ProcessTree, namespace_pid, task_limit
from tests.conftest import REPO_ROOT
from tests.submissions import left_running

EVALUATOR = """
import os, subprocess, sys, time
from pathlib import Path
from evaluator.worker.process_tree import ProcessTree
worker = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
leader = (
    "import subprocess, sys, time\\n"
    f"subprocess.Popen([sys.executable, '-c', {worker!r}, sys.argv[1]], start_new_session=True)\\n"
    "time.sleep(600)"
)
tree = ProcessTree(
    [sys.executable, "-c", leader, sys.argv[1]],
    cwd=Path("."), env=os.environ, output=subprocess.DEVNULL, pass_fds=[],
)
time.sleep(600)
"""
PATIENCE = 60.0  # seconds, on a machine that is busy


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_for(what: Callable[[], object], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not what():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)


def planted(code: str, folder: Path, *arguments: str) -> ProcessTree:
    return ProcessTree(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=os.environ,
        output=subprocess.DEVNULL,
        pass_fds=[],
    )


def test_process_tree_dies_with_a_killed_evaluator(tmp_path: Path) -> None:
    written = tmp_path / "pid"
    evaluator = subprocess.Popen(
        [sys.executable, "-c", EVALUATOR, str(written)],
        env={**os.environ, "PYTHONPATH": str(REPO_ROOT)},
    )
    wait_for(lambda: written.exists() and written.read_text())
    family = psutil.Process(evaluator.pid).children(recursive=True)
    assert len(family) == 3, "the leader, its worker, the orphan killer"
    worker = int(written.read_text())
    assert os.getsid(worker) == worker
    evaluator.send_signal(signal.SIGKILL)
    evaluator.wait()
    wait_for(lambda: all(gone(process.pid) for process in family))


def test_kill_leaves_no_orphan_killer(tmp_path: Path) -> None:
    tree = planted("import time; time.sleep(600)", tmp_path)
    assert [process.pid for process in tree.members()] == [tree.leader.pid]
    assert tree.kill() == 0
    assert left_running() == []


def test_kill_leaves_no_process_where_counting_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = planted("import time; time.sleep(600)", tmp_path)

    def fails() -> list[psutil.Process]:
        raise ValueError("a process that nobody thought of")

    monkeypatch.setattr(tree, "members", fails)
    with pytest.raises(ValueError, match="nobody thought of"):
        tree.kill()
    assert left_running() == []


HOARDER = """
import ctypes, os, threading, time
def hoard():
    hoard = bytearray(os.urandom(1 << 20)) * 64
    time.sleep(600)
threading.Thread(target=hoard).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_members_with_ended_first_thread(tmp_path: Path) -> None:
    tree = planted(HOARDER, tmp_path)
    try:
        wait_for(lambda: psutil.Process(tree.leader.pid).status() == psutil.STATUS_ZOMBIE)
        assert [process.pid for process in tree.members()] == [tree.leader.pid]
        wait_for(lambda: tree.private_memory(tree.members()) > 60 << 20)
    finally:
        tree.kill()


def test_orphan_killer_members_with_ended_first_thread() -> None:
    tag = f"TREE={os.getpid()}"
    hoarder = subprocess.Popen([sys.executable, "-c", HOARDER], env=dict([tag.split("=")]))
    try:
        wait_for(lambda: psutil.Process(hoarder.pid).status() == psutil.STATUS_ZOMBIE)
        assert members(tag.encode()) == [hoarder.pid]
    finally:
        hoarder.kill()
        hoarder.wait()


@pytest.mark.parametrize("numbers", ["1 7", "a b"])
def test_namespace_pid_is_not_read_from_a_process_name(numbers: str) -> None:
    named = f"import ctypes; ctypes.CDLL(None).prctl(15, b'\x0bNSpid: {numbers}'); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", named], stdin=pipe) as process:
        wait_for(lambda: b"NSpid" in Path(f"/proc/{process.pid}/comm").read_bytes())
        assert namespace_pid(process.pid) == 0
        process.kill()


def test_private_memory_of_an_undumpable_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = resident_memory(os.getpid())
    hoard = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for _ in range(64):  # pages of its own: what earlier tests gave back may serve a bytearray
        hoard.write(os.urandom(1 << 20))
    pid = os.getpid()
    read_bytes = Path.read_bytes

    def forbidden(path: Path) -> bytes:
        if path.name == "smaps_rollup":
            raise PermissionError(path)
        return read_bytes(path)

    monkeypatch.setattr(memory.Path, "read_bytes", forbidden)
    assert private_memory(pid) - before > 60 << 20
    hoard.close()


def test_private_and_resident_memory_agree() -> None:
    hoard = bytearray(os.urandom(1 << 20)) * 64
    proportional, resident = private_memory(os.getpid()), resident_memory(os.getpid())
    assert proportional > 60 << 20
    assert 0.9 < proportional / resident < 1.1
    del hoard


def test_private_memory_of_an_ended_process() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert private_memory(ended.pid) == resident_memory(ended.pid) == 0


def test_task_limit_leaves_room() -> None:
    assert task_limit(1000) > 1000


SHARER = """
import ctypes, sys, time
from multiprocessing import shared_memory
block = shared_memory.SharedMemory(create=True, size=4096)
system = ctypes.CDLL(None)
system.shmat.restype = ctypes.c_void_p
number = system.shmget(0, 4096, 0o1600)
system.shmat(number, None, 0)
with open(sys.argv[1], "w") as file:
    file.write(f"{block.name} {number}")
time.sleep(600)
"""


def test_kill_removes_shared_memory_of_the_tree_only(tmp_path: Path) -> None:
    written = tmp_path / "written"
    older = Path("/dev/shm") / f"zewdpc-test-{os.getpid()}"
    older.write_bytes(b"not the tree's")
    try:
        tree = planted(SHARER, tmp_path, str(written))
        wait_for(lambda: written.exists() and len(written.read_text().split()) == 2)
        name, number = written.read_text().split()
        made = {Shared((Path("/dev/shm") / name).stat().st_ino, name), Shared(int(number))}
        assert made <= existing()
        tree.kill()
        assert not made & existing()
        assert older.read_bytes() == b"not the tree's"
    finally:
        older.unlink()
