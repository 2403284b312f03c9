"""Files and folders that are there whole or not at all, and with them the folders above."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.errors import DatasetError


def ensure_absent(folder: Path) -> None:
    """Raises DatasetError where there is something already."""
    if folder.exists():
        raise DatasetError(
            "folder-taken", f"{folder} exists already. Give a new folder, or remove it first."
        )


def ensure_writable(path: Path) -> None:
    """Before long work, leaving no trace: raises DatasetError where nothing can be written."""
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        above = next(parent for parent in path.absolute().parents if parent.exists())
        with tempfile.TemporaryDirectory(dir=above):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file, in the place of one that is there. Raises DatasetError where that fails."""
    with _renamed(path) as half_made:
        half_made.write_bytes(content)


@contextmanager
def atomic_directory(folder: Path) -> Iterator[Path]:
    """Where to write what shall lie in `folder`; it gets there once all is written, or nothing.

    Raises DatasetError where the disk refuses, or something lies in `folder`.
    """
    with _renamed(folder) as half_made:
        half_made.mkdir()
        yield half_made


@contextmanager
def _renamed(target: Path) -> Iterator[Path]:
    """A path beside `target`, for something that goes by that name once it is written."""
    above = list[Path]()
    try:
        above += [parent for parent in target.absolute().parents if not parent.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            half_made = Path(scratch) / target.name
            yield half_made
            half_made.replace(target)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        for folder in above:
            with suppress(OSError):  # it is not empty, or was not made
                folder.rmdir()


def _cannot_write(path: Path, error: OSError) -> DatasetError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DatasetError(
            "cannot-write",
            f"{path} cannot be written ({error}): the disk, or your share of it, is full. Free "
            "some of it, or give a place on another disk.",
        )
    return DatasetError("cannot-write", f"{path} cannot be written ({error}). Give another place.")
