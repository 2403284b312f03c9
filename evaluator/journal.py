"""An append-only record of what was done, one JSON object a line, written as it happens."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluator.errors import ConfigurationError

Record = dict[str, Any]


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
    for number, line in enumerate((whole + newline).splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise _broken(path, number, str(error)) from error
        if not isinstance(record, dict):
            raise _broken(path, number, "it holds no JSON object")
        yield record


def _broken(path: Path, number: int, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path}, line {number} cannot be read: {what}. Only a last line can be torn by a killed "
        "run; restore the file, or begin anew with another --out."
    )
