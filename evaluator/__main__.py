"""`python -m evaluator COMMAND`: the evaluator's other commands, each in a module of its own."""

import argparse
import importlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from core.user_account import ensure_user_and_home
from shared.console import add_verbosity_flags, configure_logging, run_command
from shared.errors import missing_requirement
from shared.process_environment import prepare_process

# A module is imported when its command is asked for: `doctor` must run where torch does not.
COMMANDS = {  # name: (module with `add_arguments(parser)`, what it is for)
    "data": (
        "evaluator.data_command",
        "make, unpack and check data sets",
    ),
    "report": ("evaluator.report.command", "one HTML page of one or several evaluations"),
    "doctor": (
        "evaluator.checks.doctor",
        "what this machine lacks, and how to fix it",
    ),
    "calibrate": (
        "evaluator.experiment.t4_scaling",
        "how many minutes of the platform's GPU a minute here is worth",
    ),
    "validate": (
        "evaluator.checks.validate",
        "whether a submission keeps the contract",
    ),
    "package": (
        "evaluator.checks.package",
        "build what would be pushed and try it out",
    ),
}


MOVED = {("data", "import"), ("data", "split")}  # stood here once, and are still understood


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code, 2 where it cannot be run as asked."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if tuple(words[:2]) in MOVED:  # the evaluator does not import `labelling`
        done = subprocess.run([sys.executable, "-m", "labelling", *words[1:]], check=False)
        return done.returncode

    def command() -> int:
        flags = parser(words[0] if words else "").parse_args(words)
        configure_logging(flags)
        exit_code: int = flags.run(flags)
        return exit_code

    return run_command(command)


def parser(command: str) -> argparse.ArgumentParser:
    """Every command, and the flags of the one named `command`."""
    p = argparse.ArgumentParser(prog="python -m evaluator")
    commands = p.add_subparsers(dest="command", required=True)
    for name, (module, summary) in COMMANDS.items():
        chosen = commands.add_parser(name, help=summary, description=summary)
        if name == command:
            _import(name, module).add_arguments(chosen)
            for one in _actions(chosen):
                add_verbosity_flags(one)
    return p


def _actions(command: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parsers of a command's own actions, as `data make`; itself where it has none."""
    for group in command._actions:
        if isinstance(group, argparse._SubParsersAction):
            return list(group.choices.values())
    return [command]


def _import(command: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing_requirement(command, error) from error


if __name__ == "__main__":
    ensure_user_and_home()
    prepare_process()
    sys.exit(main())
