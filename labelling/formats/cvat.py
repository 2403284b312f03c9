"""CVAT for images 1.1: tags of an image, and what is drawn on it, in one XML file."""

from collections import Counter
from xml.etree import ElementTree

from labelling.formats.registry import Exported, ExportWishes, reads, writes
from labelling.formats.table import Entry, Source, Table, Wishes
from labelling.labelled_folder import LabelledFolder
from shared.errors import ConfigurationError, DatasetError

EXPORT = (
    "Label whole images in CVAT with tags, among them one such as `none` for images that show "
    "none, and say --without none. "
)
DRAWN = "shapes: the image shows their label"


def _is_cvat(source: Source) -> bool:
    return source.suffix == ".xml"


@reads("cvat", _is_cvat)
def read(source: Source, _: Wishes) -> Table:
    """An image without a tag or a shape shows none, or nobody has looked at it."""
    root = _root(source)
    names = [name.text or "" for name in root.findall("./meta//labels/label/name")]
    if root.tag != "annotations" or not names or root.find("track") is not None:
        raise DatasetError(
            "bad-import",
            f"{source.path} is not an export of `CVAT for images 1.1`: expected <annotations> with "
            "<meta>, its <labels>, and an <image> for each. Export a task, or a project, as that.",
        )
    lost = Counter[str]()
    entries = list[Entry]()
    for image in root.findall("image"):
        marks = [mark for mark in image if mark.get("label")]
        lost[DRAWN] += sum(mark.tag != "tag" for mark in marks)
        lost["attributes of labels"] += sum(len(mark.findall("attribute")) for mark in marks)
        labels = tuple(dict.fromkeys(mark.get("label", "") for mark in marks))
        width, height = (int(image.get(side) or 0) for side in ("width", "height"))
        size = (width, height) if width and height else None
        entries.append(Entry(image.get("name", ""), labels, f"image {image.get('id')}", size))
    if not entries:
        raise DatasetError("bad-import", f"{source.path} names no image. Export it again.")
    return Table(
        source.path,
        tuple(dict.fromkeys(names)),
        tuple(entries),
        source.path.parent,
        empty_is_seen=False,
        export=EXPORT,
        lost=lost,
    )


@writes("cvat", "annotations.xml")
def write(folder: LabelledFolder, wishes: ExportWishes) -> Exported:
    """Tags; one of its own where an image was looked at and shows none."""
    refuse_taken(folder, wishes.without)
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(
        ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels"
    )
    for name in (*folder.class_names, wishes.without):
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = "tag"
    rows = zip(folder.names, folder.shown, folder.sizes, strict=True)
    for number, (name, shown, (width, height)) in enumerate(rows):
        attributes = {"id": str(number), "name": name, "width": str(width), "height": str(height)}
        image = ElementTree.SubElement(root, "image", attributes)
        for one in () if shown is None else shown or (wishes.without,):
            ElementTree.SubElement(image, "tag", label=one, source="manual")
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=False)
    labels_for_a_person = ", ".join((*folder.class_names, wishes.without))
    return Exported(
        f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n',
        (f"the task needs the labels, of type tag: {labels_for_a_person}",),
    )


def refuse_taken(folder: LabelledFolder, without: str) -> None:
    """Raise ConfigurationError where the word for none is a class."""
    if without in folder.class_names:
        raise ConfigurationError(
            "bad-export",
            f"{without!r} is a class of {folder.folder}, and cannot mean that nothing is shown. "
            "Give another word with --without.",
        )


def _root(source: Source) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(source.content)
    except ElementTree.ParseError as error:
        raise DatasetError("bad-import", f"{source.path} is not XML ({error}).") from error
