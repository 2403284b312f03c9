"""Judge a submission on this machine: `python local_evaluation.py --help`."""

import sys

if __name__ == "__main__":
    # Imported here, for worker processes import this file again and need none of it.
    from evaluator.grid.command_line import main

    sys.exit(main())
