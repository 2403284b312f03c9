"""What a submission prints, kept in a file of bounded size: the beginning and the end of it."""

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from shared.formatting import printable

FIRST = 4 << 20  # bytes written to the log as they come
LAST = 1 << 20  # bytes of the end kept for it
CHUNK = 1 << 16
STILL_IN_THE_PIPE = 16  # chunks read after the end; a pipe holds one, but for what kernels allow
LOG_LINES = 20  # of a log that are shown with a failure
LOOK = 100  # milliseconds between looks at whether the log is being closed


class CappedLog:
    """A log file and the pipe that a process prints into; a thread carries from one to the other.

    What is printed first is in the file at once, so that it can be read while the process runs.
    Of what comes after, the last is written when the log is closed, after a line that says how
    much was left out. A disk that is full costs the log its text and the process nothing.
    """

    def __init__(self, path: Path, *, first: int = FIRST, last: int = LAST) -> None:
        self._room, self._last = first, last
        self._kept: deque[bytes] = deque()
        self._n_kept = self._left_out = 0
        self._file = path.open("wb", buffering=0)
        self._reader, self.pipe = os.pipe()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="log", daemon=True)
        self._thread.start()

    def __enter__(self) -> "CappedLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take what is still in the pipe, write the end, and close."""
        os.close(self.pipe)
        self._closing.set()
        self._thread.join()
        os.close(self._reader)
        end = b"".join(self._kept)[-self._last :]
        left_out = self._left_out + self._n_kept - len(end)
        note = f"\n[... {left_out:,} bytes were left out of this log ...]\n" if left_out else ""
        with self._file, contextlib.suppress(OSError):
            self._file.write(note.encode() + end)

    def _carry(self) -> None:
        for chunk in self._chunks():
            now, later = chunk[: self._room], chunk[self._room :]
            self._room -= len(now)
            if now and not self._written(now):
                self._left_out += len(now)
            if later:
                self._keep(later)

    def _chunks(self) -> Iterator[bytes]:
        """What comes through the pipe, until nobody holds it or the log is closed."""
        poll = select.poll()
        poll.register(self._reader)
        after_closing = 0
        while after_closing < STILL_IN_THE_PIPE:
            closing = self._closing.is_set()
            after_closing += closing
            if poll.poll(LOOK):
                chunk = os.read(self._reader, CHUNK)
                if not chunk:
                    return
                yield chunk
            elif closing:
                return

    def _written(self, chunk: bytes) -> bool:
        try:
            return self._file.write(chunk) == len(chunk)
        except OSError:
            return False

    def _keep(self, chunk: bytes) -> None:
        self._kept.append(chunk)
        self._n_kept += len(chunk)
        while self._n_kept - len(self._kept[0]) >= self._last:
            dropped = self._kept.popleft()
            self._n_kept -= len(dropped)
            self._left_out += len(dropped)


def last_lines(log: Path) -> str:
    """The end of a log, indented, to be shown with a failure."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16384))
        lines = file.read().decode(errors="backslashreplace").splitlines()[-LOG_LINES:]
    return "\n".join(f"    {printable(line)}" for line in lines) or "    (it printed nothing)"
