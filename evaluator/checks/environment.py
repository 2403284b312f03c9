"""What this machine has and lacks: Python, packages, GPU, weights, memory, disk, other programs.

Needs the standard library only, for it is asked when an installation does not work. torch is asked
in a process of its own, which a broken installation may end. What is measured is handed to the
checks, so that each can be tried with any value.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from evaluator.checks.check import Check
from evaluator.worker.namespaces import PROBE

REPO_ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ("requirements.txt", "requirements-evaluator.txt")
INSTALL = f"python -m pip install -r {REQUIREMENTS[-1]}"  # which installs the first, too
OLDEST_PYTHON = (3, 11)
NODE_MEMORY, NODE_CPUS = 16 * 2**30, 4  # the platform's node: evaluator.worker.outcome.Limits
LEAST_MEMORY = 2 * 2**30  # bytes: two processes that have imported torch
LEAST_DISK, ENOUGH_DISK = 2**30, 10 * 2**30  # bytes: the decoded images of round 2 take 3 GiB
CGROUP = Path("/sys/fs/cgroup")  # a container's limits, version 2 and then version 1
NVIDIA = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
TORCHVISION_NETWORKS = ("efficientnet_b0", "efficientnet_b4")  # whose weights are downloaded
PATIENCE = 120.0  # seconds; the first import of torch reads gigabytes from disk

Installed = Callable[[str], str | None]  # a distribution's version
TorchFacts = Mapping[str, Any] | str  # what torch says of itself, or why it cannot be imported


# --- Python and its packages


def installed_version(name: str) -> str | None:
    """The version of an installed distribution, without what follows a "+"."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def read_pins(requirements: str) -> dict[str, str]:
    """`name==version` lines of a requirements file."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;#]+)", requirements, flags=re.MULTILINE))


def torch_that_torchvision_needs() -> str | None:
    """The exact torch version that the installed torchvision was built with."""
    try:
        needs = " ".join(metadata.requires("torchvision") or [])
    except metadata.PackageNotFoundError:
        return None
    found = re.search(r"\btorch\s*\(?==\s*([\d.]+)", needs)
    return found[1] if found else None


def how_to_install(repository: Path = REPO_ROOT, prefix: str = sys.prefix) -> str:
    """Where a requirement is missing: step into the environment, making it first if need be."""
    if prefix != sys.base_prefix:
        return INSTALL
    step_in = ". .venv/bin/activate"
    made = (repository / ".venv" / "bin" / "activate").is_file()
    return step_in if made else f"python3 -m venv .venv && {step_in} && {INSTALL}"


def python_check(version: Sequence[int]) -> Check:
    found, wanted = ".".join(map(str, version[:3])), ".".join(map(str, OLDEST_PYTHON))
    if tuple(version[:2]) < OLDEST_PYTHON:
        detail = f"{found}; {wanted} or newer is needed"
        return Check("python", "fail", detail, f"make PYTHON=python{wanted} demo")
    return Check("python", "ok", found)


def requirements_check(pins: Mapping[str, str], installed: Installed) -> Check:
    """The requirements beside torch and torchvision, at their pins."""
    pins = {name: pin for name, pin in pins.items() if name not in ("torch", "torchvision")}
    versions = {name: installed(name) for name in pins}
    if missing := [name for name, version in versions.items() if version is None]:
        detail = f"not installed: {', '.join(missing)}"
        return Check("requirements", "fail", detail, how_to_install())
    if differing := [
        f"{name} {versions[name]} (pinned: {pin})"
        for name, pin in pins.items()
        if versions[name] != pin
    ]:
        return Check("requirements", "warn", f"other versions: {', '.join(differing)}", INSTALL)
    return Check("requirements", "ok", f"the other {len(pins)} at their pins")


def torch_check(
    facts: TorchFacts, pins: Mapping[str, str], installed: Installed, needs: str | None
) -> Check:
    """torch and torchvision: installed, made for each other, importable, at their pins.

    `needs` is the torch that torchvision was built with, where it says.
    """
    versions = {name: installed(name) for name in ("torch", "torchvision")}
    if missing := [name for name, version in versions.items() if version is None]:
        detail = f"not installed: {' and '.join(missing)}"
        return Check("torch", "fail", detail, how_to_install())
    found = " with ".join(f"{name} {version}" for name, version in versions.items())
    if needs and needs != versions["torch"]:
        detail = f"{found}, which was built for torch {needs}; it does not match"
        return Check("torch", "fail", detail, INSTALL)
    if isinstance(facts, str):
        again = INSTALL.replace("install", "install --force-reinstall")
        return Check("torch", "fail", f"{found} cannot be imported: {facts}", again)
    if any(versions[name] != pins.get(name, versions[name]) for name in versions):
        pinned = " with ".join(f"{name} {pins[name]}" for name in versions if name in pins)
        return Check("torch", "warn", f"{found}; pinned is {pinned}", INSTALL)
    return Check("torch", "ok", found)


# --- What torch says of itself, the GPUs and the weights


def ask_torch() -> TorchFacts:
    """What `print_torch_facts` prints in a process of its own."""
    program = f"import {__name__} as environment; environment.print_torch_facts()"
    command = [sys.executable, "-c", program]
    try:
        done = subprocess.run(
            command,
            cwd=REPO_ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return f"importing it took more than {PATIENCE:g} s"
    if done.returncode < 0:
        return f"importing it was ended by signal {-done.returncode}"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    facts: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def print_torch_facts() -> None:
    """The GPUs that torch computes on, or why on none, and where ImageNet weights lie."""
    import torch
    from torchvision.models import get_model_weights  # breaks with another torch than its own

    no_cuda, gpus = "", []
    try:
        torch.empty(0, device="cuda")
    except (RuntimeError, AssertionError) as refused:  # AssertionError: built without CUDA
        no_cuda = str(refused).splitlines()[0]
    for number in range(0 if no_cuda else torch.cuda.device_count()):
        device = torch.device("cuda", number)
        properties, error = torch.cuda.get_device_properties(device), ""
        try:
            torch.ones(64, 64, device=device).mm(torch.ones(64, 64, device=device)).sum().item()
        except RuntimeError as failed:
            error = str(failed).splitlines()[0]
        capability = f"compute capability {properties.major}.{properties.minor}"
        name = f"{properties.name}, {properties.total_memory / 2**30:.1f} GiB, {capability}"
        gpus.append({"name": name, "error": error})
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    urls = {name: get_model_weights(name).IMAGENET1K_V1.url for name in TORCHVISION_NETWORKS}
    weights = [
        {"architecture": name, "path": str(folder / Path(url).name), "url": url}
        for name, url in urls.items()
    ]
    print(json.dumps({"no_cuda": no_cuda, "gpus": gpus, "weights": weights}))


def gpu_check(facts: TorchFacts, driver: str | None) -> Check:
    """The GPUs that torch computes on. `driver`: what nvidia-smi says, where there is one."""
    driver = "; ".join((driver or "").splitlines())
    answer = f"nvidia-smi: {driver or 'no answer'}"
    if isinstance(facts, str):
        detail = f"not looked at, for torch does not import ({answer})"
        return Check("gpu", "warn", detail, "fix torch first")
    for gpu in facts["gpus"]:
        if gpu["error"]:
            detail = f"{gpu['name']} failed a test matrix multiplication: {gpu['error']}"
            fix = f"{INSTALL}   # a torch for this GPU; or go without: --device cpu"
            return Check("gpu", "fail", detail, fix)
    if facts["gpus"]:
        return Check("gpu", "ok", f"{'; '.join(gpu['name'] for gpu in facts['gpus'])}; {answer}")
    if driver:
        detail = f"{driver} is there, but torch does not use it: {facts['no_cuda']}"
        return Check("gpu", "warn", detail, f"update the driver, or {INSTALL}")
    return Check(
        "gpu",
        "warn",
        "no GPU: quick pipeline (a small net, made for processors)",
        "nothing to install; --pipeline quick is the default here",
    )


def weights_check(facts: TorchFacts) -> Check:
    """The ImageNet weights that pipelines start from, in torch's cache."""
    if isinstance(facts, str):
        detail = "not looked at, for torch does not import"
        return Check("weights", "warn", detail, "fix torch first")
    weights = [(w["architecture"], Path(w["path"]), w["url"]) for w in facts["weights"]]
    missing = [entry for entry in weights if not entry[1].exists()]
    if damaged := [path for _, path, _ in weights if path.exists() and not _is_intact(path)]:
        files = " ".join(map(str, damaged))
        return Check("weights", "fail", f"damaged: {files}", f"rm {files}")
    if missing:
        return Check(
            "weights",
            "warn",
            f"ImageNet weights absent: {', '.join(architecture for architecture, *_ in missing)}; "
            "they are downloaded at first use, and `quick` needs none",
            "\n".join(f"curl -L --create-dirs -o {path} {url}" for _, path, url in missing),
        )
    return Check("weights", "ok", f"ImageNet weights of {', '.join(entry[0] for entry in weights)}")


def _is_intact(path: Path) -> bool:
    """Whether a file has the digest that torch puts at the end of its name, `name-1a2b3c4d.pth`."""
    wanted = path.stem.rpartition("-")[2]
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(wanted)


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
    version = installed_version("ray")
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
