"""`python -m evaluator doctor`: what this machine has, what it lacks, how to fix it.

Runs on the standard library alone, for it is asked when an installation does not work.
"""

import argparse
import os
import sys
from pathlib import Path

from evaluator.checks import installation, machine
from evaluator.checks.checks import Check, add_json_flag, show

NVIDIA = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `doctor`."""
    add_json_flag(parser)
    parser.set_defaults(run=lambda flags: show(examine(Path()), as_json=flags.json))


def examine(folder: Path) -> list[Check]:
    """Every check. `folder` is where commands are typed: it holds, or will, data/ and results/."""
    results, data = folder / "results", folder / "data"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    elsewhere = "/a/folder/of/yours"
    return [
        *_installed(),
        machine.memory_check(machine.total_memory()),
        machine.cpu_check(machine.usable_cpus()),
        machine.disk_check(machine.free_disk(results), results),
        machine.write_check("results", [results], f"python local_evaluation.py --out {elsewhere}"),
        machine.write_check("cache", [data, home], f"export XDG_CACHE_HOME={elsewhere}"),
        *_data(data),
        machine.git_check(),
        machine.browser_check(),
        machine.ray_check(),
        machine.bubblewrap_check(),
    ]


def _installed() -> list[Check]:
    wanted = installation.pins((installation.HOUSE / "requirements.txt").read_text())
    installed, needs = installation.installed_version, installation.torch_that_torchvision_needs()
    probe, driver = installation.run_probe(), machine.output_of(*NVIDIA)
    return [
        installation.python_check(sys.version_info[:3]),
        installation.torch_check(probe, wanted, installed, needs),
        installation.requirements_check(wanted, installed),
        installation.gpu_check(probe, driver),
        installation.weights_check(probe),
    ]


def _data(folder: Path) -> list[Check]:
    try:
        from evaluator.checks.data_health import data_checks
    except ImportError as error:
        return [Check("data", "warn", f"not looked at: {error}", installation.how_to_install())]
    return data_checks(folder)
