"""What is installed: Python, torch with torchvision, the other requirements, the GPU's support.

Needs the standard library only: it has to say so when the rest is missing. torch is asked in a
process of its own (`evaluator.checks.torch_probe`); the functions here judge its answer.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from evaluator.checks.checks import Check

HOUSE = Path(__file__).resolve().parents[2]
OLDEST_PYTHON = (3, 11)
INSTALL = "python -m pip install -r requirements.txt"
PROBE_PATIENCE = 120.0  # seconds; the first import of torch reads gigabytes from disk
Installed = Callable[[str], str | None]


@dataclass(frozen=True)
class Probe:
    """What torch said of itself, or the error that its process ended with."""

    found: Mapping[str, Any] | None
    error: str = ""


def run_probe() -> Probe:
    """Ask torch in a process of its own."""
    command = [sys.executable, "-m", "evaluator.checks.torch_probe"]
    try:
        done = subprocess.run(
            command,
            cwd=HOUSE,
            capture_output=True,
            text=True,
            check=False,
            timeout=PROBE_PATIENCE,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return Probe(None, f"importing it took more than {PROBE_PATIENCE:g} s")
    if done.returncode < 0:
        return Probe(None, f"importing it was ended by signal {-done.returncode}")
    if done.returncode:
        return Probe(None, (done.stderr.strip().splitlines() or ["no message"])[-1])
    return Probe(json.loads(done.stdout.splitlines()[-1]))


def installed_version(name: str) -> str | None:
    """The version of an installed distribution, without what follows a "+"."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def pins(requirements: str) -> dict[str, str]:
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


def how_to_install(house: Path = HOUSE, prefix: str = sys.prefix) -> str:
    """Where a requirement is missing: step into the environment, making it first if need be."""
    if prefix != sys.base_prefix:
        return INSTALL
    step_in = ". .venv/bin/activate"
    made = (house / ".venv" / "bin" / "activate").is_file()
    return step_in if made else f"python3 -m venv .venv && {step_in} && {INSTALL}"


def python_check(version: Sequence[int]) -> Check:
    found, wanted = ".".join(map(str, version[:3])), ".".join(map(str, OLDEST_PYTHON))
    if tuple(version[:2]) < OLDEST_PYTHON:
        detail = f"{found}; {wanted} or newer is needed"
        return Check("python", "fail", detail, f"make PYTHON=python{wanted} demo")
    return Check("python", "ok", found)


def requirements_check(wanted: Mapping[str, str], installed: Installed) -> Check:
    """The requirements beside torch and torchvision, at their pins."""
    others = {name: pin for name, pin in wanted.items() if name not in ("torch", "torchvision")}
    missing = [name for name in others if installed(name) is None]
    differing = [
        f"{name} {installed(name)} (pinned: {pin})"
        for name, pin in others.items()
        if name not in missing and installed(name) != pin
    ]
    if missing:
        detail = f"not installed: {', '.join(missing)}"
        return Check("requirements", "fail", detail, how_to_install())
    if differing:
        return Check("requirements", "warn", f"other versions: {', '.join(differing)}", INSTALL)
    return Check("requirements", "ok", f"the other {len(others)} at their pins")


def torch_check(
    probe: Probe, wanted: Mapping[str, str], installed: Installed, needs: str | None
) -> Check:
    """torch and torchvision: installed, made for each other, importable, at their pins.

    needs : the torch that torchvision was built with, where it says.
    """
    versions = {name: installed(name) for name in ("torch", "torchvision")}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        detail = f"not installed: {' and '.join(missing)}"
        return Check("torch", "fail", detail, how_to_install())
    found = " with ".join(f"{name} {version}" for name, version in versions.items())
    if needs and needs != versions["torch"]:
        detail = f"{found}, which was built for torch {needs}; it does not match"
        return Check("torch", "fail", detail, INSTALL)
    if probe.found is None:
        again = INSTALL.replace("install", "install --force-reinstall")
        return Check("torch", "fail", f"{found} cannot be imported: {probe.error}", again)
    pinned = " with ".join(f"{name} {wanted[name]}" for name in versions if name in wanted)
    if any(versions[name] != wanted.get(name, versions[name]) for name in versions):
        return Check("torch", "warn", f"{found}; pinned is {pinned}", INSTALL)
    return Check("torch", "ok", found)


def gpu_check(probe: Probe, driver: str | None) -> Check:
    """The GPUs that torch computes on. `driver`: what nvidia-smi says, where there is one."""
    driver = "; ".join((driver or "").splitlines())
    if probe.found is None:
        detail = f"not looked at, for torch does not import (nvidia-smi: {driver or 'no answer'})"
        return Check("gpu", "warn", detail, "fix torch first")
    gpus = probe.found["gpus"]
    broken = [gpu for gpu in gpus if gpu["error"]]
    if broken:
        return Check(
            "gpu",
            "fail",
            f"{_described(broken[0])} fails at a small sum: {broken[0]['error']}",
            f"{INSTALL}   # a torch for this GPU; or go without: --device cpu",
        )
    if gpus:
        detail = "; ".join(_described(gpu) for gpu in gpus)
        return Check("gpu", "ok", f"{detail}; nvidia-smi: {driver or 'no answer'}")
    if driver:
        detail = f"{driver} is there, but torch does not use it: {probe.found['no_cuda']}"
        return Check("gpu", "warn", detail, f"update the driver, or {INSTALL}")
    return Check(
        "gpu",
        "warn",
        "no GPU: quick pipeline (a small net, made for processors)",
        "nothing to install; --pipeline quick is the default here",
    )


def weights_check(probe: Probe) -> Check:
    """The ImageNet weights that pipelines start from, in torch's cache."""
    name = "weights"
    if probe.found is None:
        return Check(name, "warn", "not looked at, for torch does not import", "fix torch first")
    weights = [(w["architecture"], Path(w["path"]), w["url"]) for w in probe.found["weights"]]
    damaged = [path for _, path, _ in weights if path.exists() and not _whole(path)]
    missing = [entry for entry in weights if not entry[1].exists()]
    if damaged:
        files = " ".join(map(str, damaged))
        return Check(name, "fail", f"damaged: {files}", f"rm {files}")
    if missing:
        return Check(
            name,
            "warn",
            f"ImageNet weights absent: {', '.join(architecture for architecture, *_ in missing)}; "
            "they are downloaded at first use, and `quick` needs none",
            "\n".join(f"curl -L --create-dirs -o {path} {url}" for _, path, url in missing),
        )
    return Check(name, "ok", f"ImageNet weights of {', '.join(entry[0] for entry in weights)}")


def _described(gpu: Mapping[str, Any]) -> str:
    capability = ".".join(map(str, gpu["capability"]))
    return f"{gpu['name']}, {gpu['memory'] / 2**30:.1f} GiB, compute capability {capability}"


def _whole(path: Path) -> bool:
    """Whether a file has the digest that torch puts at the end of its name, `name-1a2b3c4d.pth`."""
    wanted = path.stem.rpartition("-")[2]
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(wanted)
