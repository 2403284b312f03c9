"""A COCO file's labels go to the images that it was written for, or nowhere."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from labelling.formats.table import Wishes
from labelling.importing import Imported
from labelling.matching import import_labels
from shared.errors import DatasetError

TWO = [{"id": 1, "name": "scratch"}, {"id": 2, "name": "dent"}]
GROUP = {"id": 0, "name": "defects", "supercategory": "none"}
GROUPED = [GROUP, *({**one, "supercategory": "defects"} for one in TWO)]


def from_coco(path: Path, images: Path, *, resized: bool = False) -> Imported:
    return import_labels(path, "coco", Wishes(), images, resized=resized)


NFC, NFD = "Gr\u00f6\u00dfe", "Gro\u0308\u00dfe"


def imported(
    tmp_path: Path,
    images: list[dict[str, Any]],
    files: tuple[str, ...] = ("a.png", "b.png"),
    size: tuple[int, int] = (40, 30),
    *,
    resized: bool = False,
    **lists: Any,
) -> Imported:
    """Images with the ids 1, 2, ..., of which the n-th shows the n-th class, and their files."""
    for number, file in enumerate(files):
        (tmp_path / "photos" / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number, 0, 0)).save(tmp_path / "photos" / file, format="PNG")
    listed = [{"id": number, **one} for number, one in enumerate(images, 1)]
    shown = [{"image_id": number, "category_id": number} for number in (1, 2)][: len(listed)]
    table = {"images": listed, "categories": TWO, "annotations": shown} | lists
    (tmp_path / "table.json").write_text(json.dumps(table))
    return from_coco(tmp_path / "table.json", tmp_path / "photos", resized=resized)


def refused(
    code: str, tmp_path: Path, images: list[dict[str, Any]], *more: Any, **lists: Any
) -> str:
    with pytest.raises(DatasetError) as caught:
        imported(tmp_path, images, *more, **lists)
    assert caught.value.code == code, caught.value
    return str(caught.value)


def named(*names: str) -> list[dict[str, Any]]:
    return [{"file_name": name} for name in names]


@pytest.mark.parametrize(
    ("names", "files", "said"),
    [
        (("cam2/1.png", "cam2/2.png"), ("cam1/1.png", "cam2/2.png"),
         "'cam2/1.png', which is not where the table says; called alike is 'cam1/1.png'"),
        (("1.png", "b.png"), ("cam1/1.png", "cam2/1.png", "b.png"),
         "'1.png', which may be any of 'cam1/1.png', 'cam2/1.png'"),
        (("A.PNG", "b.png"), ("a.png", "b.png"), "called alike is 'a.png'"),
        (("a.jpg", "b.png"), ("a.png", "b.png"), "called alike is 'a.png'"),
        (("gone.png", "b.png"), ("a.png", "b.png"), "'gone.png', which is nowhere there"),
        (("a.gif", "b.png"), ("a.gif", "b.png"),
         "'a.gif', which is of a kind that is not read (.gif; what is read is "),
        (("images/a.heic", "b.png"), ("a.heic", "b.png"), "a kind that is not read (.heic; what"),
        (("a", "b.png"), ("a", "b.png"), "is of a kind that is not read (without a suffix; "),
        (("../../etc/passwd.png", "b.png"), ("a.png", "b.png"), "is nowhere there"),
    ],
)  # fmt: skip
def test_a_name_without_its_file_is_refused_with_what_was_found(
    names: tuple[str, ...], files: tuple[str, ...], said: str, tmp_path: Path
):
    assert said in refused("missing-image", tmp_path, named(*names), files)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a.png", "a.png"), "'a.png' (id 1), 'a.png' (id 2)"),
        (("x/a.png", "y/a.png"), "'x/a.png' (id 1), 'y/a.png' (id 2)"),
        (("a.png", "./a.png"), "'a.png' (id 1), './a.png' (id 2)"),
        (("11111111-a.png", "22222222-a.png"), "'11111111-a.png' (id 1), '22222222-a.png'"),
    ],
)
def test_two_entries_of_one_file_are_refused_by_name(
    names: tuple[str, ...], said: str, tmp_path: Path
):
    told = refused("bad-import", tmp_path, named(*names))
    assert f"2 entries can only be the file {tmp_path}/photos/a.png: {said}" in told


def test_two_entries_of_one_file_in_two_unicode_forms_are_refused(tmp_path: Path):
    told = refused("bad-import", tmp_path, named(f"{NFC}.png", f"{NFD}.png"), (f"{NFC}.png",))
    assert "2 entries can only be the file" in told
    assert "(in several Unicode forms: Gr U+00F6 U+00DF e.png; Gro U+0308 U+00DF e.png)" in told


def test_two_files_of_one_name_in_two_unicode_forms_stay_two(tmp_path: Path):
    files = (f"{NFC}.png", f"{NFD}.png")
    found = imported(tmp_path, named(*files), files)
    assert found.names == files
    assert found.labels.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("table", "is_read"),
    [
        ((40, 30), True),
        ((30, 40), True),  # a camera held upright, and a tool that heeds its note, or does not
        ((1920, 1080), False),
        ((400, 300), False),  # of the same shape, and perhaps another camera's
        ((40, 31), False),
        ((40.0, "30"), True),
        ((0, 0), True),  # not known
        ((None, None), True),
        (("?", 30), True),
        ((-1, -1), True),
    ],
)
def test_an_image_of_another_size_than_the_table_says_is_refused(
    table: tuple[Any, Any], is_read: bool, tmp_path: Path
):
    sized = [{"file_name": name, "width": table[0], "height": table[1]} for name in ("a.png",)]
    if is_read:
        assert imported(tmp_path, sized).names == ("a.png",)
        return
    told = refused("image-size-differs", tmp_path, sized)
    assert f"1 of 1 images have another size than the table says; the first is {tmp_path}" in told
    assert f"a.png: 40 x 30 pixels, and {table[0]} x {table[1]} in the table" in told
    assert imported(tmp_path, sized, resized=True).names == ("a.png",)


@pytest.mark.parametrize(
    ("categories", "shown", "class_names"),
    [
        (GROUPED, (1, 2), ("scratch", "dent")),
        ([*GROUPED[1:], GROUP], (1, 2), ("scratch", "dent")),  # wherever it stands
        ([GROUP | {"name": "scratch", "supercategory": ""},
          *({**one, "supercategory": "scratch"} for one in TWO)], (1, 2), ("scratch", "dent")),
        (GROUPED, (0, 2), ("defects", "scratch", "dent")),  # an annotation names it
        ([GROUP, *TWO], (1, 2), ("defects", "scratch", "dent")),  # the others' parent is unknown
        ([GROUP | {"supercategory": "things"}, *GROUPED[1:]], (1, 2),
         ("defects", "scratch", "dent")),
        ([GROUP], (0, 0), ("defects",)),
    ],
)  # fmt: skip
def test_a_category_that_only_groups_the_others_is_no_class(
    categories: list[dict[str, Any]],
    shown: tuple[int, int],
    class_names: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    notes = [{"image_id": image, "category_id": one} for image, one in enumerate(shown, 1)]
    names = named("a.png", "b.png")
    found = imported(tmp_path, names, categories=categories, annotations=notes)
    assert found.class_names == class_names
    said = "the category " in capsys.readouterr().err
    assert said == (len(class_names) < len(categories))


@pytest.mark.parametrize("form", [NFC, NFD])
def test_class_names_are_read_in_one_unicode_form(form: str, tmp_path: Path):
    categories = [{"id": 1, "name": form}, {"id": 2, "name": 7}]
    found = imported(tmp_path, named("a.png", "b.png"), categories=categories)
    assert found.class_names == (NFC, "7")


def test_two_categories_of_one_name_in_two_unicode_forms_are_refused(tmp_path: Path):
    categories = [{"id": 1, "name": NFC}, {"id": 2, "name": NFD}]
    told = refused("bad-import", tmp_path, named("a.png", "b.png"), categories=categories)
    assert f"2 entries of `categories` are called '{NFC}', with the ids 1, 2 (in several" in told


def test_images_that_cannot_be_used_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    imported(tmp_path, named("a.png", "b.png"))
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    found = from_coco(tmp_path / "table.json", tmp_path / "photos")
    assert found.names == ("b.png",)
    assert found.labels.tolist() == [[0, 1]]
    assert f"1 of 2 images cannot be used and are left out ('{tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "root", "refuses"),
    [
        (("cam1/a.png", "cam2/b.png"), "photos/cam1", True),  # the table's b.png is of cam2
        (("x/photos/cam1/a.png", "x/photos/cam2/b.png"), "photos/cam1", True),
        (("cam1/a.png", "cam1/b.png"), "photos/cam1", False),
        (("x/a.png", "y/b.png"), "photos/cam1", False),  # gathered in one folder since
        (("../cam2/b.png", "a.png"), "photos/cam1", True),
        (("{here}/photos/cam2/b.png", "a.png"), "photos/cam1", True),
        (("{here}/photos/cam1/b.png", "a.png"), "photos/cam1", False),
        (("../cam1/b.png", "a.png"), "photos/cam1", False),
        (("cam1/a.png", "cam2/b.png"), "photos", False),
    ],
)
def test_an_image_of_a_folder_that_was_not_given_is_not_taken_from_another(
    names: tuple[str, str], root: str, refuses: bool, tmp_path: Path
):
    files = ("cam1/a.png", "cam1/b.png", "cam2/b.png")
    imported(tmp_path, named(*files), files)
    table = json.loads((tmp_path / "table.json").read_text())
    table["images"] = [
        {"id": number, "file_name": name.format(here=tmp_path)}
        for number, name in enumerate(names, 1)
    ]
    (tmp_path / "table.json").write_text(json.dumps(table))
    if refuses:
        with pytest.raises(DatasetError, match=r"is another image of that name") as caught:
            from_coco(tmp_path / "table.json", tmp_path / root)
        assert caught.value.code == "missing-image"
        from_coco(tmp_path / "table.json", tmp_path / root, resized=True)
    else:
        assert len(from_coco(tmp_path / "table.json", tmp_path / root).files) == 2


@pytest.mark.parametrize("name", ["nowhere", "photos/a.png"])
def test_a_folder_of_images_that_is_none_is_refused(name: str, tmp_path: Path):
    imported(tmp_path, named("a.png"))
    with pytest.raises(DatasetError, match=f"--images .*{name} is not a folder"):
        from_coco(tmp_path / "table.json", tmp_path / name)


def test_without_any_annotation_it_is_said_what_to_export(tmp_path: Path):
    told = refused("no-annotations", tmp_path, named("a.png", "b.png"), annotations=[])
    assert "every image would count as showing no class" in told
    assert "`CVAT for images 1.1` from CVAT, JSON from Label Studio" in told
