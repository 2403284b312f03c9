"""A folder for the time of one trial, which goes away whatever was made in it."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="zewdpc-")).resolve()
    try:
        yield folder
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder that holds what somebody else made: closed folders, and very deep ones.

    Raises OSError where it cannot be done.
    """
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):  # Python's own goes down by calling itself
        subprocess.run(["chmod", "-R", "u+rwx", str(folder)], capture_output=True, check=False)
        done = subprocess.run(["rm", "-rf", str(folder)], capture_output=True, check=False)
        if done.returncode:
            said = done.stderr.decode(errors="backslashreplace")[-500:]
            raise OSError(f"{folder} could not be removed: {said}") from None
