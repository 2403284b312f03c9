"""The organisers' archives unpack into a data set; dangerous ones do not unpack at all."""

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluator.__main__ import main
from evaluator.data.archive import unpack
from evaluator.data.dataset import open_splits
from evaluator.errors import DatasetError
from tests.conftest import SIZES, write_split


@pytest.mark.parametrize("prefix", ["", "training-v0.2-rc4/", "./deep/down/", "data/training/"])
def test_the_official_archives_become_a_data_set(prefix: str, tmp_path: Path) -> None:
    archives = []
    for seed, (split, n) in enumerate(SIZES.items()):
        folder = write_split(tmp_path / "made" / split, n, seed)
        archive = tmp_path / f"{split}-v0.2-rc4.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(folder, arcname=prefix.replace("training", split) or ".")
        archives.append(archive)
    root = unpack(archives, tmp_path / "out")
    splits = open_splits(root, progress=False)
    assert {name: len(getattr(splits, name)) for name in SIZES} == SIZES


def tar_with(path: Path, name: str, link: str | None = None, kind: bytes = tarfile.SYMTYPE) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        if link:
            member.type, member.linkname = kind, link
        tar.addfile(member, io.BytesIO())
    return path


def zip_with(path: Path, name: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "x")
    return path


def broken_name(path: Path) -> Path:
    path.write_bytes(path.read_bytes().replace("ü".encode(), b"\xff\xff"))
    return path


def empty_tar(path: Path) -> Path:
    with tarfile.open(path, "w:gz"):
        return path


DANGEROUS = {
    "nothing in it": empty_tar,
    "hard link to nothing": lambda path: tar_with(path, "training/a", "b", tarfile.LNKTYPE),
    "zip with a broken name": lambda path: broken_name(zip_with(path, "ü")),
    "parent": lambda path: tar_with(path, "training/../../escaped"),
    "absolute": lambda path: tar_with(path, "/tmp/escaped"),
    "link out": lambda path: tar_with(path, "training/link", "/etc/passwd"),
    "zip parent": lambda path: zip_with(path, "../escaped"),
    "no archive": lambda path: (path.write_bytes(b"html error page"), path)[1],
    "missing": lambda path: path,
}


@pytest.mark.parametrize("case", DANGEROUS)
def test_refused_and_nothing_unpacked(case: str, tmp_path: Path) -> None:
    archive = DANGEROUS[case](tmp_path / "training.tar.gz")
    out = tmp_path / "out"
    with pytest.raises(DatasetError) as refused:
        unpack([archive], out)
    unsafe = case in ("parent", "absolute", "zip parent")
    assert refused.value.code == ("archive-unsafe" if unsafe else "archive-unreadable")
    assert not out.exists(), "an empty folder would be taken for a data set"
    assert not (tmp_path / "escaped").exists()


def test_an_archive_cut_short_leaves_nothing(tmp_path: Path) -> None:
    folder = write_split(tmp_path / "training", 24, 0)
    whole = tmp_path / "training.tar.gz"
    with tarfile.open(whole, "w:gz") as tar:
        tar.add(folder, arcname="training")
    whole.write_bytes(whole.read_bytes()[:-2000])
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        unpack([whole], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_is_in_a_data_set(
    squares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(squares)]) == 0
    printed = capsys.readouterr().out
    assert "24 images of 16 x 16" in printed
    assert "striped" in printed
    assert "warning" not in printed


def test_the_command_warns_of_images_that_are_in_two_splits(
    make_data: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_data()
    for name, source in (
        ("validation/images/0002", "training/images/0001"),
        ("unlabelled/images/0003", "unlabelled/images/0004"),
    ):
        shutil.copy(root / f"{source}.png", root / f"{name}.png")
    assert main(["data", "check", str(root)]) == 0
    leak, twice = capsys.readouterr().out.splitlines()[-2:]
    assert leak.startswith("warning: 1 of ")
    assert "validation images are in training, too, pixel for pixel; the first is image 3" in leak
    assert "unlabelled images are there before" in twice


@pytest.mark.parametrize(("bits", "brightest"), [(10, 3), (12, 15), (14, 63), (16, None)])
def test_the_command_warns_of_a_cameras_bits_that_were_not_scaled(
    bits: int,
    brightest: int | None,
    make_data: Callable[[], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = make_data()
    for file in (root / "unlabelled" / "images").iterdir():
        grey = np.asarray(Image.open(file).convert("L"), np.uint16) << (bits - 8)
        grey[0, 0] = 2**bits - 1
        Image.fromarray(grey).save(file)
    assert main(["data", "check", str(root)]) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if "brighter" in line]
    if brightest is None:
        assert not warnings
    else:
        (warning,) = warnings
        assert f"unlabelled: no pixel of 40 images is brighter than {brightest} of 255." in warning


def test_the_command_ends_with_an_error_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "no/such/folder"]) == 2
    assert "not a folder" in capsys.readouterr().err
