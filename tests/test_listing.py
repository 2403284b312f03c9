"""What lies below a folder: what cannot be listed or leads nowhere is said, never passed over."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import DatasetError
from shared.images.layout import find_splits, read_split
from shared.images.listing import SYSTEM_FOLDERS, list_images, why_absent
from tests.permissions import permissions

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
ANNEX = b"/annex/objects/SHA256E-s12345--4d7a.png\n"
ANNEX_LINK = b"../../.git/annex/objects/Xv/9Q/SHA256E-s12345--4d7a.png/SHA256E-s12345--4d7a.png"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """`pool/a.png` and `pool/monday/early/b.jpg`."""
    root = tmp_path / "pool"
    (root / "monday" / "early").mkdir(parents=True)
    for name in ("a.png", "monday/early/b.jpg"):
        (root / name).write_bytes(bytes(2000))
    return root


def names(pool: Path) -> list[str]:
    return [path.relative_to(pool).as_posix() for path in list_images(pool).images]


@pytest.mark.parametrize("below", ["", "monday", "monday/early"])
@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_list_images_refuses_folders_that_may_not_be_listed_or_entered(
    mode: int, below: str, pool: Path
):
    with (
        permissions(pool / below, mode),
        pytest.raises(DatasetError, match=r"cannot be read \(Permission denied\)") as caught,
    ):
        list_images(pool)
    assert caught.value.code == "unreadable-folder"
    assert str(pool / below) in str(caught.value)
    assert names(pool) == ["a.png", "monday/early/b.jpg"]


def test_list_images_refuses_what_lies_behind_a_closed_folder(pool: Path):
    with permissions(pool, 0o000), pytest.raises(DatasetError, match=f"{pool}/monday cannot be"):
        list_images(pool / "monday")
    linked = pool.with_name("linked")
    linked.mkdir()
    (linked / "monday").symlink_to(pool / "monday")
    with permissions(pool, 0o000), pytest.raises(DatasetError, match=f"{linked}/monday cannot be"):
        list_images(linked)


@pytest.mark.parametrize(
    ("name", "put", "said"),
    [
        ("q.png", lambda path: path.symlink_to("../elsewhere/q.png"), "../elsewhere/q.png, where"),
        ("q.png", lambda path: path.symlink_to("q.png"), "a link to q.png, where nothing is"),
        ("friday", lambda path: path.symlink_to("/mnt/disk2/friday"), "/mnt/disk2/friday, where"),
        ("q.png", lambda path: path.symlink_to("../.git/annex/objects/q.png"), "git annex get"),
        ("q.png", lambda path: path.symlink_to("../.dvc/cache/files/md5/0c/1f"), "dvc pull"),
        ("q.png", lambda path: path.write_bytes(LFS), "a Git LFS pointer; `git lfs pull`"),
        ("q.PNG", lambda path: path.write_bytes(ANNEX), "a git-annex pointer; `git annex get`"),
        ("q.png", lambda path: path.write_bytes(ANNEX_LINK), "a git-annex pointer"),
        ("q.heic", lambda path: path.write_bytes(LFS), "a Git LFS pointer"),
        ("q.png.dvc", lambda path: path.write_bytes(b"outs:\n"), "a DVC file; `dvc pull`"),
        ("friday.dvc", lambda path: path.write_bytes(b"outs:\n"), "a DVC file; `dvc pull`"),
        (".q.jpg.icloud", lambda path: path.write_bytes(b"bplist00"), "its content is in iCloud"),
    ],
)
def test_list_images_names_what_has_no_content(
    name: str, put: Callable[[Path], object], said: str, pool: Path
):
    put(pool / name)
    listing = list_images(pool)
    assert names(pool) == ["a.png", "monday/early/b.jpg"]
    assert list(listing.absent) == [pool / name]
    assert not listing.others
    assert f"1 of 3 images are not on this disk ('{pool / name}': " in listing.absent_in_words
    assert said in listing.absent_in_words
    with pytest.raises(DatasetError, match="Fetch their content"):
        listing.refuse_absent()


@pytest.mark.parametrize(
    ("name", "content", "others"),
    [
        ("a.png.dvc", b"outs:\n", {".dvc": 1}),  # its content lies beside it
        ("monday.dvc", b"outs:\n", {".dvc": 1}),
        ("model.pkl.dvc", b"outs:\n", {".dvc": 1}),
        ("notes.txt", b"version https://example.org\n", {".txt": 1}),
        (".hidden.png", LFS, {}),
        (".DS_Store", b"", {}),
        ("lost+found/c.png", b"", {}),
        ("@eaDir/c.png/SYNOPHOTO_THUMB_XL.jpg", b"", {}),
        ("monday/$RECYCLE.BIN/c.png", b"", {}),
    ],
)
def test_list_images_does_not_take_other_files_for_absent_images(
    name: str, content: bytes, others: dict[str, int], pool: Path
):
    (pool / name).parent.mkdir(parents=True, exist_ok=True)
    (pool / name).write_bytes(content)
    listing = list_images(pool)
    assert names(pool) == ["a.png", "monday/early/b.jpg"]
    assert not listing.absent
    assert listing.others == others


def test_list_images_counts_what_is_no_file_and_small_images_as_they_are(pool: Path):
    os.mkfifo(pool / "pipe.png")
    (pool / "empty.png").write_bytes(b"")
    (pool / "small.png").write_bytes(b"\x89PNG")
    listing = list_images(pool)
    assert listing.others == {".png": 1}
    assert names(pool) == ["a.png", "empty.png", "monday/early/b.jpg", "small.png"]


def test_list_images_ignores_a_systems_folder_that_may_not_be_listed(pool: Path):
    for name in SYSTEM_FOLDERS:
        (pool / name).mkdir()
        with permissions(pool / name, 0):
            assert len(list_images(pool).images) == 2


def test_find_splits_refuses_a_folder_that_may_not_be_listed(make_data: Callable[[], Path]):
    root = make_data()
    with permissions(root / "training", 0), pytest.raises(DatasetError, match="cannot be read"):
        find_splits(root)


@pytest.mark.parametrize(
    ("put", "said"),
    [
        (lambda path: path.symlink_to("gone.png"), "a link to gone.png, where nothing is"),
        (lambda path: path.write_bytes(LFS), "a Git LFS pointer"),
        (lambda path: path.with_name(f"{path.name}.dvc").write_bytes(b"outs:\n"), "dvc pull"),
    ],
)
def test_read_split_names_images_without_content(
    put: Callable[[Path], object], said: str, make_data: Callable[[], Path]
):
    table = make_data() / "training" / "labels.csv"
    image = table.parent / "images" / "0003.png"
    image.unlink()
    put(image)
    with pytest.raises(DatasetError, match=r"line 5: the image .*0003\.png ") as caught:
        read_split("training", table)
    assert caught.value.code == "missing-image"
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["labels.csv", "images"])
def test_read_split_names_a_table_or_a_folder_without_content(
    name: str, make_data: Callable[[], Path]
):
    training = make_data() / "training"
    (training / name).rename(training / "elsewhere")
    (training / f"{name}.dvc").write_bytes(b"outs:\n")
    with pytest.raises(DatasetError, match="dvc pull"):
        read_split("training", training / "labels.csv")
    (training / name).symlink_to("/mnt/disk2")
    with pytest.raises(DatasetError, match="a link to /mnt/disk2, where nothing is"):
        read_split("training", training / "labels.csv")


def test_why_absent_says_that_a_file_vanished(tmp_path: Path):
    assert why_absent(tmp_path / "a.png") == "it was there a moment ago, and is gone"
