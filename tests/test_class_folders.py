"""Folders that stand among class folders and are none are refused, left out or named."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelling.folder import write_labelled
from labelling.formats.class_folders import from_class_folders
from labelling.importing import write_imported
from labelling.pictures import copy_image
from shared.errors import DatasetError
from shared.images.listing import SYSTEM_FOLDERS
from tests.permissions import permissions

NFC, NFD = (unicodedata.normalize(form, "Gr\u00f6\u00dfe") for form in ("NFC", "NFD"))


def put(root: Path, *names: str) -> Path:
    """Images below `root`, each with pixels of its own."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(root / name)
    return root


def refused(root: Path, *without: str) -> str:
    with pytest.raises(DatasetError) as caught:
        from_class_folders(root, without)
    assert caught.value.code == "no-class-folder", caught.value
    return str(caught.value)


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "valid", "test"),
        ("Train", "Val"),
        ("training_set", "test_set"),
        ("train2017", "val2017"),
        ("seg_train", "seg_test"),
        ("trainA", "testA"),
        ("train", "test", "cat"),
        ("train",),
        ("validation",),
        ("training", "unlabelled", "validation"),
        ("train-images", "test-images"),
        ("train", "dev"),
        ("01_train", "02_val"),
        ("trainval", "minival"),
        ("fold1", "fold2", "fold3"),
    ],
)
def test_splits_are_refused_as_classes(folders: tuple[str, ...], tmp_path: Path):
    names = [f"{folder}/{kind}/{folder}.png" for folder in folders for kind in ("cat", "dog")]
    root = put(tmp_path / "in", *names)
    said = refused(root)
    assert f"splits, and no classes. Give one of them, such as {root / folders[0]}, " in said


@pytest.mark.parametrize("folders", [("train", "car"), ("test tube", "flask"), ("mask", "no_mask")])
def test_one_class_that_is_called_like_a_split_is_read(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = put(tmp_path / "in", *(f"{folder}/1.png" for folder in folders))
    assert from_class_folders(root).class_names == tuple(sorted(folders))
    doubted = f"notice: {folders[0]} is read as a class" in capsys.readouterr().err
    assert doubted == (folders[0] in ("train", "mask"))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        # MVTec, one object of it, and all of them
        (["train/good/0.png", "test/crack/0.png", "ground_truth/crack/0_mask.png"], "splits"),
        (["test/crack/0.png", "ground_truth/crack/0_mask.png"], "in/ground_truth is called like"),
        (["good/0.png", "crack/0.png", "ground_truth/crack/0_mask.png"], "in/ground_truth is"),
        (
            [
                f"{thing}/{folder}/0.png"
                for thing in ("bottle", "cable")
                for folder in ("train/good", "test/crack", "ground_truth/crack")
            ],
            "in/bottle/ground_truth is called like",
        ),
        # YOLO, Pascal VOC, Label Studio
        (["images/1.png", "labels/1.png"], "in/images is called like"),
        (["JPEGImages/1.png", "SegmentationClass/1.png"], "in/JPEGImages is called like"),
        (["images/cat/1.png", "images/dog/1.png"], "in/images is called like"),
        (["cat/1.png", "Annotations/2.png"], "in/Annotations is called like"),
        # one folder too many, as an archive unpacks
        (["pets/cat/1.png", "pets/dog/1.png"], "if these are classes, give {root}/pets."),
        (["a/b/c/cat/1.png", "a/b/c/dog/2.png"], "classes, give {root}/a/b/c."),
        (["crack/1.png", "crack_mask/2.png", "good/3.png"], "in/crack_mask is called like"),
        (["ok/Images/1.png", "ok/Masks/2.png", "nok/Images/3.png"], "in/ok/Masks is called like"),
    ],
)
def test_folders_of_all_classes_are_refused(names: list[str], said: str, tmp_path: Path):
    root = put(tmp_path / "in", *names)
    assert said.format(root=root) in refused(root)


def test_the_test_folder_of_mvtec_is_read_with_good_as_nothing(tmp_path: Path):
    root = put(tmp_path / "bottle", "test/good/0.png", "test/crack/0.png", "train/good/0.png")
    imported = from_class_folders(root / "test", ["good"])
    assert imported.class_names == ("crack",)
    assert imported.labels.tolist() == [[1], [0]]


