"""Unpack the organisers' archives, taking nothing that would land outside the folder."""

import errno
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from shared.atomic_io import atomic_directory, ensure_absent
from shared.errors import DISK_ERRORS, DatasetError

BEGINNINGS = {  # of what is saved in an archive's place -> what it is
    rb"\s*<": "it is a web page: the address leads to one, or asks for a login first",
    rb"version https://git-lfs": "it is a Git LFS pointer; `git lfs pull` fetches its content",
    rb"7z\xbc\xaf\x27\x1c": "it is a 7z archive; unpack it with 7z",
    rb"Rar!": "it is a RAR archive; unpack it with unrar",
    rb"$": "it is empty",
}
OF_THE_TARGET = {*DISK_ERRORS, errno.EFBIG, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
MADE_ON_WINDOWS = (0, 10, 14)  # as a zip numbers FAT, NTFS and VFAT
TOO_NEW = "another program unpacks it, such as 7z; give the folder that this makes"


def unpack(archives: Sequence[Path], out: Path) -> Path:
    """Unpack `.tar.gz`, `.tar`, `.zip` archives, each into a folder of `out` named after it.

    Each whole or not at all. Raises DatasetError for an archive that is missing, cannot be read
    or has an unsafe member, and where the disk refuses.
    """
    for archive in archives:
        if not archive.is_file():
            raise DatasetError("archive-unreadable", f"There is no archive at {archive}.")
        target = out / archive.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".zip")
        ensure_absent(target)
        _refuse_what_is_none(archive)
        with atomic_directory(target) as folder:
            _extract(archive, folder)
    return out


def _refuse_what_is_none(archive: Path) -> None:
    """Raise DatasetError where a file cannot be read, or is something else by its beginning."""
    try:
        with archive.open("rb") as file:
            begin = file.read(512)
    except OSError as error:
        raise DatasetError("archive-unreadable", f"{archive} cannot be read ({error}).") from error
    for start, what in BEGINNINGS.items():
        if re.match(start, begin):
            raise DatasetError("archive-unreadable", f"{archive} is no archive: {what}.")


def _extract(archive: Path, folder: Path) -> None:
    """Write what is in `archive`. An OSError of the disk that is written to stays one."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened_zip:
                _extract_zip(archive, opened_zip, folder)
        else:
            with _open_tar(archive) as opened:
                _extract_tar(archive, opened, folder)
    except DatasetError:  # an unsafe member
        raise
    except OSError as error:
        if error.errno in OF_THE_TARGET:
            raise
        if error.errno is not None:  # the system's, and not a format's
            raise DatasetError(
                "archive-unreadable", f"{archive} cannot be read ({error})."
            ) from error
        raise _unreadable(archive, error) from error
    except NotImplementedError as error:  # of a zip: newer than Python's reader
        raise DatasetError(
            "archive-unreadable",
            f"{archive} is packed in a way that is not read here ({error}): {TOO_NEW}.",
        ) from error
    except RuntimeError as error:
        if "password" in str(error):
            raise DatasetError(
                "archive-unreadable",
                f"{archive} is encrypted. Unpack it with its password, and give the folder that "
                "this makes.",
            ) from error
        raise _unreadable(archive, error) from error
    # KeyError: a hard link to nothing; ValueError: a broken name.
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error) as error:
        raise _unreadable(archive, error) from error
    except (EOFError, KeyError, ValueError) as error:
        raise _unreadable(archive, error) from error
    if not any(folder.iterdir()):
        raise _unreadable(archive, ValueError("it holds nothing"))


def _open_tar(archive: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(archive)
    except tarfile.ReadError as error:
        with archive.open("rb") as file:
            cut = file.read(2) == b"PK"
        what = "its end is missing, where a zip lists what it holds" if cut else "by its content"
        raise _unreadable(archive, ValueError(f"it is no archive, {what}")) from error


def _extract_zip(archive: Path, opened: zipfile.ZipFile, folder: Path) -> None:
    members = opened.infolist()
    name_of = _separators([member.filename for member in members if not member.is_dir()])
    for member in members:
        # Windows has no such sign in a name; what a zip says of where it was made may be missing.
        windows = member.create_system in MADE_ON_WINDOWS
        member.filename = _with_slashes(member.filename) if windows else name_of(member.filename)
        _refuse_unsafe(archive, member.filename)
    for member in members:
        opened.extract(member, folder)


def _extract_tar(archive: Path, opened: tarfile.TarFile, folder: Path) -> None:
    members = opened.getmembers()
    name_of = _separators([member.name for member in members if not member.isdir()])
    for member in members:
        member.name = name_of(member.name)
        member.linkname = name_of(member.linkname)
        _refuse_unsafe(archive, member.name)
    try:
        # "data" refuses links out of the folder, devices and odd permissions.
        opened.extractall(folder, members, filter="data")
    except tarfile.FilterError as error:
        raise _unsafe(archive, error.tarinfo.name, f"that is not unpacked ({error})") from error


def _separators(names: Sequence[str]) -> Callable[[str], str]:
    """How names are read: where `/` stands in no file's, `\\` is what separates folders.

    Some programs on Windows write it so, against the format; elsewhere it may be part of a name.
    """
    if any("/" in name for name in names):
        return lambda name: name
    return _with_slashes


def _with_slashes(name: str) -> str:
    return name.replace("\\", "/")


def _unreadable(archive: Path, error: Exception) -> DatasetError:
    return DatasetError(
        "archive-unreadable",
        f"{archive} cannot be unpacked: {error}. It must be a whole .tar.gz, .tar or .zip; "
        "download it again if it was cut short.",
    )


def _refuse_unsafe(archive: Path, name: str) -> None:
    """Raise DatasetError for a name that leads out, here or where `\\` separates folders."""
    for read in (name, _with_slashes(name)):
        path = PurePosixPath(read)
        if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:/", read):
            raise _unsafe(archive, name, "that would land outside the folder")


def _unsafe(archive: Path, name: str, why: str) -> DatasetError:
    return DatasetError(
        "archive-unsafe",
        f"{archive} has a member {name!r} {why}. Nothing of it was unpacked; do not trust this "
        "archive.",
    )
