"""`labelling import`: labels that one has already become a labelled folder, whole or not at all."""

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from labelling.__main__ import main
from labelling.pictures import copy_image, read_labelled
from shared.errors import DatasetError
from shared.images.layout import read_split


def picture(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), shade).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """dent/ with two images, scratch/ with two, one of them in dent/, too; good/ with one."""
    root = tmp_path / "photos"
    for name, shade in (
        ("dent/a.png", 1),
        ("dent/line 2/b.png", 2),
        ("scratch/a.png", 3),
        ("scratch/also-dented.png", 2),
        ("good/c.png", 4),
    ):
        picture(root / name, shade)
    return root


def coco(**changes: Any) -> dict[str, Any]:
    """Three images of two classes: the first shows both, one of them twice, the third none."""
    return {
        "images": [
            {"id": 7, "file_name": "dent/a.png"},
            {"id": 3, "file_name": "line 2\\b.png"},
            {"id": 9, "file_name": "/mnt/photos/good/c.png"},
        ],
        "categories": [{"id": 2, "name": "scratch"}, {"id": 1, "name": "dent"}],
        "annotations": [
            {"image_id": 7, "category_id": 1, "bbox": [0, 0, 4, 4]},
            {"image_id": 7, "category_id": 1, "bbox": [4, 4, 4, 4]},
            {"image_id": 7, "category_id": 2},
            {"image_id": 3, "category_id": 2},
        ],
        **changes,
    }


def imported(source: Path, *more: str) -> int:
    return main(["import", str(source), "--out", str(source.parent / "labelled"), *more])


def table(folder: Path) -> list[list[str]]:
    with (folder / "labels.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_each_folder_is_a_class(photos: Path, capsys: pytest.CaptureFixture[str]):
    assert imported(photos, "--without", "good/") == 0  # as a shell completes it
    labelled = photos.parent / "labelled"
    assert table(labelled) == [
        ["filename", "dent", "scratch"],
        ["dent/a.png", "1", "0"],
        ["dent/line 2/b.png", "1", "1"],
        ["good/c.png", "0", "0"],
        ["scratch/a.png", "0", "1"],
    ]
    for row in table(labelled)[1:]:
        assert (labelled / "images" / row[0]).read_bytes() == (photos / row[0]).read_bytes()
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "4 images; dent 50.0%, scratch 50.0%; none 25.0%",
        f"next: python choose.py --labelled {labelled} --pool POOL --budget 200"
        " --strategy uherding --out BATCH",
    ]
    assert told.err == (
        "1 images lie in the folders of several classes and show all of them: "
        "dent/line 2/b.png and scratch/also-dented.png, ...\n"
    )
    assert len(read_labelled([labelled], 8).images) == 4


