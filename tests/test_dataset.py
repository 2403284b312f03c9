"""Data sets are read tolerantly in layout and strictly in content, and decoded once."""

import errno
import gc
import os
import pickle
import re
import shutil
import struct
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from evaluator.data.dataset import (
    ZEWDPCProtectedDataset,
    aggregated_dataset,
    instantiate_purchased_dataset,
    open_splits,
)
from evaluator.worker.vault import LabelVault
from shared.errors import DatasetError, OutOfBudgetError, ZEWDPCRuntimeError
from shared.images.decoding import decode, orientation
from shared.images.layout import SPLITS, find_splits, read_split
from tests.conftest import CLASSES, SIZES, write_split

Spoil = Callable[[Path], object]


def edit(path: str, pattern: str, replacement: str) -> Spoil:
    def spoil(root: Path) -> None:
        text = (root / path).read_text()
        changed = re.sub(pattern, replacement, text, count=1)
        assert changed != text
        (root / path).write_text(changed)

    return spoil


def test_a_sample_is_what_the_contract_says(squares: Path) -> None:
    splits = open_splits(squares)
    assert splits.class_names == CLASSES
    assert {name: len(getattr(splits, name)) for name in SIZES} == SIZES
    sample = splits.training[1]
    pixels = np.asarray(Image.open(squares / "training/images/0001.png"))
    np.testing.assert_array_equal(sample["image"], pixels)
    assert sample["idx"] == 1
    assert sample["label"].tolist() == [0, 1, 0]


def name_a_copy_as_windows_does(root: Path) -> None:
    images = root / "training/images"
    (images / "b").mkdir()
    shutil.copy(images / "0004.png", images / "b")
    edit("training/labels.csv", r"0004\.png", r"b\\0004.png")(root)


def two_forms(root: Path) -> None:
    """Of one name, which a person cannot tell apart."""
    edit("training/labels.csv", "dark,bright", "\u00e9t\u00e9,e\u0301te\u0301")(root)


