"""The journal of a labelling session: one JSON object a line, on the disk before it counts."""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError, DatasetError

Record = Mapping[str, Any]


class Journal:
    """An append-only file of records, open for one process at a time.

    Opening it reads what is there. A last line without its end, which a killed process or a full
    disk leaves, was never confirmed to anybody and is cut off.

    Attributes
    ----------
    records : what was there when it was opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise ConfigurationError(
                "labelling-elsewhere",
                f"{path.parent} is open in another label.py. Use the page that it has opened, or "
                "stop it first.",
            ) from error
        self.records = self._read()

    def append(self, record: Record) -> None:
        """Add a record; it is on the disk when this returns.

        Raises OSError where the disk refuses; the journal then ends as before.
        """
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            os.ftruncate(self._file.fileno(), end)
            raise

    def close(self) -> None:
        """Let another process open it."""
        self._file.close()

    def _read(self) -> list[Record]:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rpartition(b"\n")[0]
        if len(whole) + 1 < len(content) or (content and b"\n" not in content):
            self._file.truncate(len(whole) + 1 if whole else 0)
        records = list[Record]()
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise self._damaged(number, str(error)) from error
            if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
                raise self._damaged(number, "it is no record")
            records.append(record)
        return records

    def _damaged(self, number: int, why: str) -> DatasetError:
        return DatasetError(
            "labelling-journal-broken",
            f"{self.path}, line {number}: cannot be read ({why}). Nothing is written to a damaged "
            "journal: restore it from a copy, or take that line out.",
        )
