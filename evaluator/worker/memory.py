"""A process's private memory, and shared memory that a killed process tree would leave behind.

Files in /dev/shm and System V segments outlive the processes that made them, in RAM until a
restart. What a process maps can be read from /proc: what the tree mapped, was not there before it
and is mapped by no process after it is removed.
"""

import contextlib
import ctypes
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SHM_FOLDER = Path("/dev/shm")
SEGMENTS = Path("/proc/sysvipc/shm")
IPC_RMID = 0
# A line of /proc/PID/maps: address, rights, offset, device, inode, path. A segment's inode is its
# number.
MAPPED = re.compile(r"^\S+ \S+ \S+ \S+ (\d+) +(/dev/shm/|/SYSV)(.*?)(?: \(deleted\))?$", re.M)


def private_memory(pid: int) -> int:
    """Bytes of anonymous and shared memory of one process; mapped files do not count.

    Pages shared with others count in proportion, so forked pages count once over a process tree.
    A process can forbid this look (PR_SET_DUMPABLE), and a kernel before 4.14 does not offer it;
    then `resident_memory` is used, in which shared pages count in full. 0 means that the process
    has ended, or its first thread; the id of any other of its threads works as well.
    """
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        return resident_memory(pid)
    return _sum(rollup, b"Pss_Anon", b"Pss_Shmem")


def resident_memory(pid: int) -> int:
    """Bytes of anonymous and shared memory in RAM, from a file that any user may read."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return _sum(status, b"RssAnon", b"RssShmem")


def _sum(fields: bytes, *names: bytes) -> int:
    """The named fields of a file of `Name:  123 kB` lines, in bytes."""
    found = dict(line.split(b":", 1) for line in fields.split(b"\n") if b":" in line)
    return sum(int(found[name].split()[0]) * 1024 for name in names if name in found)


@dataclass(frozen=True)
class Shared:
    """A file in /dev/shm by its name and inode, or a System V segment by its number alone."""

    number: int
    name: str = ""


def existing() -> set[Shared]:
    """All shared memory on this machine."""
    found = set()
    for path in SHM_FOLDER.rglob("*"):  # nothing where there is no such folder
        with contextlib.suppress(OSError):  # removed in the meantime, or not to be seen
            found.add(Shared(path.stat().st_ino, path.relative_to(SHM_FOLDER).as_posix()))
    if SEGMENTS.is_file():
        lines = SEGMENTS.read_text(encoding="utf-8").splitlines()[1:]
        found |= {Shared(int(line.split()[1])) for line in lines}
    return found


def mapped_by(pids: Iterable[int]) -> set[Shared]:
    """What these processes map now."""
    found = set()
    for pid in pids:
        try:
            maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:  # it has ended, or is somebody else's
            continue
        for number, kind, name in MAPPED.findall(maps):
            found.add(Shared(int(number), name if kind == "/dev/shm/" else ""))
    return found


def remove_unused(candidates: set[Shared]) -> None:
    """Remove those of the candidates that no process maps any more."""
    if not candidates:
        return
    living = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
    for shared in (candidates & existing()) - mapped_by(living):
        if shared.name:
            (SHM_FOLDER / shared.name).unlink(missing_ok=True)
        else:
            ctypes.CDLL(None).shmctl(shared.number, IPC_RMID, None)
