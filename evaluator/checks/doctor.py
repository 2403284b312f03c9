"""`python -m evaluator doctor`: what this machine has, what it lacks, how to fix it.

Runs on the standard library alone, for it is asked when an installation does not work.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evaluator.checks import installation
from evaluator.checks.check import Check, add_json_flag, show
from evaluator.worker.namespaces import PROBE

NODE_MEMORY, NODE_CPUS = 16 * 2**30, 4  # the platform's node: evaluator.worker.outcome.Limits
LEAST_MEMORY = 2 * 2**30  # bytes: two processes that have imported torch
LEAST_DISK, ENOUGH_DISK = 2**30, 10 * 2**30  # bytes: the decoded images of round 2 take 3 GiB
CGROUP = Path("/sys/fs/cgroup")  # a container's limits, version 2 and then version 1
NVIDIA = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
MAKE_DATA = "python -m evaluator data make --recipe demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `doctor`."""
    add_json_flag(parser)
    parser.set_defaults(run=lambda flags: show(examine(Path()), as_json=flags.json))


def examine(folder: Path) -> list[Check]:
    """Every check. `folder` is where commands are typed: it holds, or will, data/ and results/."""
    results, data = folder / "results", folder / "data"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    elsewhere = "/a/folder/of/yours"
    free = shutil.disk_usage(nearest_existing(results)).free
    return [
        *_installation(),
        memory_check(total_memory()),
        cpu_check(usable_cpus()),
        disk_check(free, results),
        write_check("results", [results], f"python local_evaluation.py --out {elsewhere}"),
        write_check("cache", [data, home], f"export XDG_CACHE_HOME={elsewhere}"),
        *_data(data),
        git_check(),
        ray_check(),
        bubblewrap_check(),
    ]


def _installation() -> list[Check]:
    files = (installation.REPO_ROOT / name for name in installation.REQUIREMENTS)
    pins = installation.read_pins("\n".join(file.read_text("utf-8-sig") for file in files))
    installed, needs = installation.installed_version, installation.torch_that_torchvision_needs()
    facts, driver = installation.ask_torch(), output_of(*NVIDIA)
    return [
        installation.python_check(sys.version_info[:3]),
        installation.torch_check(facts, pins, installed, needs),
        installation.requirements_check(pins, installed),
        installation.gpu_check(facts, driver),
        installation.weights_check(facts),
    ]


def _data(folder: Path) -> list[Check]:
    try:
        return data_checks(folder)
    except ImportError as error:
        return [Check("data", "warn", f"not looked at: {error}", installation.how_to_install())]


def data_checks(data: Path) -> list[Check]:
    """One check per data set in `data`, by its files and tables, of which few are decoded."""
    folders = [path for path in sorted(data.glob("[!.]*")) if path.is_dir()]
    if not folders:
        detail = f"no data set in {data}; an evaluation then generates synthetic images"
        return [Check("data", "warn", detail, MAKE_DATA)]
    return [_data_check(folder) for folder in folders]


def _data_check(root: Path) -> Check:
    # What follows needs what may be missing where the doctor is asked.
    from shared.errors import DatasetError
    from shared.images.decoding import BROKEN, open_image
    from shared.images.layout import find_splits, read_split

    name = f"data: {root.name}"
    if next(root.rglob("labels.csv"), None) is None:
        return Check(name, "warn", f"{root} is no data set: no labels.csv in it", MAKE_DATA)
    sizes = set()
    try:
        files = find_splits(root)
        training = read_split("training", files.pop("training"))
        splits = [training, *(read_split(*split, training.class_names) for split in files.items())]
        for split in splits:
            try:
                with open_image(split.images[0]) as image:
                    image.load()
                    sizes.add(f"{image.width} x {image.height}")
            except BROKEN as error:
                raise OSError(f"the image {split.images[0]} cannot be read ({error})") from error
    except (DatasetError, OSError) as error:
        return Check(name, "fail", str(error), f"python -m evaluator data check {root}")
    counts = ", ".join(f"{len(split.images):,} {split.name}" for split in splits)
    classes = len(training.class_names)
    return Check(name, "ok", f"{counts}; {classes} classes; {', '.join(sorted(sizes))} px")


# --- The machine


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


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except OSError:
        return []


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


def write_check(name: str, folders: Sequence[Path], fix: str) -> Check:
    """Whether something can be written to one of `folders`, tried in this order."""
    errors = []
    for folder in folders:
        try:
            with tempfile.TemporaryFile(dir=nearest_existing(folder)):
                return Check(name, "ok", f"{folder} can be written")
        except OSError as error:
            errors.append(f"{folder} cannot be written ({error.strerror})")
    return Check(name, "fail", "; ".join(errors), fix)


def nearest_existing(folder: Path) -> Path:
    """`folder`, or the folder above it that would receive it."""
    folder = folder.absolute()
    return folder if folder.is_dir() else nearest_existing(folder.parent)


# --- Other programs


def git_check() -> Check:
    if not shutil.which("git"):
        return Check("git", "warn", "absent; package and submit.sh need it", "apt install git")
    return Check("git", "ok", output_of("git", "--version") or "it does not answer")


def ray_check() -> Check:
    version = installation.installed_version("ray")
    if version is None:
        detail = "absent; optional, for trials side by side on several cores, GPUs or machines"
        return Check("ray", "warn", detail, "python -m pip install -r requirements-cluster.txt")
    return Check("ray", "ok", version)


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