REFUSALS: dict[str, tuple[Spoil, str]] = {
    "missing image": (
        lambda root: (root / "training/images/0003.png").unlink(),
        r"training/labels\.csv, line 5: the image .*0003\.png is missing",
    ),
    "unreadable image": (
        lambda root: (root / "training/images/0003.png").write_bytes(b"no picture"),
        r"labels\.csv, line 5: the image .*0003\.png cannot be read",
    ),
    "cut short image": (
        lambda root: os.truncate(root / "training/images/0003.png", 200),
        r"labels\.csv, line 5: the image .*0003\.png cannot be read",
    ),
    "label 2": (
        edit("unlabelled/labels.csv", r"0007\.png,\d", "0007.png,2"),
        r"unlabelled/labels\.csv, line 9: dark is '2'; a label is 0 or 1",
    ),
    "empty label": (
        edit("training/labels.csv", r"0007\.png,\d", "0007.png,"),
        r"line 9: dark is ''",
    ),
    "a line not filled in": (
        edit("training/labels.csv", r"0007\.png,\d,\d,\d", "0007.png,,,"),
        r"line 9: dark is ''; a label is 0 or 1",
    ),
    "duplicate filename": (
        edit("training/labels.csv", r"0004\.png", "0002.png"),
        r"line 6: 0002\.png stands on line 4 already",
    ),
    "image without a label": (
        edit("validation/labels.csv", r"0005\.png.*\r?\n", ""),
        r"images/0005\.png has no line in .*validation/labels\.csv",
    ),
    "class missing from one split": (
        edit("unlabelled/labels.csv", "striped", "spotted"),
        r"unlabelled/labels\.csv, line 1: the classes of the training split are .*; this file "
        r"lacks striped; has spotted besides",
    ),
    "file outside": (
        edit("training/labels.csv", r"0004\.png", "../secret.png"),
        r"line 6: '\.\./secret\.png' is no file name inside images/",
    ),
    "a name longer than any file's": (
        edit("training/labels.csv", r"0004\.png", "4" * 300 + ".png"),
        r"line 6: the image .*4444\.png is missing",
    ),
    "labels.csv is a folder": (
        lambda root: (
            (root / "training/labels.csv").unlink(),
            (root / "training/labels.csv").mkdir(),
        ),
        r"training/labels\.csv is not a readable CSV file",
    ),
    "written in cp1252": (
        lambda root: (root / "training/labels.csv").write_bytes(
            "filename,Löcher\n".encode("cp1252")
        ),
        r'training/labels\.csv is not UTF-8 text: .* 0xf6 .*\. Save it as "CSV UTF-8"\.',
    ),
    "UTF-16 cut short": (
        lambda root: (root / "training/labels.csv").write_bytes("filename".encode("utf-16")[:-1]),
        r"is not UTF-8 text: .* truncated data",
    ),
    "short line": (
        edit("training/labels.csv", r"0004\.png.*\r?\n", "0004.png,1\n"),
        r"line 6: 2 cells where the header has 4",
    ),
    "no filename column": (
        edit("training/labels.csv", "filename", "picture"),
        r"line 1: no column `filename`",
    ),
    "a value in a column without a name": (
        lambda root: (root / "training/labels.csv").write_text(
            "filename,a,\nb.png,1,\nc.png,1,0\n"
        ),
        r"line 1: column 3 has no name",
    ),
    "a cell too many": (
        edit("training/labels.csv", r"(0004\.png.*)\r?\n", r"\1,\n"),
        r"line 6: 5 cells where the header has 4",
    ),
    "a path from the data set's folder": (
        edit("training/labels.csv", r"0004\.png", "images/0004.png"),
        r"line 6: the image images/0004\.png is missing from .*training/images\. "
        r"Did you mean '0004\.png'\?",
    ),
    "a path of Windows": (
        name_a_copy_as_windows_does,
        r"line 6: the image b\\0004\.png is missing .* Did you mean 'b/0004\.png'\?",
    ),
    "a name as an upload has it": (
        edit("training/labels.csv", r"0004\.png", "/data/upload/1/8f3a2b1c-0004.png"),
        r"'/data/upload/1/8f3a2b1c-0004\.png' is no file name inside images/",
    ),
    "a name with an upload's prefix": (
        edit("training/labels.csv", r"0004\.png", "8f3a2b1c-0004.png"),
        r"8f3a2b1c-0004\.png is missing from .* Did you mean '0004\.png'\?",
    ),
    "a name as in an address": (
        edit("training/labels.csv", r"0004\.png", "%30004.png"),
        r"%30004\.png is missing from .* Did you mean '0004\.png'\?",
    ),
    "a name in capitals": (
        edit("training/labels.csv", r"0004\.png", "0004.PNG"),
        r"0004\.PNG is missing from .* Did you mean '0004\.png'\?",
    ),
    "no filename column among semicolons": (
        lambda root: (root / "training/labels.csv").write_text("picture;dark\n0000.png;1\n"),
        r"line 1: no column `filename`; the columns are picture, dark\.",
    ),
    "a class in two Unicode forms": (
        two_forms,
        r"line 1: the column '\u00e9t\u00e9' stands there twice, as columns 2 and 3 "
        r"\(in several Unicode forms: U\+00E9 t U\+00E9; e U\+0301 te U\+0301\)",
    ),
    "a column twice": (
        edit("training/labels.csv", "dark,bright", "dark, dark "),
        r"line 1: the column 'dark' stands there twice, as columns 2 and 3\.$",
    ),
    "classes that look alike": (
        edit("unlabelled/labels.csv", "dark", "D\u0430rk"),  # with a Cyrillic a
        r"lacks dark; has D\u0430rk besides",
    ),
    "classes that differ in a blank that does not show": (
        edit("unlabelled/labels.csv", "dark", "Da\u200brk"),
        r"'dark' and 'Da\\u200brk' look alike and are two names \(dark; Da U\+200B rk\)",
    ),
    "a quote never closed": (
        edit("training/labels.csv", r"0004\.png", '"0004.png'),
        r"line 6: a quote is opened there and not closed .* up to line 25 became one cell",
    ),
    "a quote closed lines later": (
        edit("training/labels.csv", r"0004\.png((.*\n){3})0007\.png", r'0004".png",\g<1>"0007.png'),
        r"line 6: \d+ cells where the header has 4",
    ),
    "a quote before a label": (
        edit("training/labels.csv", r"(0004\.png),\d", r'\1,"1'),
        r"line 6: a quote is opened there",
    ),
    "a quote closed by another line's": (
        edit("training/labels.csv", r"0004\.png((?:.*\n){2})0006\.png", r'"0004.png\1"0006.png'),
        r"line 6: a quote is opened there and not closed .* up to line 8 became",
    ),
    "a quote in the header": (
        edit("training/labels.csv", "filename", '"filename'),
        r"labels\.csv, line 1: a quote is opened there and not closed .* up to line 25",
    ),
    "a quote before a class": (
        edit("training/labels.csv", "striped", '"striped'),
        r"labels\.csv, line 1: a quote is opened there",
    ),
    "a quote never closed in a long table": (
        lambda root: (root / "training/labels.csv").write_text(
            'filename,dark\n0000.png,1\n"0001.png,1\n' + 20000 * "0002.png,0\n"
        ),
        r"field limit \(131072\), in the row that begins on line 3\. Is a quote opened there",
    ),
    "no such split": (
        lambda root: (root / "validation").rename(root / "elsewhere"),
        r"no labels\.csv for the split 'validation'",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_naming_file_and_line(case: str, make_data: Callable[[], Path]) -> None:
    spoil, message = REFUSALS[case]
    root = make_data()
    spoil(root)
    with pytest.raises(DatasetError, match=message):
        open_splits(root, progress=False)


def test_layout_is_read_tolerantly(tmp_path: Path) -> None:
    root = tmp_path / "round2"
    write_split(root / "x" / "training-v0.2-rc4" / "training", 8, 0)
    write_split(root / "unlabelled_v2", 8, 1, classes=("striped", "dark", "bright"))
    write_split(root / "val", 8, 2)
    splits = open_splits(root, progress=False)
    assert splits.class_names == CLASSES
    # The first images show one class each, named by the split's own header.
    assert splits.unlabelled.labels[0].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("folders", "read"),
    [
        (("train", "unlabelled", "valid", "test"), "valid"),  # as Roboflow exports
        (("train", "pool", "test"), "test"),
        (("trn", "unlabeled", "dev"), "dev"),
        (("training_set", "unlabelled_set", "validation_set", "testing_set"), "validation_set"),
        (("seg_train", "unlabelled", "seg_test"), "seg_test"),
        (("train2017", "unlabeled2017", "val2017"), "val2017"),
        (("01_Train", "02_Pool", "03_Val"), "03_Val"),
    ],
)
def test_find_splits_knows_the_names_that_tools_give_them(
    folders: tuple[str, ...], read: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "labels.csv").touch()
    found = {split: path.parent.name for split, path in find_splits(tmp_path).items()}
    assert found == dict(zip(SPLITS, [*folders[:2], read], strict=True))
    unread = f"notice: {tmp_path / folders[-1]} is not read; held out is {tmp_path / read}"
    assert (unread in capsys.readouterr().err) == (len(folders) > len(SPLITS))


AS_SAVED: dict[str, Callable[[str], bytes]] = {
    "with semicolons": lambda text: text.replace(",", ";").encode(),
    "with semicolons, all quoted": lambda text: (
        re.sub(r"[^,\r\n]+", r'"\g<0>"', text).replace(",", ";").encode()
    ),
    "with a capital": lambda text: text.replace("filename", "Filename").encode(),
    "with blank columns": lambda text: text.replace("\r\n", ",, \r\n").encode(),
    "as Unicode text": lambda text: text.replace(",", "\t").encode("utf-16"),
    "in UTF-16, the high byte first": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "with tabs": lambda text: text.replace(",", "\t").encode(),
}


@pytest.mark.parametrize("case", AS_SAVED)
def test_a_table_is_read_as_a_spreadsheet_saves_it(
    case: str, make_data: Callable[[], Path]
) -> None:
    labels_csv = make_data() / "training/labels.csv"
    before = read_split("training", labels_csv)
    labels_csv.write_bytes(AS_SAVED[case](labels_csv.read_bytes().decode()))
    after = read_split("training", labels_csv)
    assert after.class_names == before.class_names
    assert (after.images, after.lines) == (before.images, before.lines)
    assert np.array_equal(after.labels, before.labels)


def test_blanks_around_a_name_belong_to_it_only_where_such_a_file_exists(tmp_path: Path) -> None:
    names = [" lead.png", "trail.png ", "plain.png"]
    (tmp_path / "images").mkdir()
    for name in names:
        (tmp_path / "images" / name).touch()
    labels_csv = tmp_path / "labels.csv"
    labels_csv.write_text("filename,dark\n lead.png,0\ntrail.png ,1\n plain.png ,1\n")
    assert [path.name for path in read_split("training", labels_csv).images] == names
    with labels_csv.open("a") as file:
        file.write("plain.png  ,1\n")
    with pytest.raises(DatasetError, match=r"line 5: plain\.png stands on line 4 already"):
        read_split("training", labels_csv)


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
def test_an_umlaut_is_found_however_it_is_encoded(
    on_disk: Literal["NFC", "NFD"], in_table: Literal["NFC", "NFD"], tmp_path: Path
) -> None:
    """In the names of files a Mac makes two signs of it, which look like one on a screen."""
    csv = write_split(tmp_path, 1, seed=0) / "labels.csv"
    image = tmp_path / "images" / unicodedata.normalize(on_disk, "Prüfteil 1.png")
    (tmp_path / "images" / "0000.png").rename(image)
    name = unicodedata.normalize(in_table, image.name)
    csv.write_text(csv.read_text().replace("0000.png", name))
    assert read_split("training", csv).images == (image,)


def test_folders_and_files_may_be_in_different_unicode_forms(tmp_path: Path) -> None:
    csv = write_split(tmp_path, 1, seed=0) / "labels.csv"
    image = tmp_path / "images" / "\u00e9te\u0301" / "e\u0301.png"
    image.parent.mkdir()
    (tmp_path / "images" / "0000.png").rename(image)
    csv.write_text(csv.read_text().replace("0000.png", "e\u0301t\u00e9/\u00e9.png"))
    assert read_split("training", csv).images == (image,)


def test_one_file_named_in_two_unicode_forms_stands_twice(tmp_path: Path) -> None:
    csv = write_split(tmp_path, 1, seed=0) / "labels.csv"
    (tmp_path / "images" / "0000.png").rename(tmp_path / "images" / "\u00e9.png")
    csv.write_text("filename,dark\n\u00e9.png,1\ne\u0301.png,1\n")
    with pytest.raises(DatasetError, match=r"line 3: \u00e9\.png stands on line 2 already \(in"):
        read_split("training", csv)


def test_two_files_of_one_name_in_two_unicode_forms_stay_two(tmp_path: Path) -> None:
    csv = write_split(tmp_path, 2, seed=0) / "labels.csv"
    names = ["\u00e9.png", "e\u0301.png"]
    for number, name in enumerate(names):
        (tmp_path / "images" / f"000{number}.png").rename(tmp_path / "images" / name)
        csv.write_text(csv.read_text().replace(f"000{number}.png", name))
    assert [path.name for path in read_split("training", csv).images] == names


def test_a_class_is_the_same_in_every_unicode_form(make_data: Callable[[], Path]) -> None:
    root = make_data()
    forms = ("\u00c5\u00e9", "A\u030ae\u0301", "\u212b\u00e9")  # the last with the sign of a unit
    for split, form in zip(SIZES, forms, strict=True):
        edit(f"{split}/labels.csv", "dark", form)(root)
    assert open_splits(root, progress=False).class_names == ("\u00c5\u00e9", "bright", "striped")


def test_a_line_break_in_a_name_or_after_a_value_is_no_open_quote(tmp_path: Path) -> None:
    csv = write_split(tmp_path, 2, seed=0) / "labels.csv"
    (tmp_path / "images" / "0001.png").rename(tmp_path / "images" / "a\nb.png")
    csv.write_text('filename,"very\ndark"\n0000.png,"1\n"\n"a\nb.png",0\n')
    split = read_split("training", csv)
    assert split.class_names == ("very\ndark",)
    assert split.lines == (3, 5)
    assert split.labels.tolist() == [[1], [0]]


def test_folders_that_are_no_splits_are_not_called_so(make_data: Callable[[], Path]) -> None:
    labels_csv = make_data() / "training/labels.csv"
    with pytest.raises(DatasetError, match="the classes of the first folder are dark") as refusal:
        read_split("labelled", labels_csv, ("dark", "bright"))
    assert "split" not in str(refusal.value).removeprefix(str(labels_csv))


@pytest.mark.parametrize(
    "hidden",
    [".thumbnails/0004.png", "a/.cache/b/0004.png", "a/.0004.png", "__MACOSX/0004.png"],
)
def test_what_is_hidden_among_the_images_needs_no_line(
    hidden: str, make_data: Callable[[], Path]
) -> None:
    labels_csv = make_data() / "training/labels.csv"
    copy = labels_csv.parent / "images" / hidden
    copy.parent.mkdir(parents=True)
    shutil.copy(labels_csv.parent / "images/0004.png", copy)
    assert len(read_split("training", labels_csv).images) == 24


def test_images_may_lie_behind_links_where_those_without_a_line_need_none(
    make_data: Callable[[], Path], tmp_path: Path
) -> None:
    labels_csv = make_data() / "training/labels.csv"
    images = labels_csv.parent / "images"
    shutil.copytree(images, tmp_path / "a disk")
    (images / "0004.png").unlink()
    (images / "disk").symlink_to(tmp_path / "a disk")
    (images / "again").symlink_to(images)
    edit("labels.csv", r"0004\.png", "disk/0004.png")(labels_csv.parent)
    assert images / "disk/0004.png" in read_split("training", labels_csv).images


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "1", "CMYK"])
def test_any_mode_and_size_becomes_rgb_of_one_size(
    mode: str, make_data: Callable[[], Path], tmp_path: Path
) -> None:
    root = make_data()
    suffix = ".tif" if mode == "CMYK" else ".png"
    grey = np.full((20, 30), 200, dtype=np.uint8)
    odd = (
        Image.fromarray(grey.astype(np.uint16) << 8)
        if mode == "I;16"
        else Image.fromarray(grey).convert(mode)
    )
    odd.save(root / f"training/images/odd{suffix}")
    with (root / "training/labels.csv").open("a") as file:
        file.write(f"odd{suffix},0,1,0\n")
    images = open_splits(root, progress=False).training.images
    assert images.shape == (25, 16, 16, 3)
    assert abs(images[-1].astype(float).mean() - 200) < 5


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_photographs_are_turned_upright(suffix: str, tmp_path: Path) -> None:
    """Whole folders of them, so that their commonest size is that of the pictures as shown."""
    shown = np.zeros((24, 16, 3), dtype=np.uint8)
    shown[:8, :8] = 255  # bright at the upper left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right, by a quarter, to be upright
    for name in ("training", "unlabelled", "validation"):
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "labels.csv").write_text(f"filename,dark\na.{suffix},1\nb.{suffix},0\n")
        for stem in "ab":
            picture = Image.fromarray(np.ascontiguousarray(np.rot90(shown)))
            picture.save(tmp_path / name / "images" / f"{stem}.{suffix}", exif=exif)
    images = open_splits(tmp_path, progress=False).training.images
    assert images.shape == (2, 24, 16, 3)
    assert np.abs(images[0].astype(int) - shown).mean() < 5


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize(
    "tags",
    [b"Exif\0\0" + b"garbage" * 9, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40],
    ids=["garbage", "a broken table"],
)
def test_tags_that_cannot_be_read_spoil_no_picture(
    suffix: str, tags: bytes, tmp_path: Path
) -> None:
    picture = Image.fromarray(np.full((16, 24, 3), 200, dtype=np.uint8))
    picture.save(tmp_path / f"a.{suffix}", exif=tags)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert orientation(image) == 1
        assert decode(image).rgb.size == (24, 16)