def test_equal_folders_in_every_class_are_doubted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    names = [f"cam{cam}/{kind}/{cam}{kind}.png" for cam in (1, 2) for kind in ("cat", "dog")]
    root = put(tmp_path / "in", *names)
    assert from_class_folders(root).class_names == ("cam1", "cam2")
    assert "notice: each of cam1, cam2 holds the folders cat, dog. If" in capsys.readouterr().err
    shutil.rmtree(root)
    put(root, "cat/images/1.png", "dog/images/2.png")
    from_class_folders(root)
    put(root, "cat/1.png")
    from_class_folders(root)
    assert "notice: each of" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        *sorted(SYSTEM_FOLDERS),
        *("@EADIR", "$Recycle.Bin", "LOST+FOUND", "found.000", "FOUND.001"),
        *(".Trash-1000", ".ipynb_checkpoints", ".AppleDouble", ".thumbnails", ".zewdpc-cache"),
    ],
)
def test_what_a_system_leaves_is_no_class_and_no_image(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = put(tmp_path / "in", "cat/1.png", "dog/2.png", f"{name}/3.png", f"cat/{name}/4.png")
    for file in ("Thumbs.db", "desktop.ini", ".DS_Store", "._1.png"):
        (root / "cat" / file).write_bytes(b"x")
    imported = from_class_folders(root)
    assert imported.class_names == ("cat", "dog")
    assert imported.names == ("cat/1.png", "dog/2.png")
    assert capsys.readouterr().err == f"left out, as hidden or a system's own: {name}\n"


@pytest.mark.parametrize("name", ["recycled", "Recycler", "@home", "#1", "$", "found", "dot.5mm"])
def test_a_class_that_is_called_like_a_system_folder_is_one(name: str, tmp_path: Path):
    assert name in from_class_folders(put(tmp_path, "cat/1.png", f"{name}/2.png")).class_names


@pytest.mark.parametrize("where", ["labelled", "cat/labelled", "old/2026/batch-1"])
def test_an_earlier_output_below_the_source_is_refused(where: str, tmp_path: Path):
    root = put(tmp_path / "in", "cat/1.png", "dog/2.png")
    write_imported(from_class_folders(root), root / where)
    assert f"{root / where} holds labels.csv and images/" in refused(root)
    assert "labelled folder" in refused(root / where)


def test_a_batch_to_be_labelled_below_the_source_is_refused(tmp_path: Path):
    root = put(tmp_path / "in", "cat/1.png", "dog/2.png")
    write_labelled(
        root / "batch-1",
        ["1.png"],
        ["cat"],
        [[""]],
        lambda _, to: copy_image(root / "cat/1.png", to),
    )
    assert "batch of choose.py" in refused(root)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x89PNG\r\n\x1a\n"])
def test_alike_files_that_are_no_images_show_nothing_together(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = put(tmp_path / "in", "cat/1.png", "dog/2.png")
    for name in ("cat/z.png", "dog/y.png"):
        (root / name).write_bytes(content)
    imported = from_class_folders(root)
    assert imported.names == ("cat/1.png", "dog/2.png")
    assert imported.labels.tolist() == [[1, 0], [0, 1]]
    said = capsys.readouterr().err
    assert f"2 of 4 images cannot be used and are left out ('{root}/cat/z.png': " in said
    assert "several classes" not in said


def test_a_class_of_unusable_files_alone_is_refused(tmp_path: Path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"None of the images can be used .*it is empty"):
        from_class_folders(tmp_path)


@pytest.mark.parametrize("name", ["1.heic", "1.txt", "deep/1.gif"])
def test_a_class_of_which_nothing_is_read_is_refused(name: str, tmp_path: Path):
    root = put(tmp_path / "in", "cat/1.png", "rust/2.png")
    (root / "dog" / name).parent.mkdir(parents=True)
    (root / "dog" / name).write_bytes(b"x")
    assert f"{root}/dog holds no image that is read; 1 other file is not read" in refused(root)
    shutil.rmtree(root / "dog")
    (root / "dog").mkdir()
    assert from_class_folders(root).class_names == ("cat", "dog", "rust")


def test_a_class_folder_that_may_not_be_listed_is_refused(tmp_path: Path):
    root = put(tmp_path / "in", "cat/1.png", "dog/2.png")
    with permissions(root / "dog", 0), pytest.raises(DatasetError, match="dog cannot be read"):
        from_class_folders(root)


@pytest.mark.parametrize("without", [[], [NFC], [NFD]])
def test_folders_of_one_name_in_two_unicode_forms_are_one_class(
    without: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = put(tmp_path / "in", f"{NFC}/1.png", f"{NFD}/2.png", "dent/3.png")
    imported = from_class_folders(root, without)
    assert imported.class_names == (("dent",) if without else (NFC, "dent"))
    rows = dict(zip(imported.names, imported.labels.tolist(), strict=True))
    size, dent = ([0], [1]) if without else ([1, 0], [0, 1])
    assert rows == {f"{NFC}/1.png": size, f"{NFD}/2.png": size, "dent/3.png": dent}
    assert (
        f"the folders called '{NFC}' are one class (in several Unicode" in capsys.readouterr().err
    )


def test_one_class_in_two_unicode_forms_alone_is_read(tmp_path: Path):
    root = put(tmp_path / "in", f"{NFC}/1.png", f"{NFD}/1.png")
    assert from_class_folders(root).names == (f"{NFD}/1.png", f"{NFC}/1.png")


def test_folders_whose_names_only_look_alike_are_two_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = put(tmp_path / "in", "\u00b5m/1.png", "\u03bcm/2.png", "Dent/3.png", "dent/4.png")
    imported = from_class_folders(root)
    assert len(imported.class_names) == 4
    write_imported(imported, tmp_path / "labelled")
    assert capsys.readouterr().err.splitlines() == [
        "notice: classes 'Dent' and 'dent' look alike and are two names (Dent; dent)",
        "notice: classes '\u00b5m' and '\u03bcm' look alike and are two names (U+00B5 m; U+03BC m)",
    ]


def test_a_class_that_every_image_shows_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_imported(from_class_folders(put(tmp_path / "in", "cat/1.png")), tmp_path / "labelled")
    assert "notice: every image shows cat: others are needed" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "jfi", "jif", "JFIF", "dib"])
def test_other_suffixes_of_kinds_that_are_read_are_read(suffix: str, tmp_path: Path):
    (tmp_path / "cat").mkdir()
    kind = "BMP" if suffix == "dib" else "JPEG"
    Image.new("RGB", (8, 8)).save(tmp_path / "cat" / f"1.{suffix}", format=kind)
    assert from_class_folders(tmp_path).names == (f"cat/1.{suffix}",)
