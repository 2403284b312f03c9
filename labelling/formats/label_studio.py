"""Label Studio: its JSON, JSON-MIN and CSV are read, and tasks to import are written.

None of them has the labelling configuration, and so none says which classes there are.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import quoteattr

from pydantic import BaseModel

from labelling.formats.registry import Exported, ExportWishes, reads, writes
from labelling.formats.table import Entry, Source, Table, Wishes, classes_wanted, shaped
from labelling.labelled_folder import LabelledFolder
from shared.errors import DatasetError
from shared.images.listing import IMAGE_SUFFIXES
from shared.images.names import canonical

FIELD, IMAGE = "classes", "image"  # in the tasks that are written
LOCAL_FILES = "/data/local-files/?d="
LIKELY = 0.5  # probability from which on a class is among the predicted ones
OF_A_TASK = frozenset(  # columns of JSON-MIN and CSV that say nothing of the image
    {"id", "annotation_id", "annotator", "created_at", "updated_at", "lead_time", "agreement"}
    | {"inner_id", "total_annotations", "cancelled_annotations", "total_predictions", "project"}
)
EXPORT = (
    "For labels of whole images, Label Studio's configuration needs <Choices>; if it has several, "
    "say which with --columns IMAGE CHOICES. "
)


class _Result(BaseModel):
    type: str = ""
    from_name: str = ""
    value: dict[str, Any] = {}


class _Annotation(BaseModel):
    was_cancelled: bool = False
    result: list[_Result] = []


class _Task(BaseModel):
    id: int | str | None = None
    data: dict[str, Any]
    annotations: list[_Annotation] = []
    predictions: list[Any] = []


@dataclass(frozen=True)
class _Answer:
    """What one person said of one image; `labels` is None where it was nothing."""

    task: str
    name: str
    labels: tuple[str, ...] | None


def _is_json(source: Source) -> bool:
    return source.suffix == ".json" and isinstance(source.json, list)


def _is_label_studio(source: Source) -> bool:
    if source.suffix in {".csv", ".tsv"} and not source.is_folder:
        return "annotation_id" in source.columns
    return _is_json(source)


@reads("label-studio", _is_label_studio)
def read(source: Source, wishes: Wishes) -> Table:
    """A task without an annotation, or one that was skipped, is not labelled.

    Raises DatasetError where people disagree on an image.
    """
    lost = Counter[str]()
    if not (source.json if _is_json(source) else source.rows[1:]):
        raise DatasetError("bad-import", f"{source.path} has no task. Export it again.")
    if not _is_json(source):
        rows = [cells for _, cells in source.cells()]
        answers = _of_rows(source.path, rows, wishes)
    else:
        records = shaped(source.path, source.json, list[dict[str, Any]], "Label Studio's JSON")
        if any("data" in record for record in records):
            tasks = shaped(source.path, records, list[_Task], "Label Studio's JSON")
            answers = _of_tasks(source.path, tasks, wishes, lost)
        else:
            answers = _of_rows(source.path, records, wishes)
    by_task = defaultdict[str, list[_Answer]](list)
    for answer in answers:
        by_task[answer.task].append(answer)
    entries = [_agreed(source.path, own) for own in by_task.values()]
    occurring = sorted({label for entry in entries for label in entry.labels or ()})
    class_names = classes_wanted(source.path, occurring, wishes)
    return Table(
        source.path, class_names, tuple(entries), source.path.parent, export=EXPORT, lost=lost
    )


@writes("label-studio", "tasks.json")
def write(folder: LabelledFolder, wishes: ExportWishes) -> Exported:
    """Tasks to import, with what is labelled already, and with predictions where wanted."""
    root = wishes.image_root
    if root is None:
        root = f"{LOCAL_FILES}{quote(folder.folder.resolve().name)}/images/"
    tasks = list[dict[str, Any]]()
    for name, shown in zip(folder.names, folder.shown, strict=True):
        task: dict[str, Any] = {"data": {IMAGE: root + quote(name)}}
        if shown is not None:
            task["annotations"] = [{"result": _result(shown)}]
        if wishes.predictions and (probabilities := folder.predicted.get(name)):
            likely = [
                one for one, p in zip(folder.class_names, probabilities, strict=True) if p >= LIKELY
            ]
            sure = sum(max(p, 1 - p) for p in probabilities) / len(probabilities)
            prediction = {"score": round(sure, 4), "result": _result(likely)}
            task["predictions"] = [{"model_version": "choose.py"} | prediction]
        tasks.append(task)
    return Exported(
        json.dumps(tasks, ensure_ascii=False, indent=1) + "\n",
        (f"the project's labelling interface:\n{_configuration(folder.class_names)}",),
    )


def _result(labels: Iterable[str]) -> list[dict[str, Any]]:
    chosen = list(labels)
    if not chosen:
        return []
    return [{"type": "choices", "from_name": FIELD, "to_name": IMAGE, "value": {"choices": chosen}}]


def _configuration(class_names: Sequence[str]) -> str:
    choices = "".join(f"    <Choice value={quoteattr(name)}/>\n" for name in class_names)
    return (
        f'<View>\n  <Image name="{IMAGE}" value="${IMAGE}"/>\n'
        f'  <Choices name="{FIELD}" toName="{IMAGE}" choice="multiple">\n{choices}  </Choices>\n'
        "</View>"
    )


def _of_tasks(
    path: Path, tasks: Sequence[_Task], wishes: Wishes, lost: Counter[str]
) -> list[_Answer]:
    image = _image_column(path, [task.data for task in tasks], wishes)
    results = [one for task in tasks for own in task.annotations for one in own.result]
    fields = {one.from_name for one in results if _labels(one.value) is not None}
    field = wishes.columns[1] if wishes.columns else _only(path, fields)
    answers = list[_Answer]()
    for number, task in enumerate(tasks, 1):
        key, name = str(number if task.id is None else task.id), str(task.data.get(image, ""))
        lost["predictions"] += len(task.predictions)
        given = [own for own in task.annotations if not own.was_cancelled]
        if not given:
            answers.append(_Answer(key, name, None))
        for own in given:
            labels = tuple[str, ...]()
            for one in own.result:
                shown = _labels(one.value) if one.from_name == field else None
                lost["answers to other questions"] += shown is None
                lost["outlines: the image shows their label"] += bool(
                    shown and "choices" not in one.value
                )
                labels += tuple(shown or ())
            answers.append(_Answer(key, name, labels))
    return answers


def _of_rows(path: Path, rows: Sequence[Mapping[str, Any]], wishes: Wishes) -> list[_Answer]:
    """Of JSON-MIN and CSV. Without an `annotation_id` nobody has answered."""
    image = _image_column(path, rows, wishes)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    known = {canonical(word) for word in (*wishes.classes, *wishes.without)}
    if wishes.columns:
        field = wishes.columns[1]
    else:
        others = [column for column in columns if column not in {image, *OF_A_TASK}]
        field = _only(path, {name for name in others if _has_labels(rows, name, known)})
    return [
        _Answer(
            str(row.get("id") or number),
            str(row.get(image, "")),
            tuple(_labels(row.get(field)) or ()) if row.get("annotation_id") else None,
        )
        for number, row in enumerate(rows, 1)
    ]


def _has_labels(rows: Sequence[Mapping[str, Any]], name: str, known: set[str]) -> bool:
    """Whether a column has what a person chose: lists, or text that is always a class."""
    values = [value for row in rows if (value := row.get(name))]
    found = [_labels(value) for value in values]
    if not values or None in found:
        return False
    is_text = all(isinstance(value, str) and value[:1] not in "[{" for value in values)
    return not is_text or not known or {one for own in found for one in own or ()} <= known


def _labels(value: Any) -> list[str] | None:
    """The labels of a value in any of the forms that they are written in; None where it is none.

    One choice is written as bare text, several as an object, and outlines as a list of these.
    """
    if value is None or value == "":
        return []
    if isinstance(value, str):
        if value[0] not in "[{":
            return [value]
        try:
            return _labels(json.loads(value))
        except ValueError:
            return [value]
    if isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        found = [_labels(one) for one in value]
        return [one for own in found for one in own or ()] if None not in found else None
    if not isinstance(value, Mapping):
        return None
    lists = [own for name, own in value.items() if name == "choices" or name.endswith("labels")]
    if not lists or not all(isinstance(own, list) for own in lists):
        return None
    labels = [one for own in lists for one in own]
    return labels if all(isinstance(one, str) for one in labels) else None


def _only(path: Path, fields: Collection[str]) -> str:
    """The one question whose answers are labels. Raises DatasetError where there are several."""
    if len(fields) > 1:
        raise DatasetError(
            "bad-import",
            f"{path} has answers to several questions: {', '.join(sorted(fields))}. Say which of "
            "them names the classes: --columns IMAGE CHOICES.",
        )
    return next(iter(fields), "")


def _image_column(path: Path, rows: Sequence[Mapping[str, Any]], wishes: Wishes) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if wishes.columns:
        wanted = [wishes.columns[0]]
    elif IMAGE in columns:
        return IMAGE
    else:
        wanted = [
            name for name in columns if rows and all(_names_an_image(row.get(name)) for row in rows)
        ]
    if len(wanted) != 1 or wanted[0] not in columns:
        raise DatasetError(
            "bad-import",
            f"{path} has the columns {', '.join(columns)}. Say which of them names the image: "
            "--columns IMAGE CHOICES.",
        )
    return wanted[0]


def _names_an_image(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    parts = urlsplit(value)
    ends = (PurePosixPath(part).suffix.lower() for part in (parts.path, parts.query))
    return not IMAGE_SUFFIXES.isdisjoint(ends)


def _agreed(path: Path, answers: Sequence[_Answer]) -> Entry:
    """What people say of an image, if they say the same."""
    given = [answer for answer in answers if answer.labels is not None]
    if len({frozenset(answer.labels or ()) for answer in given}) > 1:
        said = "; ".join(", ".join(answer.labels or ()) or "nothing" for answer in given)
        raise DatasetError(
            "labels-disagree",
            f"{path}, task {answers[0].task}: people disagree on {answers[0].name!r}: {said}. "
            "Settle it in Label Studio, and export again.",
        )
    first = (given or answers)[0]
    labels = None if first.labels is None else tuple(dict.fromkeys(first.labels))
    return Entry(first.name, labels, f"task {first.task}")
