"""Shared memory that a killed family of processes would leave behind, in RAM until a restart.

Files in /dev/shm and System V segments outlive their makers. What a process maps can be read from
/proc; what was mapped by the family, was not there before it and is mapped by nobody after it is
removed.
"""

import contextlib
import ctypes
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("/dev/shm")
SEGMENTS = Path("/proc/sysvipc/shm")
IPC_RMID = 0
# A line of /proc/PID/maps: address, rights, offset, device, inode, path. A segment's inode is its
# number.
MAPPED = re.compile(r"^\S+ \S+ \S+ \S+ (\d+) +(/dev/shm/|/SYSV)(.*?)(?: \(deleted\))?$", re.M)


@dataclass(frozen=True)
class Shared:
    """A file in /dev/shm by its name and inode, or a System V segment by its number alone."""

    number: int
    name: str = ""


def existing() -> set[Shared]:
    """All that there is on this machine."""
    found = set()
    for path in FOLDER.rglob("*"):  # nothing where there is no such folder
        with contextlib.suppress(OSError):  # removed in the meantime, or not to be seen
            found.add(Shared(path.stat().st_ino, path.relative_to(FOLDER).as_posix()))
    if SEGMENTS.is_file():
        lines = SEGMENTS.read_text().splitlines()[1:]
        found |= {Shared(int(line.split()[1])) for line in lines}
    return found


def mapped_by(pids: Iterable[int]) -> set[Shared]:
    """What these processes have in their memory now."""
    found = set()
    for pid in pids:
        try:
            maps = Path(f"/proc/{pid}/maps").read_text(errors="surrogateescape")
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
            (FOLDER / shared.name).unlink(missing_ok=True)
        else:
            ctypes.CDLL(None).shmctl(shared.number, IPC_RMID, None)
