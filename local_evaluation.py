"""Evaluate submissions on this machine: `python local_evaluation.py --help`."""

import sys

from core.user_account import ensure_user_and_home
from shared.process_environment import prepare_process


def main() -> int:
    from shared.errors import missing_requirement

    try:
        from evaluator.cli import main as evaluate
    except ImportError as error:
        raise missing_requirement("local_evaluation.py", error) from error
    return evaluate()


if __name__ == "__main__":
    ensure_user_and_home()
    prepare_process()
    # Imported here, because worker processes import this file again and need none of it.
    from shared.console import run_command

    sys.exit(run_command(main))
