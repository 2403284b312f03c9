"""An append-only record of what was done, one JSON object a line, written as it happens."""

import fcntl
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluator.errors import ConfigurationError

Record = dict[str, Any]


def read_records(path: Path) -> list[Record]:
    """The records of a journal that somebody may still be writing; nothing is changed.

    A torn last line is left out, silently: it is being written. Raises ConfigurationError for
    a file that is not there and for a broken line before the last.
    """
    if not path.is_file():
        raise ConfigurationError(
            "no-results",
            f"{path} is not there. Name a folder that local_evaluation.py wrote (its --out).",
        )
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return list(_parsed(path, whole))


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the journals in `folder`; raises ConfigurationError while another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                "results-in-use",
                f"Another evaluation is writing into {folder}. Wait until it ends, or choose "
                "another --out; `python -m evaluator report` joins the two afterwards.",
            ) from error
        yield


class Journal:
    """A `.jsonl` file that survives being killed: at most its last line is lost.

    A torn last line is dropped with a warning when the file is opened; a broken line before
    it means that something else wrote into the file, and is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[Record] = []
        if path.exists():
            self.records = list(_read(path))

    def append(self, record: Record) -> None:
        """Write one record and hand it to the operating system before returning."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.records.append(record)


def _read(path: Path) -> Iterator[Record]:
    content = path.read_bytes()
    whole, newline, torn = content.rpartition(b"\n")
    if torn:
        notice = f"{path}: dropped a torn last line of {len(torn)} bytes (the run was killed)."
        tqdm.write(notice, file=sys.stderr)
        with path.open("rb+") as file:
            file.truncate(len(content) - len(torn))
    yield from _parsed(path, whole + newline)


def _parsed(path: Path, lines: bytes) -> Iterator[Record]:
    for number, line in enumerate(lines.splitlines(), start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _broken(path, number, str(error)) from error
        if not isinstance(record, dict):
            raise _broken(path, number, "it holds no JSON object")
        yield record


def _broken(path: Path, number: int, what: str) -> ConfigurationError:
    return ConfigurationError(
        "journal-broken",
        f"{path}, line {number} cannot be read: {what}. Only a last line can be torn by a killed "
        "run; restore the file, or begin anew with another --out.",
    )
