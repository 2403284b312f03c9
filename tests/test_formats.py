"""Labels of other tools, as these write them, become a labelled folder, and go back again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelling.__main__ import main
from labelling.exporting import export
from labelling.folder import write_labelled
from labelling.formats.registry import READERS, WRITERS, ExportWishes, target_of
from labelling.formats.table import Wishes
from labelling.importing import Imported
from labelling.matching import import_labels
from shared.errors import ExplainedError

CLASSES = ("scratch", "dent")
ABCD = ("a.png", "b.png", "c.png", "d.png")
LABELS = {"a.png": "11", "b.png": "01", "c.png": "00", "d.png": ""}  # d is not labelled
NAMED = Wishes(classes=CLASSES)
NONE = Wishes(without=("none",))
NAMED_NONE = Wishes(classes=CLASSES, without=("none",))


def put(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed, name in enumerate(ABCD):
        put(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


def found(imported: Imported) -> dict[str, str]:
    """Name -> its labels, a digit for each class; empty where it has none yet."""
    assert imported.class_names == CLASSES
    return {
        name: "" if row in imported.unlabelled else "".join(map(str, labels))
        for row, (name, labels) in enumerate(
            zip(imported.names, imported.labels.tolist(), strict=True)
        )
    }


def write(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def read(path: Path, photos: Path, wishes: Wishes, name: str = "") -> dict[str, str]:
    return found(import_labels(path, name, wishes, photos))


def choices(*chosen: str, field: str = "damage") -> dict[str, Any]:
    value = {"type": "choices", "from_name": field, "to_name": "image"}
    return {"id": "p1", **value, "value": {"choices": list(chosen)}}


def task(number: int, name: str, *annotations: Sequence[Any] | None, **more: Any) -> dict[str, Any]:
    """A task of Label Studio's; None is an annotation that was skipped."""
    given = [{"was_cancelled": one is None, "result": one or []} for one in annotations]
    data = {"image": f"/data/upload/1/{number:08x}-{name}"}
    return {"id": number, "data": data, "annotations": given, "predictions": [], **more}


TASKS = [
    task(1, "a.png", [choices("scratch", "dent")]),
    task(2, "b.png", [choices("dent")], predictions=[{"result": [choices("scratch")]}]),
    task(3, "c.png", []),
    task(4, "d.png"),
]
MIN = [
    {"id": 1, "image": "/data/upload/1/8f3a2b1c-a.png", "annotation_id": 101, "annotator": 1}
    | {"damage": {"choices": ["scratch", "dent"]}, "lead_time": 2.5},
    {"id": 2, "image": "/data/upload/1/0a1b2c3d-b.png", "annotation_id": 102, "damage": "dent"},
    {"id": 3, "image": "/data/upload/1/11223344-c.png", "annotation_id": 103, "annotator": 1},
    {"id": 4, "image": "/data/upload/1/55667788-d.png", "annotation_id": None, "annotator": None},
]
STUDIO_CSV = """"annotation_id","annotator","created_at","damage","id","image","lead_time","updated_at"
101,"1","2026-11-30T10:00:00Z","{""choices"":[""scratch"",""dent""]}",1,"/data/upload/1/8f3a2b1c-a.png",2.5,""
102,"1","2026-11-30T10:00:00Z","dent",2,"/data/upload/1/0a1b2c3d-b.png",1.9,""
103,"1","2026-11-30T10:00:00Z","",3,"/data/upload/1/11223344-c.png",1.1,""
"","","","",4,"/data/upload/1/55667788-d.png","",""
"""  # noqa: E501
CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels>
  <label><name>scratch</name><type>tag</type></label><label><name>dent</name><type>tag</type></label>
  <label><name>none</name><type>tag</type></label></labels></task></meta>
  <image id="0" name="a.png" width="40" height="30">
    <tag label="scratch" source="manual"></tag><tag label="dent" source="manual"></tag></image>
  <image id="1" name="b.png" width="40" height="30">
    <box label="dent" xtl="1" ytl="1" xbr="9" ybr="9"><attribute name="deep">1</attribute></box></image>
  <image id="2" name="c.png" width="40" height="30"><tag label="none" source="manual"></tag></image>
  <image id="3" name="d.png" width="40" height="30"></image></annotations>
