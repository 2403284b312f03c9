"""Judge a submission on this machine: `python local_evaluation.py --help`."""

import sys

if __name__ == "__main__":
    # Imported here, for worker processes import this file again and need none of it.
    try:
        from evaluator.experiment.command_line import main
    except ImportError as error:
        from evaluator.errors import missing_requirement

        print(missing_requirement("local_evaluation.py", error).spoken, file=sys.stderr)
        sys.exit(2)
    sys.exit(main())
