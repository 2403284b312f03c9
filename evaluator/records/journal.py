"""An append-only record of what was done, one JSON object a line, written as it happens."""

import fcntl
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError

Record = dict[str, Any]
COMMANDS = "commands.jsonl"  # what was typed, and what it was evaluated with

logger = logging.getLogger(__name__)


def read_records(path: Path, key: Sequence[str] = (), needed: Sequence[str] = ()) -> list[Record]:
    """The records of a journal that somebody may still be writing; nothing is changed.

    A torn last line is left out, silently: it is being written. Raises ConfigurationError for
    a file that is not there, for a broken line before the last and for a record that has not the
    fields of `key`, names or numbers all of them, and those `needed`.
    """
    if not path.is_file():
        raise ConfigurationError(
            "no-results",
            f"{path} is not there. Name a folder that local_evaluation.py wrote (its --out).",
        )
    whole, _ = _without_torn_line(path.read_bytes())
    return list(_parsed(path, whole, key, needed))


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the journals in `folder`; raises ConfigurationError while another process does.

    So it does where nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise ConfigurationError(
            "cannot-write", f"--out {folder} cannot be written ({error}). Give a folder elsewhere."
        ) from error
    with lock:
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
    it, or a record without the fields of `key` and those `needed`, means that something else
    wrote into the file, and is refused. `last` and `all` find records by the values of `key`.
    """

    def __init__(self, path: Path, key: Sequence[str] = (), needed: Sequence[str] = ()) -> None:
        self.path = path
        self.key = tuple(key)
        self.records: list[Record] = []
        if path.exists():
            self.records = list(_read(path, self.key, needed))
        self._by_key: dict[tuple[object, ...], list[Record]] = {}
        for record in self.records:
            self._by_key.setdefault(self._key_of(record), []).append(record)

    def all(self, *values: object) -> Sequence[Record]:
        """The records with these values of the key's fields, the oldest first."""
        return self._by_key.get(values, ())

    def last(self, *values: object) -> Record | None:
        """The newest of them."""
        found = self.all(*values)
        return found[-1] if found else None

    def append(self, record: Record) -> None:
        """Write one record and hand it to the operating system before returning."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.records.append(record)
        self._by_key.setdefault(self._key_of(record), []).append(record)

    def _key_of(self, record: Record) -> tuple[object, ...]:
        return tuple(record[field] for field in self.key)


def _read(path: Path, key: Sequence[str], needed: Sequence[str]) -> Iterator[Record]:
    whole, torn = _without_torn_line(path.read_bytes())
    if whole and not whole.endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")
    if torn:
        logger.warning(
            "%s: dropped a torn last line of %d bytes (the run was killed).", path, len(torn)
        )
        with path.open("rb+") as file:
            file.truncate(len(whole))
    yield from _parsed(path, whole, key, needed)


def _without_torn_line(content: bytes) -> tuple[bytes, bytes]:
    """A journal's whole lines, and what is left of a last one; one may lack nothing but its end."""
    end = content.rfind(b"\n") + 1
    with suppress(ValueError, RecursionError):
        if isinstance(json.loads(content[end:]), dict):
            return content, b""
    return content[:end], content[end:]


def _parsed(
    path: Path, lines: bytes, key: Sequence[str], needed: Sequence[str]
) -> Iterator[Record]:
    for number, line in enumerate(lines.splitlines(), start=1):
        if not line.strip():  # left by somebody who removed a line, as the evaluator proposes
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _broken(path, number, str(error)) from error
        if not isinstance(record, dict):
            raise _broken(path, number, "it holds no JSON object")
        for field in (*key, *needed):
            if field not in record:
                raise _broken(path, number, f"it lacks {field!r}")
            if field in key and isinstance(record[field], list | dict):
                raise _broken(path, number, f"its {field!r} is no name and no number")
        yield record


def _broken(path: Path, number: int, what: str) -> ConfigurationError:
    return ConfigurationError(
        "journal-broken",
        f"{path}, line {number} cannot be read: {what}. Only a last line can be torn by a killed "
        "run; restore the file, or begin again with another --out.",
    )