def test_a_tag_of_another_type_beside_the_orientation_does_no_harm(tmp_path: Path) -> None:
    table = struct.pack("<4sIH", b"II*\0", 8, 2)
    table += struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # orientation, a short: on its side
    table += struct.pack("<HHI4sI", 0x011A, 2, 4, b"72dp", 0)  # resolution, in words: not allowed
    Image.new("RGB", (24, 16)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + table)
    with Image.open(tmp_path / "a.jpg") as image:
        assert decode(image).rgb.size == (16, 24)


def test_decoded_once_and_again_when_a_file_changes_but_what_is_in_use_stays(
    make_data: Callable[[], Path],
) -> None:
    root = make_data()
    first = open_splits(root, progress=False)
    stamp = first.image_files["training"].stat().st_mtime_ns
    again = open_splits(root, progress=False)
    assert again.image_files["training"].stat().st_mtime_ns == stamp
    assert again.fingerprint == first.fingerprint

    Image.new("RGB", (16, 16), "red").save(root / "training/images/0003.png")
    changed = open_splits(root, progress=False)
    assert changed.training[3]["image"].reshape(-1, 3).max(0).tolist() == [255, 0, 0]
    assert changed.fingerprint != first.fingerprint
    stale = first.image_files["training"]
    assert stale.exists(), "it is in use"
    del first, again
    gc.collect()
    open_splits(root, progress=False)
    assert not stale.exists()


