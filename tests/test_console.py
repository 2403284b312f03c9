"""One console handler, one event file, and one place where every command's errors end."""

import argparse
import errno
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared import console
from shared.console import (
    EVENTS,
    add_verbosity_flags,
    configure_logging,
    event,
    event_log,
    run_command,
    show_result,
)
from shared.errors import ConfigurationError

logger = logging.getLogger("evaluator.tests")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = [(root, list(root.handlers), root.level) for root in console.ROOTS]
    yield
    for root, handlers, level in before:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ([], "info\nwarning: careful\nerror: wrong\n"),
        (["--quiet"], "warning: careful\nerror: wrong\n"),
        (["--verbose"], "debug\ninfo\nwarning: careful\nerror: wrong\n"),
    ],
)
def test_configure_logging_levels(
    typed: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_verbosity_flags(parser)
    configure_logging()
    configure_logging(parser.parse_args(typed))  # a second time adds no second line
    logger.debug("debug")
    logger.info("info")
    logger.warning("careful")
    logger.error("wrong")
    assert capsys.readouterr() == ("", shown)


def test_console_shows_no_terminal_commands(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logger.warning("a submission said %r", "\x1b[2J")
    logger.warning("raw \x1b[2J \ud800 \u202e")
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert shown.splitlines()[1] == r"warning: raw \x1b[2J \ud800 \u202e"


def test_event_log_has_time_level_logger_event_and_fields(tmp_path: Path) -> None:
    configure_logging(argparse.Namespace(quiet=True))
    with event_log(tmp_path):
        logger.info("bought %d labels", 7, extra=event("purchase", labels=7, out=tmp_path))
        logger.debug("no event")
    with event_log(tmp_path):
        logger.warning("later")
    logger.warning("after it was closed")
    lines = [json.loads(line) for line in (tmp_path / EVENTS).read_text().splitlines()]
    assert [line["message"] for line in lines] == ["bought 7 labels", "no event", "later"]
    first = lines[0]
    assert (first["level"], first["logger"], first["event"]) == ("info", logger.name, "purchase")
    assert first["fields"] == {"labels": 7, "out": str(tmp_path)}
    assert first["time"].endswith("+00:00")


def test_show_result_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    show_result("a table")
    assert capsys.readouterr() == ("a table\n", "")


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


ENDINGS = {
    # case: (error, exit code, what is shown)
    "an explained error": (
        ConfigurationError("bad-budget", "--pairs x: expected LABELS:MINUTES."),
        2,
        "error: --pairs x: expected LABELS:MINUTES.\nsee docs/troubleshooting.md#bad-budget\n",
    ),
    "a full disk": (
        OSError(errno.ENOSPC, "No space left on device"),
        2,
        "error: [Errno 28] No space left on device\nsee docs/troubleshooting.md#cannot-write\n",
    ),
    "caught by name": (KeyError("strategy"), 2, "error: 'strategy'\nsee docs/troubleshooting.md#"),
    "stopped": (KeyboardInterrupt(), 130, "\nStopped; nothing was written.\n"),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_run_command_exit_codes(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    error, code, shown = ENDINGS[case]
    stopped = "Stopped; nothing was written."
    assert run_command(raising(error), stopped=stopped, catch=(KeyError,)) == code
    assert capsys.readouterr().err.startswith(shown)


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError(errno.EBADF, "a bug")])
def test_run_command_hides_no_bug(error: Exception) -> None:
    with pytest.raises(type(error), match="a bug"):
        run_command(raising(error))


def test_run_command_ends_on_sigterm_and_puts_the_handler_back() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def command() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    assert run_command(command) == 130
    assert signal.getsignal(signal.SIGTERM) == before
    assert run_command(lambda: 1) == 1
