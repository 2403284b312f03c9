"""Label a folder of pictures in the browser, the picture that teaches most first.

    python label.py --pool photos/pool --classes scratch dent --out photos/labelled

A page opens in the browser, served on this machine only. Keys 1 to 9 mark classes, 0 "shows none",
Enter saves. Every answer is on the disk before the next picture is shown; stop it at any moment
with Ctrl-C and go on with the same command. `--out` is a labelled folder: `images/` and
`labels.csv`, and beside them the journal of what was answered when.
"""

import argparse
import sys
from collections.abc import Sequence

from core.user_account import ensure_user_and_home
from shared.console import run_command, show_result
from shared.errors import missing_requirement
from shared.process_environment import prepare_process

if __name__ == "__main__":
    ensure_user_and_home()
    prepare_process()  # torch cannot be imported everywhere
try:
    from labelling.page import command_line
    from labelling.page.background import Background
    from labelling.page.server import bind, serve
    from labelling.page.session import LabellingSession
except ImportError as missing:
    needs = dict.fromkeys(("starlette", "uvicorn"), "requirements-label.txt")
    print(f"error: {missing_requirement('label.py', missing, needs).explained}", file=sys.stderr)
    sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page as the flags say; returns the exit code, 2 where that cannot be done."""
    flags = command_line.parser().parse_args(arguments)
    return run_command(lambda: _run(flags), catch=(ValueError,))


def _run(flags: argparse.Namespace) -> int:
    project = command_line.project(flags)
    session, background = LabellingSession(project), None
    try:
        listening, address = bind(project.out, flags.port)
        if flags.learner:
            job = command_line.job(flags, session)
            background = Background(job, session.receive, session.learner_ended)
            session.start_learning(background.tell)
        show_result(f"{len(project.names):,} images of {project.pool}. Label them at {address.url}")
        show_result("Stop with Ctrl-C: every answer is on the disk.")
        serve(session, listening, address, flags.browser)
    except KeyboardInterrupt:  # how a person ends it
        pass
    finally:
        if background is not None:
            background.close()
        session.close()
    show_result(f"{len(session.labels):,} images are labelled in {project.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