def test_the_fingerprint_is_of_what_is_seen_and_not_of_where_and_when(
    make_data: Callable[[], Path], tmp_path: Path
) -> None:
    """Or results of two machines, each with its copy, could not be joined."""
    root = make_data()
    copy = shutil.copytree(root, tmp_path / "elsewhere" / root.name, copy_function=shutil.copyfile)
    os.utime(copy / "training/images/0003.png", (0, 0))
    first, second = (open_splits(one, progress=False) for one in (root, copy))
    assert first.fingerprint == second.fingerprint
    Image.new("RGB", (16, 16), "red").save(copy / "unlabelled/images/0003.png")
    assert open_splits(copy, progress=False).fingerprint != first.fingerprint


def test_an_image_in_the_place_of_another_of_its_size_and_time_is_seen(
    make_data: Callable[[], Path],
) -> None:
    root = make_data()
    image = root / "training/images/0003.bmp"
    labels_csv = root / "training/labels.csv"
    labels_csv.write_text(labels_csv.read_text().replace("0003.png", "0003.bmp"))
    (root / "training/images/0003.png").unlink()
    for colour, seen in (("white", 255), ("black", 0)):
        Image.new("RGB", (16, 16), colour).save(image)
        os.utime(image, (0, 0))
        assert open_splits(root, progress=False).training.images[3].max() == seen


