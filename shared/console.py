"""How every command reports and ends: one console handler, one event file, one place for errors.

Modules log to `logging.getLogger(__name__)`. What a command was asked for (tables, JSON) is its
result and goes to standard output by `show_result`; everything else is log and goes to standard
error. Needs the standard library only, because `doctor` runs where nothing else is installed.
"""

import io
import json
import logging
import signal
import sys
import threading
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.errors import DISK_ERRORS, ExplainedError, see_also
from shared.formatting import printable

if TYPE_CHECKING:
    from argparse import _ActionsContainer  # a parser, or a group of its flags

EVENTS = "events.jsonl"  # in an --out folder
ROOTS = [logging.getLogger(name) for name in ("evaluator", "labelling", "shared")]

logger = logging.getLogger(__name__)


class ConsoleHandler(logging.Handler):
    """Writes to standard error, above the progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        text = printable(text)
        if tqdm := sys.modules.get("tqdm"):
            tqdm.tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr)
        sys.stderr.flush()


class EventHandler(logging.Handler):
    """Appends each record to a file as one line of JSON.

    Written line by line, so that it can be read while the command runs. A disk that refuses ends
    the command, as it does where a journal is written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(logging.DEBUG)
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace")

    def emit(self, record: logging.LogRecord) -> None:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": getattr(record, "event", "message"),
            "message": record.getMessage(),
            "fields": getattr(record, "fields", {}),
        }
        self._file.write(json.dumps(line, default=str) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        super().close()


def event(name: str, **fields: Any) -> dict[str, Any]:
    """The `extra` of a log call: `logger.info("...", extra=event("purchase", seconds=3.2))`."""
    return {"event": name, "fields": fields}


def add_verbosity_flags(parser: "_ActionsContainer") -> None:
    """`--quiet` and `--verbose`."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--quiet", action="store_true", help="no progress bars; warnings and errors only"
    )
    group.add_argument("--verbose", action="store_true", help="log more")


def positive_int(text: str) -> int:
    """The type of a flag that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def configure_logging(flags: Namespace | None = None) -> None:
    """Send the evaluator's log to the console, at the level that the flags ask for."""
    if not any(isinstance(handler, ConsoleHandler) for handler in ROOTS[0].handlers):
        console = ConsoleHandler()
        for root in ROOTS:
            root.addHandler(console)
    quiet, verbose = getattr(flags, "quiet", False), getattr(flags, "verbose", False)
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    for root in ROOTS:
        root.setLevel(logging.DEBUG)  # the event file takes all; the console what was asked for
    if isinstance(sys.stdout, io.TextIOWrapper):  # class names in any script, in any locale
        sys.stdout.reconfigure(errors="backslashreplace")
    for handler in ROOTS[0].handlers:
        if isinstance(handler, ConsoleHandler):
            handler.setLevel(level)


@contextmanager
def event_log(folder: Path) -> Iterator[None]:
    """Append what is logged meanwhile to `folder`/events.jsonl."""
    handler = EventHandler(folder / EVENTS)
    for root in ROOTS:
        root.addHandler(handler)
    try:
        yield
    finally:
        for root in ROOTS:
            root.removeHandler(handler)
        handler.close()


def show_result(result: object) -> None:
    """Print what a command was asked for."""
    print(result, flush=True)


def run_command(
    command: Callable[[], int],
    *,
    stopped: str = "Stopped.",
    catch: tuple[type[Exception], ...] = (),
) -> int:
    """Run a command; its exit code: 2 where it cannot run as asked, 130 where it was stopped.

    Every entry point goes through here. SIGTERM ends a command like Ctrl-C.

    Parameters
    ----------
    stopped : what to say to a person who stopped it.
    catch : further exceptions whose message is meant for a person.
    """
    configure_logging()
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    if in_main_thread:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return command()
    except ExplainedError as error:
        logger.error("%s", error.explained, extra=event("refused", code=error.code))
        return 2
    except catch as error:
        text = f"{error}\n{see_also('messages-of-our-own-submission')}"
        logger.error("%s", text, extra=event("refused"))
        return 2
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        text = f"{error}\n{see_also('cannot-write')}"
        logger.error("%s", text, extra=event("refused", code="cannot-write"))
        return 2
    except KeyboardInterrupt:
        print(f"\n{stopped}", file=sys.stderr)  # however quiet; the first line ends that of a ^C
        return 130
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)
