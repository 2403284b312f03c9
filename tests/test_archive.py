"""The organisers' archives unpack into a data set; dangerous ones do not unpack at all."""

import errno
import io
import os
import re
import shlex
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
from labelling.__main__ import main as labelling_main
from shared.errors import DatasetError
from tests.conftest import REPO_ROOT, SIZES, write_split
from tests.permissions import permissions


@pytest.mark.parametrize("prefix", ["", "training-v0.2-rc4/", "./deep/down/", "data/training/"])
def test_unpack_official_archives(prefix: str, tmp_path: Path) -> None:
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


def test_unpack_debug_archive_as_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/challenge.md#the-debug-archive"""
    monkeypatch.chdir(tmp_path)
    write_split(tmp_path / "made" / "debug", 100, seed=0)
    with tarfile.open("debug-v0.2-rc4.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "made" / "debug", "debug")
    page = (REPO_ROOT / "docs" / "challenge.md").read_text().partition("### The debug archive")[2]
    commands = re.findall(r"^python -m (\w+) (.+?)(?:  #.*)?$", page, re.MULTILINE)[:2]
    mains = {"evaluator": main, "labelling": labelling_main}
    for package, command in commands:
        assert mains[package](shlex.split(command)) == 0, command
    splits = open_splits(tmp_path / "data" / "debug", progress=False)
    sizes = [len(split) for split in (splits.training, splits.unlabelled, splits.validation)]
    assert (len(commands), sizes) == (2, [40, 40, 20])


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


def zip_of_windows(path: Path, *names: str, system: int = 3) -> Path:
    """A zip whose names have `\\` between folders, as .NET wrote them for years."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            member = zipfile.ZipInfo(name)
            member.create_system = system
            archive.writestr(member, b"" if name.endswith(("/", "\\")) else name)
    return path


def encrypted_zip(path: Path) -> Path:
    zip_with(path, "a")
    content = bytearray(path.read_bytes())
    content[6] |= 1  # in the file's own header, and in the directory at the end
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    return path


def zip_of_another_method(path: Path) -> Path:
    zip_with(path, "a")
    content = bytearray(path.read_bytes())
    content[8] = content[content.index(b"PK\1\2") + 10] = 9  # deflate64, as Windows makes it
    path.write_bytes(content)
    return path


DANGEROUS = {
    "nothing in it": empty_tar,
    "hard link to nothing": lambda path: tar_with(path, "training/a", "b", tarfile.LNKTYPE),
    "zip with a broken name": lambda path: broken_name(zip_with(path, "ü")),
    "parent": lambda path: tar_with(path, "training/../../escaped"),
    "absolute": lambda path: tar_with(path, "/tmp/escaped"),
    "link out": lambda path: tar_with(path, "training/link", "/etc/passwd"),
    "link out of it": lambda path: tar_with(path, "training/link", "../../escaped"),
    "zip parent": lambda path: zip_with(path, "../escaped"),
    "zip parent of Windows": lambda path: zip_of_windows(path, "a\\..\\..\\escaped"),
    "zip drive": lambda path: zip_of_windows(path, "C:\\escaped"),
    "zip share": lambda path: zip_of_windows(path, "\\\\server\\escaped"),
    "zip parent, mixed": lambda path: zip_of_windows(path, "a/b", "..\\escaped"),
    "tar parent of Windows": lambda path: tar_with(path, "..\\escaped"),
    "no archive": lambda path: (path.write_bytes(b"html error page"), path)[1],
    "missing": lambda path: path,
}


@pytest.mark.parametrize("case", DANGEROUS)
def test_unpack_refuses_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    archive = DANGEROUS[case](tmp_path / "training.tar.gz")
    out = tmp_path / "out"
    with pytest.raises(DatasetError) as refused:
        unpack([archive], out)
    unsafe = any(word in case for word in ("parent", "absolute", "out", "drive", "share"))
    assert refused.value.code == ("archive-unsafe" if unsafe else "archive-unreadable")
    assert not out.exists(), "an empty folder would be taken for a data set"
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(
    ("names", "made"),
    [
        (["training\\labels.csv", "training\\images\\a.png"],
         ["training/images/a.png", "training/labels.csv"]),
        (["training\\", "training\\labels.csv"], ["training/labels.csv"]),
        (["training/", "training\\labels.csv"], ["training/labels.csv"]),
        (["training/a\\b.png"], ["training/a\\b.png"]),  # part of a name elsewhere
        (["labels.csv"], ["labels.csv"]),
    ],
)  # fmt: skip
def test_unpack_reads_the_separators_of_windows(
    names: list[str], made: list[str], tmp_path: Path
) -> None:
    out = unpack([zip_of_windows(tmp_path / "d.zip", *names)], tmp_path / "out") / "d"
    files = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert files == made
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name in names:
            if not name.endswith(("/", "\\")):
                tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    out = unpack([tmp_path / "t.tar"], tmp_path / "out") / "t"
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == made


def test_unpack_zip_made_on_windows(tmp_path: Path) -> None:
    archive = zip_of_windows(tmp_path / "d.zip", "training/labels.csv", "training\\a.png", system=0)
    out = unpack([archive], tmp_path / "out") / "d" / "training"
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "labels.csv"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 and so on", "it is no archive, its end is missing, where a zip lists"),
        (b'{"error": "expired"}', "it is no archive, by its content. It must be a whole .tar.gz"),
    ],
)
def test_unpack_says_in_one_line_that_a_download_is_broken(
    content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / "d.zip").write_bytes(content)
    with pytest.raises(DatasetError, match=re.escape(words)) as refused:
        unpack([tmp_path / "d.zip"], tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert "download it again" in str(refused.value)


@pytest.mark.parametrize(
    ("put", "words"),
    [
        (lambda path: path.write_bytes(b""), "is no archive: it is empty"),
        (lambda path: path.write_bytes(b"\n<!DOCTYPE html>"), "it is a web page"),
        (lambda path: path.write_bytes(b"7z\xbc\xaf\x27\x1c\0\4"), "it is a 7z archive"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1"), "git lfs"),
        (encrypted_zip, "is encrypted. Unpack it with its password"),
        (zip_of_another_method, "is packed in a way that is not read here (That compression"),
    ],
)
def test_unpack_says_what_an_unreadable_archive_is(
    put: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    put(tmp_path / "d.zip")
    with pytest.raises(DatasetError) as refused:
        unpack([tmp_path / "d.zip"], tmp_path / "out")
    assert refused.value.code == "archive-unreadable"
    assert words in str(refused.value)
    assert "download it again" not in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk, or your share of it, is full"),
        (errno.EDQUOT, "the disk, or your share of it, is full"),
        (errno.EROFS, "Give another place"),
        (errno.EACCES, "Give another place"),
        (errno.ENAMETOOLONG, "Give another place"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_unpack_blames_the_disk_that_refuses(
    kind: str, number: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    make = zip_with if kind == "zip" else tar_with
    archive = make(tmp_path / "training.x", "training/a")
    monkeypatch.setattr(zipfile.ZipFile, "extract", refuse)
    monkeypatch.setattr(tarfile.TarFile, "extractall", refuse)
    with pytest.raises(DatasetError, match=f"training.x cannot be written .*{words}") as refused:
        unpack([archive], tmp_path / "out")
    assert refused.value.code == "cannot-write"
    assert not (tmp_path / "out").exists()


def test_unpack_says_that_an_archive_may_not_be_read(tmp_path: Path) -> None:
    archive = zip_with(tmp_path / "d.zip", "a")
    with permissions(archive, 0), pytest.raises(DatasetError, match="cannot be read") as refused:
        unpack([archive], tmp_path / "out")
    assert "Permission denied" in str(refused.value)
    assert "download" not in str(refused.value)


def test_unpack_of_a_truncated_archive_leaves_nothing(tmp_path: Path) -> None:
    folder = write_split(tmp_path / "training", 24, 0)
    whole = tmp_path / "training.tar.gz"
    with tarfile.open(whole, "w:gz") as tar:
        tar.add(folder, arcname="training")
    whole.write_bytes(whole.read_bytes()[:-2000])
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        unpack([whole], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_check_prints_the_contents(squares: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(squares)]) == 0
    printed = capsys.readouterr()
    assert "24 images of 16 x 16" in printed.out
    assert "striped" in printed.out
    assert "warning" not in printed.err


def test_data_check_warns_of_images_in_two_splits(
    make_data: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_data()
    for name, source in (
        ("validation/images/0002", "training/images/0001"),
        ("unlabelled/images/0003", "unlabelled/images/0004"),
    ):
        shutil.copy(root / f"{source}.png", root / f"{name}.png")
    assert main(["data", "check", str(root)]) == 0
    leak, twice = capsys.readouterr().err.splitlines()[-2:]
    assert leak.startswith("warning: 1 of ")
    assert "validation images are in training, too, pixel for pixel; the first is image 3" in leak
    assert "unlabelled images are there before" in twice


@pytest.mark.parametrize(("bits", "dark"), [(10, True), (12, True), (14, True), (16, False)])
def test_data_check_warns_of_unscaled_16_bit_images(
    bits: int,
    dark: bool,
    make_data: Callable[[], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = make_data()
    for file in (root / "unlabelled" / "images").iterdir():
        grey = np.asarray(Image.open(file).convert("L"), np.uint16) << (bits - 8)
        grey[0, 0] = 2**bits - 1
        Image.fromarray(grey).save(file)
    assert main(["data", "check", str(root)]) == 0
    said = capsys.readouterr().err
    assert ("warning: unlabelled: 40 of 40 images are nearly black" in said) == dark


def test_data_command_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "no/such/folder"]) == 2
    assert "not a folder" in capsys.readouterr().err
