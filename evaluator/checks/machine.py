"""What the machine gives: memory, processors, disk, folders that can be written, other programs.

Needs the standard library only. Measuring and judging are apart: `*_check` are pure.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

from evaluator.checks.checks import Check
from evaluator.worker.bubblewrap import PROBE

NODE_MEMORY, NODE_CPUS = 16 * 2**30, 4  # the platform's node: evaluator.worker.supervisor.Limits
LEAST_MEMORY = 2 * 2**30  # bytes: two processes that have imported torch
LEAST_DISK, ENOUGH_DISK = 2**30, 10 * 2**30  # bytes: the decoded images of round 2 take 3 GiB
CGROUP = Path("/sys/fs/cgroup")  # a container's limits, version 2 and then version 1
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def total_memory(cgroup: Path = CGROUP) -> int:
    """Bytes of memory that this machine, or the container, may use."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _words(cgroup / name)
        if limit and limit[0].isdecimal():
            total = min(total, int(limit[0]))
    return total


def usable_cpus(cgroup: Path = CGROUP) -> float:
    """Processors that this process, or the container, may keep busy."""
    count: float = len(os.sched_getaffinity(0))
    quota = _words(cgroup / "cpu.max")
    if len(quota) == 2 and quota[0].isdecimal():
        count = min(count, int(quota[0]) / int(quota[1]))
    return count


def memory_check(total: int) -> Check:
    """Whether a submission that fits the platform's node fits here."""
    found = f"{total / 2**30:.1f} GiB"
    if total < LEAST_MEMORY:
        wanted = f"at least {LEAST_MEMORY / 2**30:g} GiB"
        return Check("memory", "fail", f"{found}; {wanted} are needed", f"give it {wanted}")
    if total < 0.9 * NODE_MEMORY:  # the kernel keeps some for itself
        return Check(
            "memory",
            "warn",
            f"{found}; the platform's node has {NODE_MEMORY / 2**30:g} GiB, so a submission that "
            "fits there may be killed here",
            f"python local_evaluation.py --memory {max(1, int(0.8 * total / 2**30))} ...",
        )
    return Check("memory", "ok", found)


def cpu_check(count: float) -> Check:
    """Whether minutes here are worth what they are on the platform's node."""
    found = f"{count:g} usable; the platform's node has {NODE_CPUS}"
    if count < NODE_CPUS:
        detail = f"{found}, so the same minutes are worth less here"
        return Check("processors", "warn", detail, "give more minutes, e.g. --pairs 621:34")
    return Check("processors", "ok", found)


def disk_check(free: int, folder: Path) -> Check:
    """Whether decoded images, weights and journals find room."""
    found = f"{free / 2**30:.1f} GiB free in {folder}"
    if free >= ENOUGH_DISK:
        return Check("disk", "ok", found)
    detail = f"{found}; the images of round 2, decoded, and the weights take about 4 GiB"
    return Check("disk", "fail" if free < LEAST_DISK else "warn", detail, f"make room in {folder}")


def write_check(name: str, folders: list[Path], fix: str) -> Check:
    """Whether something can be written to one of `folders`, tried in this order."""
    errors = []
    for folder in folders:
        error = _cannot_write(folder)
        if not error:
            return Check(name, "ok", f"{folder} can be written")
        errors.append(error)
    return Check(name, "fail", "; ".join(errors), fix)


def free_disk(folder: Path) -> int:
    return shutil.disk_usage(nearest_existing(folder)).free


def nearest_existing(folder: Path) -> Path:
    """`folder`, or the folder above it that would receive it."""
    folder = folder.absolute()
    return folder if folder.is_dir() else nearest_existing(folder.parent)


def git_check() -> Check:
    if not shutil.which("git"):
        return Check("git", "warn", "absent; package and submit.sh need it", "apt install git")
    return Check("git", "ok", output_of("git", "--version") or "it does not answer")


def browser_check() -> Check:
    """A browser, which only the report's own test starts."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        detail = "absent; only the test that opens the report in one is skipped"
        return Check("browser", "warn", detail, "apt install chromium")
    return Check("browser", "ok", found)


def ray_check() -> Check:
    try:
        return Check("ray", "ok", metadata.version("ray"))
    except metadata.PackageNotFoundError:
        detail = "absent; optional, for trials side by side on several cores, GPUs or machines"
        return Check("ray", "warn", detail, "python -m pip install -r requirements-cluster.txt")


def bubblewrap_check() -> Check:
    """bubblewrap, and whether the kernel lets it work."""
    if not shutil.which("bwrap"):
        detail = "absent; optional, for shutting a submission off from your files"
        return Check("bubblewrap", "warn", detail, "apt install bubblewrap")
    if output_of(*PROBE) is None:
        detail = "installed, but it may not make a sandbox here"
        fix = f"{shlex.join(PROBE)}   # says what the kernel refuses"
        return Check("bubblewrap", "warn", detail, fix)
    return Check("bubblewrap", "ok", "installed, and it works")


def output_of(*command: str) -> str | None:
    """What a command printed; None where it is absent, fails or hangs."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=20, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cannot_write(folder: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=nearest_existing(folder)):
            return ""
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror})"


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
