"""Where a record came from: which code, which libraries, which processor.

Written into every line of the journals, so that journals of several machines can be read side by
side and a number can be had again. No host or user name is recorded.
"""

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

LIBRARIES = ("torch", "torchvision", "numpy", "scikit-learn", "pillow", "timm")

# A repository can name a program by which git fetches objects that it misses. The second is known
# to newer gits only; without it they still try, by no protocol.
FETCH_NOTHING = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}

Versions = dict[str, str]


@cache
def library_versions() -> Versions:
    """Python's and each library's version; a library that is not installed is left out."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@cache
def machine_name() -> str:
    """What a submission can compute on here: each kind of GPU that torch sees, the processor."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return ", ".join(dict.fromkeys([*gpus, processor()]))


@cache
def git_revision(folder: Path, *, trusted: bool = True) -> str:
    """The commit that `folder` stands at, with "+changes" where files differ from it.

    Empty where git is missing or the folder is under no version control. A repository can name
    programs that git runs when it compares files or misses an object; in one that is not `trusted`
    nothing is compared or fetched.
    """
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--exclude=*"]
    if trusted:
        command.append("--dirty=+changes")
    environment = {**os.environ, **({} if trusted else FETCH_NOTHING)}
    try:
        described = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return described.stdout.strip() if described.returncode == 0 else ""


def stamp(folder: Path, *, trusted: bool = True) -> dict[str, Any]:
    """What a record says of where it came from; `folder` holds the code that made it."""
    return {
        "device": machine_name(),
        "revision": git_revision(folder, trusted=trusted),
        "versions": library_versions(),
    }


def processor() -> str:
    """The model of this machine's processor, as far as it says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
