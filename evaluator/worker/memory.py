"""How much memory of its own a process has, as the machine that must hold it would count."""

from pathlib import Path


def private_memory(pid: int) -> int:
    """Bytes of anonymous and shared memory of one process; mapped files do not count.

    Pages shared with others count in proportion, so forked pages count once over a family.
    A process can forbid the look that this takes (PR_SET_DUMPABLE), and a kernel before 4.14 does
    not offer it; then what the kernel tells everybody is taken, where shared pages count in full.
    0 means that the process has ended, or its first thread; the number of any other thread does as
    well.
    """
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        return resident_memory(pid)
    return _sum(rollup, b"Pss_Anon", b"Pss_Shmem")


def resident_memory(pid: int) -> int:
    """Bytes of anonymous and shared memory that are in RAM, which any user may read."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return _sum(status, b"RssAnon", b"RssShmem")


def _sum(fields: bytes, *names: bytes) -> int:
    """The named fields of a file of `Name:  123 kB` lines, in bytes."""
    found = dict(line.split(b":", 1) for line in fields.split(b"\n") if b":" in line)
    return sum(int(found[name].split()[0]) * 1024 for name in names if name in found)
