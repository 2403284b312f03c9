"""Folders for what is no result: of one trial, gone with it, and of this user, which stay."""

import errno
import os
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


def private_folder(name: str) -> Path:
    """A folder that outlives a process, among the temporary ones, for this user alone.

    Raises PermissionError where somebody else may have made it.
    """
    folder = Path(tempfile.gettempdir()) / f"zewdpc-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(errno.EACCES, "it is not this user's own", str(folder))
    return folder
