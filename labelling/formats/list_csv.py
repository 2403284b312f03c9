"""A name and a list of labels in each line, as in Plant Pathology, NIH ChestX-ray and Planet."""

import csv
import io
from collections.abc import Collection, Iterable

from labelling.formats.registry import Exported, ExportWishes, reads, writes
from labelling.formats.table import Entry, Source, Table, Wishes, classes_wanted
from labelling.labelled_folder import LabelledFolder
from labelling.pictures import say
from shared.errors import ConfigurationError, DatasetError
from shared.images.names import canonical

SEPARATORS = ("|", ";", ",", " ")  # blanks last: names of classes have some
IMAGES = ("image", "image_name", "image index", "image_id", "file", "path", "id", "name")
LABELS = ("labels", "label", "tags", "finding labels", "classes", "class", "categories")
QUOTES = "\"'"


def _is_list_csv(source: Source) -> bool:
    if source.suffix not in {".csv", ".tsv", ".txt"} or source.is_folder:
        return False
    header = [column.lower() for column in source.columns]
    others = {"filename", "file_name", "annotation_id"}  # of other formats
    return len(header) > 1 and others.isdisjoint(header)


@reads("list-csv", _is_list_csv)
def read(source: Source, wishes: Wishes) -> Table:
    """Cells such as `scab rust` and `[scab, rust]`; an empty one may be no answer."""
    image, labels = _columns(source, wishes)
    rows = [(line, cells[image], cells[labels]) for line, cells in source.cells()]
    texts = [text for _, _, text in rows]
    known = {canonical(word) for word in (*wishes.classes, *wishes.without)}
    separator = wishes.separator or _separator(texts, known)
    lists = [_split(text, separator, known) for text in texts]
    occurring = sorted({label for own in lists for label in own})
    class_names = classes_wanted(source.path, occurring, wishes)
    if any(len(own) > 1 for own in lists):
        say(f"labels in a cell of {labels!r} are separated by {separator!r} (--separator)")
    entries = (
        Entry(name, own, f"line {line}") for (line, name, _), own in zip(rows, lists, strict=True)
    )
    return Table(source.path, class_names, tuple(entries), source.path.parent, empty_is_seen=False)


@writes("list-csv", "labels-list.csv")
def write(folder: LabelledFolder, wishes: ExportWishes) -> Exported:
    """Columns `image` and `labels`; the word for none where nothing is shown."""
    taken = [*folder.class_names, wishes.without]
    separator = next((one for one in SEPARATORS if not any(one in name for name in taken)), "")
    if not separator:
        raise ConfigurationError(
            "bad-export",
            "The classes' names have each of | ; , and blanks in them, so that no list of them can "
            "be read. Rename one, or export another format.",
        )
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["image", "labels"])
    for name, shown in zip(folder.names, folder.shown, strict=True):
        cell = "" if shown is None else separator.join(shown) or wishes.without
        writer.writerow([name, cell])
    return Exported(text.getvalue())


def _columns(source: Source, wishes: Wishes) -> tuple[str, str]:
    """The columns of the image and of its labels."""
    if wishes.columns:
        if missing := [name for name in wishes.columns if name not in source.columns]:
            raise DatasetError(
                "bad-import",
                f"--columns {missing[0]}: the columns of {source.path} are "
                f"{', '.join(source.columns)}.",
            )
        image, labels = wishes.columns
        return image, labels
    if len(source.columns) == 2:
        image, labels = source.columns
        return image, labels
    found = [
        [name for name in source.columns if name.lower() in known] for known in (IMAGES, LABELS)
    ]
    if [len(names) for names in found] != [1, 1]:
        raise DatasetError(
            "bad-import",
            f"{source.path} has the columns {', '.join(source.columns)}. Name that of the image "
            "and that of its labels: --columns IMAGE LABELS.",
        )
    return found[0][0], found[1][0]


def _separator(texts: Iterable[str], known: Collection[str]) -> str:
    """What the most cells are separated by, of what leaves known labels in all of them."""
    texts = [text for text in texts if canonical(_bare(text)) not in known]
    fits = [
        one
        for one in SEPARATORS
        if all(set(_split(text, one, known)) <= set(known) for text in texts)
    ]
    return max(fits or SEPARATORS, key=lambda one: sum(one in _bare(text) for text in texts))


def _split(text: str, separator: str, known: Collection[str]) -> tuple[str, ...]:
    """The labels of a cell; one that is known as it stands is one."""
    bare = canonical(_bare(text))
    if bare in known:
        return (bare,)
    parts = (part.strip().strip(QUOTES).strip() for part in bare.split(separator))
    return tuple(part for part in parts if part)


def _bare(text: str) -> str:
    """Without the brackets around a list."""
    return text.strip().removeprefix("[").removesuffix("]").strip()
