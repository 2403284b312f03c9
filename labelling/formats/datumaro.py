"""Datumaro's own JSON, which CVAT writes as `Datumaro 1.0`."""

import json
from collections import Counter
from typing import Any

from pydantic import BaseModel

from labelling.formats.cvat import refuse_taken
from labelling.formats.registry import Exported, ExportWishes, reads, writes
from labelling.formats.table import Entry, Source, Table, Wishes, shaped
from labelling.labelled_folder import LabelledFolder
from shared.errors import DatasetError

EXPORT = (
    "Label whole images with tags, among them one such as `none` for images that show none, and "
    "say --without none. "
)


class _Media(BaseModel):
    path: str = ""
    size: tuple[int, int] | None = None  # height and width


class _Annotation(BaseModel):
    type: str = "label"
    label_id: int | None = None
    attributes: dict[str, Any] = {}


class _Item(BaseModel):
    id: str
    image: _Media | None = None
    media: _Media | None = None  # as later versions call it
    annotations: list[_Annotation] = []

    @property
    def shown(self) -> _Media:
        return self.image or self.media or _Media()


class _Label(BaseModel):
    name: str


class _Labels(BaseModel):
    labels: list[_Label]


class _Categories(BaseModel):
    label: _Labels


class _File(BaseModel):
    categories: _Categories
    items: list[_Item]


def _is_datumaro(source: Source) -> bool:
    return (
        source.suffix == ".json"
        and isinstance(source.json, dict)
        and "items" in source.json
        and "images" not in source.json
    )


@reads("datumaro", _is_datumaro)
def read(source: Source, _: Wishes) -> Table:
    """An item without an annotation shows none, or nobody has looked at it."""
    content = shaped(source.path, source.json, _File, "Datumaro's JSON")
    names = [label.name for label in content.categories.label.labels]
    lost = Counter[str]()
    entries = list[Entry]()
    for item in content.items:
        marks = [mark for mark in item.annotations if mark.label_id is not None]
        lost["outlines: the image shows their label"] += sum(mark.type != "label" for mark in marks)
        lost["attributes of labels"] += sum(len(mark.attributes) for mark in marks)
        lost["annotations without a label"] += len(item.annotations) - len(marks)
        unknown = [mark.label_id for mark in marks if mark.label_id not in range(len(names))]
        if unknown:
            raise DatasetError(
                "bad-import",
                f"{source.path}: item {item.id!r} has the label {unknown[0]}, of {len(names)} "
                "labels. Export it again.",
            )
        labels = tuple(names[mark.label_id or 0] for mark in marks)
        height, width = item.shown.size or (0, 0)
        size = (width, height) if width and height else None
        entries.append(
            Entry(item.shown.path or item.id, tuple(dict.fromkeys(labels)), f"item {item.id}", size)
        )
    if not entries or not names:
        raise DatasetError(
            "bad-import", f"{source.path} has no item, or no label. Export it again."
        )
    return Table(
        source.path,
        tuple(names),
        tuple(entries),
        source.path.parent,
        empty_is_seen=False,
        export=EXPORT,
        lost=lost,
    )


@writes("datumaro", "default.json")
def write(folder: LabelledFolder, wishes: ExportWishes) -> Exported:
    """Labels; one of its own where an image was looked at and shows none."""
    refuse_taken(folder, wishes.without)
    names = [*folder.class_names, wishes.without]
    items = list[dict[str, Any]]()
    rows = zip(folder.names, folder.shown, folder.sizes, strict=True)
    for name, shown, (width, height) in rows:
        own = () if shown is None else shown or (wishes.without,)
        annotations = [
            {"id": number, "type": "label", "group": 0, "label_id": names.index(one)}
            | {"attributes": {}}
            for number, one in enumerate(own)
        ]
        image = {"path": name, "size": [height, width]}
        stem = name.rpartition(".")[0] or name
        items.append({"id": stem, "annotations": annotations, "attr": {}, "image": image})
    labels = [{"name": name, "parent": "", "attributes": []} for name in names]
    content = {
        "info": {},
        "categories": {"label": {"labels": labels, "attributes": []}},
        "items": items,
    }
    return Exported(json.dumps(content, ensure_ascii=False, indent=1) + "\n")
