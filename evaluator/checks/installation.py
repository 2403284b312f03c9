"""What is installed: Python, packages, a torch that works, GPUs that it computes on, weights.

Needs the standard library only, for it is asked when an installation does not work. torch is asked
in a process of its own, which a broken installation may end. What is measured is handed to the
checks, so that each can be tried with any value.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from evaluator.checks.check import Check

REPO_ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ("requirements.txt", "requirements-evaluator.txt")
INSTALL = f"python -m pip install -r {REQUIREMENTS[-1]}"  # which installs the first, too
OLDEST_PYTHON = (3, 11)
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
    program = f"import {__name__} as installation; installation.print_torch_facts()"
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
