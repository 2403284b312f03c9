"""What a submission made in its scratch folder goes away with it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluator.temp_dirs import scratch_folder

DEEP = 3000


def closed(folder: Path) -> None:
    (folder / "closed" / "inside").mkdir(parents=True)
    (folder / "closed").chmod(0)


def deep(folder: Path) -> None:
    back = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(DEEP):
            Path("deeper").mkdir()
            os.chdir("deeper")
    finally:
        os.chdir(back)


def linked(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent)


@pytest.mark.parametrize("fill", [closed, deep, linked])
def test_scratch_folder_is_removed(
    fill: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "beside").touch()
    with scratch_folder() as folder:
        assert folder.parent == tmp_path
        fill(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["beside"]
