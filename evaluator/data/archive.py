"""Unpack the organisers' archives, taking nothing that would land outside the folder."""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from evaluator.atomic_io import atomic_directory, ensure_absent
from evaluator.errors import DatasetError


def unpack(archives: Sequence[Path], out: Path) -> Path:
    """Unpack `.tar.gz`, `.tar`, `.zip` archives, each into a folder of `out` named after it.

    Each whole or not at all. Raises DatasetError for an archive that is missing, cannot be read
    or has an unsafe member.
    """
    for archive in archives:
        if not archive.is_file():
            raise DatasetError("archive-unreadable", f"There is no archive at {archive}.")
        target = out / archive.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".zip")
        ensure_absent(target)
        with atomic_directory(target) as folder:
            _extract(archive, folder)
    return out


def _extract(archive: Path, folder: Path) -> None:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened_zip:
                for name in opened_zip.namelist():
                    _refuse_unsafe(archive, name)
                opened_zip.extractall(folder)
        else:
            with tarfile.open(archive) as opened:
                for member in opened:
                    _refuse_unsafe(archive, member.name)
                # "data" refuses links out of the folder, devices and odd permissions.
                opened.extractall(folder, filter="data")
    except DatasetError:  # an unsafe member
        raise
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error) as error:
        raise _unreadable(archive, error) from error
    # RuntimeError: an encrypted zip; KeyError: a hard link to nothing; ValueError: a broken name.
    except (EOFError, OSError, RuntimeError, KeyError, ValueError) as error:
        raise _unreadable(archive, error) from error
    if not any(folder.iterdir()):
        raise _unreadable(archive, ValueError("it holds nothing"))


def _unreadable(archive: Path, error: Exception) -> DatasetError:
    return DatasetError(
        "archive-unreadable",
        f"{archive} cannot be unpacked: {error}. It must be a whole .tar.gz, .tar or .zip; "
        "download it again if it was cut short.",
    )


def _refuse_unsafe(archive: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DatasetError(
            "archive-unsafe",
            f"{archive} has a member {name!r} that would land outside the folder. "
            "Nothing of it was unpacked; do not trust this archive.",
        )
