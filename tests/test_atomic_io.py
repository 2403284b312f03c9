"""What is written is there whole, with the usual rights, or nothing of it is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.atomic_io import atomic_directory, write_file
from shared.errors import DatasetError


def a_folder(path: Path) -> None:
    with atomic_directory(path) as folder:
        (folder / "inside").write_bytes(b"content")


def a_file(path: Path) -> None:
    write_file(path, b"content")


@pytest.mark.parametrize(("write", "rights"), [(a_folder, 0o750), (a_file, 0o640)])
def test_write_has_the_usual_permissions(
    write: Callable[[Path], None], rights: int, tmp_path: Path
):
    before = os.umask(0o027)
    try:
        write(tmp_path / "new" / "it")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "it").stat().st_mode & 0o777 == rights
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["it"]


@pytest.mark.parametrize("write", [a_folder, a_file])
@pytest.mark.parametrize("place", ["taken/full", "taken/full/file/it", "/proc/it", "/proc/new/it"])
def test_write_failure_changes_nothing(write: Callable[[Path], None], place: str, tmp_path: Path):
    file = tmp_path / "taken" / "full" / "file"
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(DatasetError, match=f"{place} cannot be written") as refused:
        write(tmp_path / place)
    assert refused.value.code == "cannot-write"
    assert list((tmp_path / "taken").rglob("*")) == [file.parent, file]


def test_atomic_directory_interrupted(tmp_path: Path):
    def broken_off() -> None:
        with atomic_directory(tmp_path / "new" / "newer" / "it") as folder:
            (folder / "inside").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert list(tmp_path.iterdir()) == []


def test_write_file_replaces(tmp_path: Path):
    (tmp_path / "it").write_text("before, and longer")
    a_file(tmp_path / "it")
    assert (tmp_path / "it").read_bytes() == b"content"