def test_without_a_word_good_is_a_class_and_an_empty_folder_too(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    (photos / "rust").mkdir()
    for unseen in (".hidden", "__MACOSX"):  # the latter stands in archives that a Mac packed
        picture(photos / unseen / "dent" / "._a.png", 5)
    assert imported(photos) == 0
    assert table(photos.parent / "labelled")[0] == ["filename", "dent", "good", "rust", "scratch"]
    told = capsys.readouterr().err
    assert "left out, as hidden or a system's own: .hidden, __MACOSX" in told
    assert "notice: no image shows rust" in told


def test_a_coco_file_with_its_images(photos: Path, capsys: pytest.CaptureFixture[str]):
    """Paths from Windows and from other machines are found where the folders agree."""
    file = photos.parent / "export.JSON"
    file.write_text(json.dumps(coco()))
    assert imported(file, "--images", str(photos)) == 0
    assert table(photos.parent / "labelled") == [
        ["filename", "scratch", "dent"],
        ["dent/a.png", "1", "1"],
        ["dent/line 2/b.png", "1", "0"],
        ["good/c.png", "0", "0"],
    ]
    told = capsys.readouterr().err
    assert "2 images were found by name, elsewhere than the table says: " in told
    assert "'line 2\\\\b.png' as 'dent/line 2/b.png', ..." in told
    assert "1 of 3 images have no annotation and count as showing no class" in told
    assert f"2 images below {photos} are not in export.JSON and are left out" in told
    assert len(read_split("any", photos.parent / "labelled" / "labels.csv").images) == 3


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ("[]", "bad-import", "export.json has no task"),  # to Label Studio, a list
        ("{", "bad-import", "is not JSON (JSONDecodeError"),
        ("{\xff", "bad-import", "is not JSON (UnicodeDecodeError"),
        ("7", "format-unknown", "may be none of those that are read"),
        ({"categories": [], "annotations": []}, "bad-import", "`categories` is empty"),
        ({"images": [{"id": 3, "file_name": "b.png"}]}, "bad-import",
         "an annotation names image 7 and category 1"),
        ({"images": []}, "bad-import", "`images` is empty"),
        ({"annotations": [{"image_id": 7}]}, "bad-import",
         "(entry 1 of `annotations` has no `category_id`)"),
        ({"annotations": None}, "bad-import", "is not a COCO file (`annotations` is no list)"),
        ({"annotations": [7]}, "bad-import", "(entry 1 of `annotations` is no object)"),
        ({"annotations": []}, "no-annotations", "export `CVAT for images 1.1` from CVAT, JSON"),
        ({"images": [{"id": 7, "file_name": None}]}, "bad-import",
         "(entry 1 of `images` has `file_name` None)"),
        ({"images": [{"id": [7], "file_name": "a.png"}]}, "bad-import", "has `id` [7])"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "bad-import",
         "2 entries of `categories` are called 'a', with the ids 1, 2. "),
        ({"categories": [{"id": n, "name": "a"} for n in (1, 2, 1)]}, "bad-import",
         "2 entries of `categories` have the id 1: 'a', 'a'"),
        ({"images": [{"id": 7, "file_name": "gone.png"}, {"id": 3, "file_name": "b.png"}]},
         "missing-image", "of 2 images, 1 are not below"),
        ({"images": [{"id": 7, "file_name": "x/a.png"}, {"id": 3, "file_name": "b.png"}]},
         "missing-image", "which is not where the table says; called alike is 'dent/a.png'"),
        ({"images": [{"id": 7, "file_name": "b.png"}, {"id": 3, "file_name": "line 2/b.png"}]},
         "bad-import", "b.png: 'b.png' (id 7), 'line 2/b.png' (id 3)"),
        ({"images": [{"id": 7, "file_name": "a.png"}, {"id": 3, "file_name": "b.png"}]},
         "missing-image", "'a.png', which may be any of 'dent/a.png', 'scratch/a.png'"),
    ],
)  # fmt: skip
def test_a_coco_file_that_is_none_is_told(
    content: str | dict[str, Any],
    code: str,
    words: str,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
):
    file = photos.parent / "export.json"
    text = content if isinstance(content, str) else json.dumps(coco(**content))
    file.write_bytes(text.encode("latin-1"))
    assert imported(file, "--images", str(photos)) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.splitlines()[-1].endswith(f"#{code}")
    assert not (photos.parent / "labelled").exists()


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (("dent ", "\tscratch"), None),
        (("dent", "dent "), "'dent'"),
        (("FileName ", "x"), "'filename'"),
        (("x", ""), "''"),
        (("x", " "), "''"),
    ],
)
def test_classes_are_called_as_a_column_can_be(
    names: tuple[str, str], refused: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Or the folder just written would be refused by those who read it."""
    file, folders = tmp_path / "export.json", tmp_path / "folders"
    for number, name in enumerate(names):
        picture(folders / (name or " ") / f"{number}.png", number)
    pictures = [{"id": n, "file_name": f"{n}.png"} for n in (0, 1)]
    categories = [{"id": n, "name": name} for n, name in enumerate(names)]
    shown = [{"image_id": 0, "category_id": 0}]
    file.write_text(json.dumps(coco(images=pictures, categories=categories, annotations=shown)))
    for source in (folders, file):
        code = imported(source, *(["--images", str(folders)] if source == file else []))
        if refused:
            assert code == 2
            told = capsys.readouterr().err
            assert f"{source}: a class is called {refused}" in told
        else:
            labelled = read_labelled([tmp_path / "labelled"], 8)
            assert sorted(labelled.class_names) == sorted(name.strip() for name in names)
            (tmp_path / "labelled").rename(tmp_path / f"from-{source.stem}")


def test_folders_that_are_no_classes_are_told(photos: Path, capsys: pytest.CaptureFixture[str]):
    def refusal(source: Path, *more: str) -> str:
        assert imported(source, *more) == 2
        return capsys.readouterr().err

    assert "cannot be read: it is not there" in refusal(photos / "nowhere")
    assert "cannot be read: it is not there" in refusal(photos / "nowhere.json")
    assert "is not a folder with" in refusal(photos / "good/c.png", "--format", "class-folders")
    assert "--without bad: " in refusal(photos, "--without", "good", "bad")
    assert "0 such folders with 0 images, and 2 images beside" in refusal(photos / "scratch")
    assert "0 such folders" in refusal(photos, "--without", "good", "dent", "scratch")
    picture(photos / "stray.png", 9)
    assert "3 such folders with 5 images, and 1 images beside them" in refusal(photos)
    (photos / "stray.png").rename(photos / "good" / "same.png")
    picture(photos / "good" / "same.png", 1)
    assert "one says that it shows no class" in refusal(photos, "--without", "good")
    (photos.parent / "labelled").mkdir()
    assert "exists already" in refusal(photos)


def test_a_name_that_is_no_text_is_told(photos: Path, capsys: pytest.CaptureFixture[str]):
    (photos / "dent" / "a.png").rename(photos / "dent" / os.fsdecode(b"\xff.png"))
    assert imported(photos) == 0
    assert "\\udcff.png': its name is not UTF-8" in capsys.readouterr().err
    shutil.rmtree(photos.parent / "labelled")
    (photos / "dent").rename(photos / os.fsdecode(b"\xff"))
    assert imported(photos) == 2
    assert "is not UTF-8; change it" in capsys.readouterr().err
    (photos.parent / "export.json").write_text(json.dumps(coco()))
    assert imported(photos.parent / "export.json", "--without", "good") == 2
    assert "--without good: " in capsys.readouterr().err
    assert imported(photos, "--images", str(photos)) == 2
    assert "--columns are for tables; class folders hold their own" in capsys.readouterr().err


def test_what_the_disk_refuses_leaves_nothing(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labelling.importing.copy_image", full)
    assert imported(photos) == 2
    assert "labelled cannot be written ([Errno 28]" in capsys.readouterr().err
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


def test_nothing_is_copied_over_an_image_that_is_there(tmp_path: Path):
    """As it would be on a disk where a.png and A.png are one name."""
    (tmp_path / "A.png").write_bytes(b"first")
    with pytest.raises(FileExistsError):
        copy_image(picture(tmp_path / "b.png", 1), tmp_path / "A.png")
    assert (tmp_path / "A.png").read_bytes() == b"first"


def test_a_source_that_cannot_be_read_is_not_blamed_on_the_target(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"image .*gone\.png cannot be read") as refused:
        copy_image(tmp_path / "gone.png", tmp_path / "there.png")
    assert refused.value.code == "unreadable-image"


def test_class_folders_may_be_links(photos: Path):
    (photos / "worn").symlink_to(photos / "scratch")
    assert imported(photos, "--without", "good") == 0
    rows = {row[0]: row[1:] for row in table(photos.parent / "labelled")}
    assert rows["filename"] == ["dent", "scratch", "worn"]
    assert rows["scratch/a.png"] == ["0", "1", "1"]
    assert rows["dent/line 2/b.png"] == ["1", "1", "1"]


def test_an_image_in_two_folders_that_show_nothing_shows_nothing(photos: Path):
    picture(photos / "background" / "same.png", 4)
    assert imported(photos, "--without", "good", "background") == 0
    rows = {row[0]: row[1:] for row in table(photos.parent / "labelled")}
    assert rows["background/same.png"] == ["0", "0"]
    assert "good/c.png" not in rows