def test_images_of_one_name_in_two_folders_stay_with_their_labels(tmp_path: Path) -> None:
    for split in ("training", "unlabelled", "validation"):
        for side, colour in (("left", "white"), ("right", "black")):
            image = tmp_path / split / "images" / side / "0.bmp"
            image.parent.mkdir(parents=True)
            Image.new("RGB", (16, 16), colour).save(image)
            os.utime(image, (0, 0))
    for sides in (("left", "right"), ("right", "left")):
        lines = [f"{side}/0.bmp,{int(side == 'left')}\n" for side in sides]
        for split in ("training", "unlabelled", "validation"):
            (tmp_path / split / "labels.csv").write_text("filename,bright\n" + "".join(lines))
        data = open_splits(tmp_path, progress=False).training
        assert (data.images[:, 0, 0, 0] > 0).tolist() == (data.labels[:, 0] > 0).tolist()


def test_all_splits_have_the_training_sets_commonest_size(
    make_data: Callable[[], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "evaluator")
    root = make_data()
    for path in (root / "unlabelled/images").iterdir():
        with Image.open(path) as image:
            image.resize((20, 24)).save(path)
    splits = open_splits(root, progress=False)
    assert splits.unlabelled.images.shape[1:] == splits.training.images.shape[1:] == (16, 16, 3)
    assert "images of another size resized to 16 x 16" in caplog.text


@pytest.mark.parametrize("keep", [0, 60, 500])
def test_a_cache_that_was_cut_short_is_made_anew(keep: int, make_data: Callable[[], Path]) -> None:
    root = make_data()
    file = open_splits(root, progress=False).image_files["training"]
    whole = file.read_bytes()
    file.write_bytes(whole[:keep])
    assert open_splits(root, progress=False).image_files["training"].read_bytes() == whole


@pytest.mark.parametrize("where", ["os.posix_fallocate", "numpy.lib.format.open_memmap"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_before_anything_is_decoded(
    number: int, where: str, make_data: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    root = make_data()
    monkeypatch.setattr(where, full)
    with pytest.raises(DatasetError, match="has no room for them") as caught:
        open_splits(root, progress=False)
    assert caught.value.code == "disk-full"
    assert [path.name for path in (root / ".zewdpc-cache").iterdir()] == []


def test_splits_are_found_behind_links_and_not_among_what_is_hidden(
    make_data: Callable[[], Path], tmp_path: Path
) -> None:
    root = make_data()
    linked = tmp_path / "linked"
    linked.mkdir()
    for split in ("training", "unlabelled", "validation"):
        (linked / split).symlink_to(root / split)
    (linked / "round").symlink_to(linked)
    for left in (".unpacking-abc", "__MACOSX"):
        shutil.copytree(root / "training", linked / left / "training")
    found = find_splits(linked)
    assert {split: path.parent.name for split, path in found.items()} == {
        split: split for split in found
    }


def test_a_changed_label_changes_the_fingerprint(make_data: Callable[[], Path]) -> None:
    root = make_data()
    before = open_splits(root, progress=False).fingerprint
    edit("unlabelled/labels.csv", r"0004\.png,0", "0004.png,1")(root)
    assert open_splits(root, progress=False).fingerprint != before


def test_no_half_made_cache_is_left(make_data: Callable[[], Path]) -> None:
    root = make_data()
    (root / "training/images/0003.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError):
        open_splits(root, progress=False)
    assert [path.name for path in (root / ".zewdpc-cache").iterdir()] == []


def test_read_only_data_is_cached_elsewhere(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("evaluator.data.cache.FOLDER", "training/labels.csv")
    files = open_splits(squares, progress=False).image_files
    assert all(path.is_relative_to(tmp_path) for path in files.values())


def test_the_pool_shows_no_label_before_it_is_paid_for(squares: Path) -> None:
    pool = open_splits(squares).unlabelled
    vault = LabelVault(pool.labels, budget=2)
    vault.open = True
    protected = ZEWDPCProtectedDataset(pool.images, CLASSES, vault.purchase)
    assert protected[5]["label"].tolist() == [-1, -1, -1]
    assert protected.purchase_label(np.int64(5).item()).tolist() == pool.labels[5].tolist()
    assert protected[5]["label"].tolist() == pool.labels[5].tolist()
    protected.purchase_label(6)
    with pytest.raises(OutOfBudgetError):
        protected.purchase_label(7)
    assert protected[7]["label"].tolist() == [-1, -1, -1]


def test_the_aggregated_set_does_not_depend_on_the_order_of_purchase(squares: Path) -> None:
    splits = open_splits(squares)
    labels = {row: splits.unlabelled.labels[row].tolist() for row in (30, 2, 17)}
    bought = instantiate_purchased_dataset(splits.unlabelled, labels)
    assert bought.rows.tolist() == [2, 17, 30]
    whole = aggregated_dataset(splits.training, bought)
    assert len(whole) == 24 + 3
    assert whole[26]["idx"] == 30
    assert whole[26]["label"].tolist() == splits.unlabelled.labels[30].tolist()


def test_an_empty_purchase_is_a_data_set_too(squares: Path) -> None:
    splits = open_splits(squares)
    assert len(instantiate_purchased_dataset(splits.unlabelled, {})) == 0


def test_indexing_past_the_end_raises_so_that_iteration_ends(squares: Path) -> None:
    assert len(list(iter(open_splits(squares).validation))) == 16  # type: ignore[call-overload]


def test_workers_of_a_data_loader_see_the_pool_and_cannot_buy(squares: Path) -> None:
    splits = open_splits(squares, progress=False)
    line = threading.Lock()  # what sells labels holds what cannot be pickled
    pool = ZEWDPCProtectedDataset(
        splits.unlabelled.images, CLASSES, lambda idx: [int(line.locked())] * 3
    )
    pool.purchase_label(3)
    pickled = pickle.dumps(pool)
    assert len(pickled) < pool.images.nbytes / 2  # the images are mapped again, not copied
    copy = pickle.loads(pickled)
    assert np.array_equal(copy[5]["image"], pool[5]["image"])
    assert copy[3]["label"].tolist() == [0, 0, 0]
    with pytest.raises(ZEWDPCRuntimeError, match="worker process"):
        copy.purchase_label(4)


def test_halves_of_a_killed_decoding_are_removed_and_those_in_the_making_are_not(
    make_data: Callable[[], Path],
) -> None:
    root = make_data()
    folder = root / ".zewdpc-cache"
    folder.mkdir()
    abandoned, in_the_making = folder / ".training-a.npy", folder / ".training-b.npy"
    for half in (abandoned, in_the_making):
        half.write_bytes(b"half")
    os.utime(abandoned, (0, 0))
    open_splits(root, progress=False)
    assert not abandoned.exists()
    assert in_the_making.exists()
