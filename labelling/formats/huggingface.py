"""Metadata of a Hugging Face image folder: `metadata.csv` or `metadata.jsonl` beside the images."""

import csv
import io
import json
from typing import Any

from pydantic import BaseModel

from labelling.formats.registry import Exported, ExportWishes, reads, writes
from labelling.formats.table import Entry, Source, Table, Wishes, classes_wanted, shaped
from labelling.labelled_folder import LabelledFolder
from shared.errors import DatasetError
from shared.images.layout import ZERO_ONE

FILES = ("metadata.csv", "metadata.jsonl")
WHAT = "metadata of a Hugging Face image folder"


class _Line(BaseModel):
    file_name: str
    labels: list[str] | None = None


def _is_metadata(source: Source) -> bool:
    if source.is_folder:
        return any((source.path / name).exists() for name in FILES)
    return source.suffix == ".jsonl" or (source.suffix == ".csv" and "file_name" in source.columns)


@reads("huggingface", _is_metadata)
def read(source: Source, wishes: Wishes) -> Table:
    """Lists below `labels` in JSONL; in CSV a column of 0 and 1 (False, True) for each class."""
    if source.is_folder:
        inside = [source.path / name for name in FILES if (source.path / name).exists()]
        if len(inside) != 1:
            raise DatasetError(
                "bad-import", f"{source.path} must hold one of {' and '.join(FILES)}. Give one."
            )
        source = Source(inside[0])
    read_lines = _of_jsonl if source.suffix == ".jsonl" else _of_csv
    return read_lines(source, wishes)


@writes("huggingface", "metadata.csv")
def write(folder: LabelledFolder, _: ExportWishes) -> Exported:
    """One column for each class, empty cells where nobody has looked."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["file_name", *folder.class_names])
    for name, shown in zip(folder.names, folder.shown, strict=True):
        cells = [int(one in shown) if shown is not None else "" for one in folder.class_names]
        writer.writerow([name, *cells])
    return Exported(text.getvalue(), _where(folder))


@writes("huggingface-jsonl", "metadata.jsonl")
def write_jsonl(folder: LabelledFolder, _: ExportWishes) -> Exported:
    """A list of labels for each image; null where nobody has looked."""
    lines = (
        json.dumps({"file_name": name, "labels": shown}, ensure_ascii=False)
        for name, shown in zip(folder.names, folder.shown, strict=True)
    )
    return Exported("".join(f"{line}\n" for line in lines), _where(folder))


def _where(folder: LabelledFolder) -> tuple[str, ...]:
    return (f"names are relative to {folder.folder / 'images'}: put the file there",)


def _of_jsonl(source: Source, wishes: Wishes) -> Table:
    entries = list[Entry]()
    for number, text in source.lines:
        line = shaped(source.path, _parsed(source, number, text), _Line, WHAT)
        labels = None if line.labels is None else tuple(line.labels)
        entries.append(Entry(line.file_name, labels, f"line {number}"))
    occurring = sorted({label for entry in entries for label in entry.labels or ()})
    class_names = classes_wanted(source.path, occurring, wishes)
    return Table(source.path, class_names, tuple(entries), source.path.parent)


def _parsed(source: Source, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DatasetError(
            "bad-import", f"{source.path}, line {number} is not JSON ({error})."
        ) from error


def _of_csv(source: Source, wishes: Wishes) -> Table:
    class_names = wishes.classes or tuple(
        name for name in source.columns if name not in ("file_name", "")
    )
    truth = {**ZERO_ONE, "False": 0, "True": 1}
    entries = list[Entry]()
    for line, cells in source.cells():
        values = {name: cells.get(name, "") for name in class_names}
        for name, value in values.items():
            if value not in truth and any(values.values()):
                raise DatasetError(
                    "bad-label",
                    f"{source.path}, line {line}: {name} is {value!r}; a label is 0 or 1, or False "
                    "or True. Where columns are no classes, name those that are with --classes.",
                )
        labels = tuple(name for name, value in values.items() if truth.get(value))
        seen = labels if any(values.values()) else None
        entries.append(Entry(cells["file_name"], seen, f"line {line}"))
    return Table(source.path, class_names, tuple(entries), source.path.parent)