"""  # noqa: E501


def item(name: str, *labels: int) -> dict[str, Any]:
    notes = [
        {"id": number, "type": "label", "group": 0, "label_id": label, "attributes": {}}
        for number, label in enumerate(labels)
    ]
    image = {"path": f"{name}.png", "size": [30, 40]}
    return {"id": name, "image": image, "annotations": notes}


DATUMARO = {
    "info": {},
    "categories": {
        "label": {
            "labels": [
                {"name": name, "parent": "", "attributes": []} for name in (*CLASSES, "none")
            ]
        }
    },
    "items": [item("a", 0, 1), item("b", 1), item("c", 2), item("d")],
}
COCO = {
    "categories": [{"id": 1, "name": "scratch"}, {"id": 2, "name": "dent"}],
    "images": [{"id": n, "file_name": name, "width": 40, "height": 30}
               for n, name in enumerate(ABCD[:3])],
    "annotations": [{"id": 1, "image_id": 0, "category_id": 1},
                    {"id": 2, "image_id": 0, "category_id": 2},
                    {"id": 3, "image_id": 1, "category_id": 2, "bbox": [1, 1, 5, 5]}],
}  # fmt: skip
EXAMPLES: dict[str, tuple[str, Any, Wishes, str]] = {  # file, content, wishes, format
    "Label Studio JSON": ("export.json", TASKS, NAMED, "label-studio"),
    "Label Studio JSON-MIN": ("export.json", MIN, NAMED, "label-studio"),
    "Label Studio CSV": ("export.csv", STUDIO_CSV, NAMED, "label-studio"),
    "Label Studio TSV": (
        "export.tsv",
        "annotation_id\tdamage\tid\timage\n"
        '1\t"{""choices"":[""scratch"",""dent""]}"\t1\ta.png\n'
        "2\tdent\t2\tb.png\n3\t\t3\tc.png\n\t\t4\td.png\n",
        NAMED,
        "label-studio",
    ),
    "CVAT": ("annotations.xml", CVAT, NONE, "cvat"),
    "Datumaro": ("annotations/default.json", DATUMARO, NONE, "datumaro"),
    "Hugging Face CSV": (
        "metadata.csv",
        "file_name,scratch,dent\na.png,1,1\nb.png,0,1\nc.png,0,0\nd.png,,\n",
        Wishes(),
        "huggingface",
    ),
    "Hugging Face CSV of pandas": (
        "metadata.csv",
        "file_name,scratch,dent\na.png,True,True\nb.png,False,True\nc.png,False,False\nd.png,,\n",
        Wishes(),
        "huggingface",
    ),
    "Hugging Face JSONL": (
        "metadata.jsonl",
        '{"file_name": "a.png", "labels": ["scratch", "dent"]}\n'
        '{"file_name": "b.png", "labels": ["dent"]}\n'
        '{"file_name": "c.png", "labels": []}\n{"file_name": "d.png"}\n',
        NAMED,
        "huggingface",
    ),
    "list in a cell, blanks": (
        "train.csv",
        "image,labels\na.png,scratch dent\nb.png,dent\nc.png,none\nd.png,\n",
        NAMED_NONE,
        "list-csv",
    ),
    "list in a cell, no suffix": (
        "train.csv",
        "image_name,tags\na,scratch dent\nb,dent\nc,none\nd,\n",
        NAMED_NONE,
        "list-csv",
    ),
    "list in a cell, pipes": (
        "Data_Entry.csv",
        "Image Index,Finding Labels,Follow-up #\na.png,scratch|dent,0\nb.png,dent,0\n"
        "c.png,No Finding,0\nd.png,,0\n",
        Wishes(classes=CLASSES, without=("No Finding",)),
        "list-csv",
    ),
    "list in a cell, brackets": (
        "labels.csv",
        'image,label\na.png,"[scratch,dent]"\nb.png,"[""dent""]"\nc.png,none\nd.png,[]\n',
        NAMED_NONE,
        "list-csv",
    ),
    "ours": (
        "labels.csv",
        "filename,scratch,dent\na.png,1,1\nb.png,0,1\nc.png,0,0\nd.png,,\n",
        Wishes(),
        "labels-csv",
    ),
}


@pytest.mark.parametrize("what", EXAMPLES)
def test_import_reads_what_tools_write(what: str, photos: Path):
    """And knows it by itself."""
    name, content, wishes, format_name = EXAMPLES[what]
    path = write(photos.parent / "in", name, content)
    assert read(path, photos, wishes) == LABELS
    assert read(path, photos, wishes, format_name) == LABELS


def test_import_reads_coco_without_geometry(photos: Path):
    path = write(photos.parent, "labels.json", COCO)
    assert read(path, photos, Wishes()) == {name: LABELS[name] for name in ABCD[:3]}


def test_import_reads_the_image_sets_of_pascal_voc(photos: Path):
    """All splits; 0 is there, and hard to see."""
    (photos.parent / "voc").mkdir()
    photos.rename(photos.parent / "voc" / "JPEGImages")
    main_sets = {
        "scratch_train": "a  1\nb -1\n",
        "scratch_val": "c -1\n",
        "dent_train": "a  0\nb  1\n",
        "dent_val": "c -1\n",
        "train": "a\nb\n",
    }
    for name, text in main_sets.items():
        write(photos.parent / "voc/ImageSets/Main", f"{name}.txt", text)
    imported = import_labels(photos.parent / "voc", "", Wishes())
    assert imported.class_names == ("dent", "scratch")
    labels = dict(zip(imported.names, imported.labels.tolist(), strict=True))
    assert labels == {"a.png": [1, 1], "b.png": [1, 0], "c.png": [0, 0]}
    write(photos.parent / "voc/ImageSets/Main", "dent_val.txt", "")
    with pytest.raises(ExplainedError, match="nothing is said of c and dent"):
        import_labels(photos.parent / "voc", "", Wishes())


@pytest.fixture
def labelled(photos: Path) -> Path:
    """A labelled folder with sub-folders, odd names, and an image that waits for its labels."""
    folder = photos.parent / "labelled"
    names = ["line 2/ä&.png", "b.png", "c.png", "d.png"]

    def copy(row: int, target: Path) -> None:
        target.write_bytes((photos / ABCD[row]).read_bytes())

    rows: list[list[Any]] = [[1, 1], [0, 1], [0, 0], ["", ""]]
    folder.mkdir()
    write_labelled(folder, names, CLASSES, rows, copy)
    return folder


@pytest.mark.parametrize("name", WRITERS)
def test_export_and_import_is_a_round_trip(name: str, labelled: Path, tmp_path: Path):
    file = export(labelled, name, tmp_path / "out", ExportWishes())
    assert file == target_of(name, tmp_path / "out")
    names = dict(zip(ABCD, ["line 2/ä&.png", *ABCD[1:]], strict=True))
    has_classes = name in {"cvat", "datumaro", "huggingface"}
    needs_none = name in {"cvat", "datumaro", "list-csv"}
    wishes = Wishes(("none",) if needs_none else (), () if has_classes else CLASSES)
    again = read(file, labelled / "images", wishes)
    assert again == {names[one]: labels for one, labels in LABELS.items()}


def test_import_of_a_labelled_folder_is_a_round_trip(labelled: Path, tmp_path: Path):
    assert main(["import", str(labelled), "--out", str(tmp_path / "again")]) == 0
    first, again = (folder / "labels.csv" for folder in (labelled, tmp_path / "again"))
    assert again.read_bytes() == first.read_bytes()
    assert (tmp_path / "again/images/line 2/ä&.png").exists()


def test_every_format_that_is_written_is_read():
    assert {name.removesuffix("-jsonl") for name in WRITERS} <= set(READERS)


def test_export_of_predictions_gives_label_studio_a_score(labelled: Path, tmp_path: Path):
    write(labelled, "chosen.csv", "rank,filename,p scratch,p dent\n1,d.png,0.9,0.4\n")
    wishes = ExportWishes(predictions=True, image_root="s3://bucket/")
    file = export(labelled, "label-studio", tmp_path / "tasks.json", wishes)
    tasks = {one["data"]["image"]: one for one in json.loads(file.read_text())}
    predictions = tasks["s3://bucket/d.png"]["predictions"]
    assert [one["score"] for one in predictions] == [0.75]
    assert predictions[0]["result"][0]["value"] == {"choices": ["scratch"]}
    assert "annotations" not in tasks["s3://bucket/d.png"]
    assert tasks["s3://bucket/c.png"]["annotations"] == [{"result": []}]
    assert "predictions" not in tasks["s3://bucket/c.png"]


@pytest.mark.parametrize("name", sorted(set(WRITERS) - {"label-studio"}))
def test_export_counts_predictions_that_are_not_carried_over(
    name: str, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write(labelled, "chosen.csv", "rank,filename,p scratch,p dent\n1,d.png,0.9,0.4\n")
    export(labelled, name, tmp_path / "out", ExportWishes())
    told = capsys.readouterr().err
    assert "not carried over: 1 predictions" in told
    assert "1 of 4 images are not labelled yet" in told


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("CVAT", ["1 shapes: the image shows their label", "1 attributes of labels"]),
        ("Label Studio JSON", ["1 predictions"]),
    ],
)
def test_import_counts_what_is_not_carried_over(
    what: str, words: list[str], photos: Path, capsys: pytest.CaptureFixture[str]
):
    name, content, wishes, _ = EXAMPLES[what]
    read(write(photos.parent, name, content), photos, wishes)
    told = capsys.readouterr().err
    for one in words:
        assert f"not carried over: {one}\n" in told
    assert "1 of 4 images have no label and stay unlabelled" in told
    assert "1 of 4 images have no annotation and count as showing no class" in told


UNTAGGED = CVAT.replace('<tag label="none" source="manual"></tag>', "").replace(
    "<label><name>none</name><type>tag</type></label>", ""
)


@pytest.mark.parametrize(
    ("content", "wishes", "c_and_d"),
    [
        (UNTAGGED, Wishes(), ("", "")),  # nobody looked, as far as the file says
        (UNTAGGED, NONE, ("00", "00")),  # somebody looked at all
        (CVAT, NONE, ("00", "")),
        (CVAT.replace('label="none"', 'name="none"'), NONE, ("", "")),  # a tag, but nobody gave it
    ],
)
def test_import_takes_no_label_for_an_answer_only_where_that_is_said(
    content: str, wishes: Wishes, c_and_d: tuple[str, str], photos: Path
):
    labels = read(write(photos.parent, "a.xml", content), photos, wishes)
    assert labels == {**LABELS, "c.png": c_and_d[0], "d.png": c_and_d[1]}


BARE_COCO = {**COCO, "annotations": []}
BARE_DATUMARO = {**DATUMARO, "items": [item("a"), item("b")]}
REFUSED: dict[str, tuple[str, Any, Wishes, str, str]] = {
    "tags lost in COCO": (
        "a.json",
        BARE_COCO,
        Wishes(),
        "no-annotations",
        "JSON from Label Studio",
    ),
    "no label in Datumaro": (
        "a.json",
        BARE_DATUMARO,
        Wishes(),
        "no-annotations",
        "with tags, among",
    ),
    "choices that are elsewhere": (
        "a.json",
        [task(1, "a.png", []), task(2, "b.png", [])],
        NAMED,
        "no-annotations",
        "<Choices>",
    ),
    "classes of Label Studio": (
        "a.json",
        TASKS,
        Wishes(),
        "classes-unknown",
        "those that occur are: dent, scratch",
    ),
    "a choice that is no class": (
        "a.json",
        TASKS,
        Wishes(classes=("scratch",)),
        "classes-unknown",
        "task 1: 'dent' is none",
    ),
    "classes that are not those of the file": (
        "a.xml",
        CVAT,
        Wishes(classes=("scratch",)),
        "classes-unknown",
        "are scratch, dent, none",
    ),
    "people who differ": (
        "a.json",
        [task(7, "a.png", [choices("dent")], [choices("scratch")])],
        NAMED,
        "labels-disagree",
        "task 7: people disagree on '/data/upload/1/00000007-a.png': dent; scr",
    ),
    "a class and none": (
        "a.csv",
        "image,labels\na.png,dent none\n",
        NAMED_NONE,
        "labels-disagree",
        "line 2: 'a.png'",
    ),
    "a word that does not occur": (
        "a.xml",
        CVAT,
        Wishes(without=("good",)),
        "bad-import",
        "--without good: ",
    ),
    "several questions": (
        "a.json",
        [task(1, "a.png", [choices("dent"), choices("dent", field="other")])],
        NAMED,
        "bad-import",
        "several questions: damage, other",
    ),
    "several columns": (
        "a.csv",
        "image,labels,tags\na.png,dent,dent\n",
        NAMED,
        "bad-import",
        "--columns IMAGE",
    ),
    "no column of that name": (
        "a.csv",
        "image,labels\na.png,dent\n",
        Wishes(classes=CLASSES, columns=("image", "x")),
        "bad-import",
        "--columns x: the columns of ",
    ),
    "a video of CVAT": (
        "a.xml",
        CVAT.replace("<image ", "<track/><image ", 1),
        NONE,
        "bad-import",
        "for images 1.1",
    ),
    "no XML": ("a.xml", "<annotations>", NONE, "bad-import", "is not XML"),
    "another shape": (
        "a.json",
        {**DATUMARO, "items": [{"annotations": []}]},
        NONE,
        "bad-import",
        "is not Datumaro's JSON (items.0.id: Field required)",
    ),
    "a label that is none": (
        "a.json",
        {**DATUMARO, "items": [item("a", 9)]},
        NONE,
        "bad-import",
        "has the label 9, of 3",
    ),
    "a cell too many": (
        "metadata.csv",
        "file_name,scratch,dent\na.png,1\n",
        Wishes(),
        "labels-row",
        "2 cells where",
    ),
    "a label that is no number": (
        "metadata.csv",
        "file_name,scratch,dent\na.png,1,x\n",
        Wishes(),
        "bad-label",
        "dent is 'x'",
    ),
    "a half filled line": (
        "labels.csv",
        "filename,scratch,dent\na.png,1,\n",
        Wishes(),
        "bad-label",
        "dent is ''",
    ),
    "no line of JSON": ("a.jsonl", "{\n", NAMED, "bad-import", "line 1 is not JSON"),
    "unknown": ("a.yaml", "x", Wishes(), "format-unknown", "may be none of those that are read"),
    "an image twice": (
        "a.csv",
        "image,labels\na.png,dent\n./a.png,dent\n",
        NAMED,
        "bad-import",
        "2 entries can only be the file",
    ),
    "an ambiguous stem": (
        "a.csv",
        "image,labels\ne,dent\n",
        NAMED,
        "missing-image",
        "may be any of 'e.jpg', 'e.png'",
    ),
    "another size": (
        "a.xml",
        CVAT.replace('width="40"', 'width="400"'),
        NONE,
        "image-size-differs",
        "400 x 30",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_import_refuses_what_it_cannot_know(what: str, photos: Path):
    name, content, wishes, code, words = REFUSED[what]
    for seed, suffix in enumerate(("png", "jpg")):
        put(photos / f"e.{suffix}", 7 + seed)
    path = write(photos.parent / "in", name, content)
    with pytest.raises(ExplainedError) as caught:
        read(path, photos, wishes)
    assert caught.value.code == code, caught.value
    assert words in str(caught.value)


def test_import_of_coco_without_annotations_is_read_where_that_is_said(photos: Path):
    labels = read(write(photos.parent, "a.json", BARE_COCO), photos, NONE)
    assert set(labels.values()) == {"00"}


def test_import_reads_the_question_that_was_asked_for(photos: Path):
    one = task(1, "a.png", [choices("dent"), choices("scratch", field="other")])
    wishes = Wishes(classes=CLASSES, columns=("image", "other"))
    assert read(write(photos.parent, "a.json", [one]), photos, wishes) == {"a.png": "10"}


def test_import_of_a_skipped_task_leaves_it_unlabelled(photos: Path):
    tasks = [task(1, "a.png", None), task(2, "b.png", [choices("dent")], None)]
    labels = read(write(photos.parent, "a.json", tasks), photos, NAMED)
    assert labels == {"a.png": "", "b.png": "01"}


def test_import_reads_classes_whose_names_have_blanks(photos: Path):
    wishes = Wishes(classes=("deep scratch", "dent"))
    table = "image,labels\na.png,deep scratch\nb.png,deep scratch|dent\n"
    imported = import_labels(write(photos.parent, "a.csv", table), "", wishes, photos)
    assert imported.labels.tolist() == [[1, 0], [1, 1]]


def test_export_refuses_a_word_for_none_that_is_a_class(labelled: Path, tmp_path: Path):
    for name in ("cvat", "datumaro"):
        with pytest.raises(ExplainedError, match=r"'dent' is a class of .* with --without"):
            export(labelled, name, tmp_path, ExportWishes(without="dent"))
        export(labelled, name, tmp_path, ExportWishes(without="unhurt"))
        with pytest.raises(ExplainedError, match="exists already"):
            export(labelled, name, tmp_path, ExportWishes())


def test_import_and_export_are_commands(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    tasks, again = tmp_path / "tasks.json", tmp_path / "again"
    assert main(["export", str(labelled), "--for", "label-studio", "--out", str(tasks)]) == 0
    told = capsys.readouterr()
    assert told.out == f"written: {tasks}\n"
    assert '<Choice value="scratch"/>' in told.err
    words = ["import", str(tasks), "--images", str(labelled / "images"), "--out", str(again)]
    assert main(words) == 2
    assert "#classes-unknown" in capsys.readouterr().err
    assert main([*words, "--classes", *CLASSES]) == 0
    assert (again / "labels.csv").read_text(encoding="utf-8-sig").splitlines() == [
        "filename,scratch,dent", "line 2/ä&.png,1,1", "b.png,0,1", "c.png,0,0", "d.png,,",
    ]  # fmt: skip
