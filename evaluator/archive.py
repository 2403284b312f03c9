"""Unpack the organisers' archives, taking nothing that would land outside the folder."""

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from evaluator.errors import DatasetError
from evaluator.layout import SPELLINGS


def unpack(archives: Sequence[Path], out: Path) -> Path:
    """Unpack `.tar.gz`, `.tar`, `.zip` archives into `out`, each whole or not at all.

    An archive that holds one split without naming it in its folders (`images/`, `labels.csv`
    at the top) is put into a folder named after the archive.
    Raises DatasetError for an archive that cannot be read or that has an unsafe member.
    """
    out.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        if not archive.is_file():
            raise DatasetError(f"There is no archive at {archive}.")
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=out) as scratch:
            _extract(archive, Path(scratch))
            _move_into(Path(scratch), out, archive)
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
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise DatasetError(
            f"{archive} cannot be unpacked: {error}. It must be a whole .tar.gz, .tar or .zip; "
            "download it again if it was cut short."
        ) from error


def _refuse_unsafe(archive: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DatasetError(
            f"{archive} has a member {name!r} that would land outside the folder. "
            "Nothing of it was unpacked; do not trust this archive."
        )


def _move_into(scratch: Path, out: Path, archive: Path) -> None:
    named = any(
        part.lower().startswith(spelling)
        for path in scratch.rglob("labels.csv")
        for part in path.relative_to(scratch).parts[:-1]
        for spellings in SPELLINGS.values()
        for spelling in spellings
    )
    target = out if named else out / archive.name.split(".")[0]
    items = list(scratch.iterdir())
    for item in items:
        if (target / item.name).exists():
            raise DatasetError(
                f"{target / item.name} exists already; {archive} was not unpacked. "
                "Move it away or choose another --out."
            )
    target.mkdir(parents=True, exist_ok=True)
    for item in items:
        shutil.move(item, target / item.name)
