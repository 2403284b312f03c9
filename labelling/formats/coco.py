"""A COCO file, read as image-level labels: what an annotation names, is shown."""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labelling.formats.registry import reads
from labelling.formats.table import Entry, Source, Table, Wishes
from labelling.pictures import say
from shared.errors import DatasetError
from shared.images.names import canonical, forms_in_words

NO_PARENT = ("", "none", None)  # as Roboflow writes that a category belongs to no other
NEEDED = {  # list -> what each of its entries must have
    "images": ("id", "file_name"),
    "categories": ("id", "name"),
    "annotations": ("image_id", "category_id"),
}
EXPORT = (
    "CVAT and Label Studio leave tags and choices, which belong to a whole image, out of COCO: "
    "export `CVAT for images 1.1` from CVAT, JSON from Label Studio. "
)
GEOMETRY = ("bbox", "segmentation", "keypoints")


def _is_coco(source: Source) -> bool:
    if source.suffix != ".json" or not isinstance(source.json, dict):
        return False
    return "images" in source.json or "items" not in source.json  # as Datumaro has


@reads("coco", _is_coco)
def read(source: Source, _: Wishes) -> Table:
    """`annotations` may be boxes, outlines or nothing but an `image_id` and a `category_id`.

    An image without any counts as showing no class. Raises DatasetError where the table is not what
    https://cocodataset.org/#format-data says.
    """
    path, entries = source.path, _entries(source)
    categories, images = (
        _named(path, kind, [(one["id"], str(one[field])) for one in entries[kind]])
        for kind, field in (("categories", "name"), ("images", "file_name"))
    )
    shown = defaultdict[Hashable, dict[Hashable, None]](dict)
    for one in entries["annotations"]:
        image, category = one["image_id"], one["category_id"]
        if image not in images or category not in categories:
            raise DatasetError(
                "bad-import",
                f"{path}: an annotation names image {image!r} and category {category!r}, which "
                "are not both in `images` and `categories`. Export it again.",
            )
        shown[image][category] = None
    used = {category for own in shown.values() for category in own}
    if group := _grouping(entries["categories"], used) if used else None:
        name = categories.pop(group["id"])
        say(
            f"the category {name!r} is left out: no annotation names it, and it is but the "
            "supercategory of the others, as Roboflow writes it"
        )
    _refuse_repeated(path, "categories", categories)
    outlines = sum(any(one.get(kind) for kind in GEOMETRY) for one in entries["annotations"])
    return Table(
        path,
        tuple(categories.values()),
        tuple(
            Entry(
                images[one["id"]],
                tuple(categories[category] for category in shown[one["id"]]),
                f"id {one['id']!r}",
                _size(one),
            )
            for one in entries["images"]
        ),
        path.parent,
        export=EXPORT,
        lost=Counter({"boxes and outlines: the image shows their class": outlines}),
    )


def _entries(source: Source) -> dict[str, list[dict[str, Any]]]:
    """The three lists of the file. Raises DatasetError where one is not what it must be."""
    path, read = source.path, source.json
    if not isinstance(read, dict):
        raise _no_coco(path, f"it is a {type(read).__name__}")
    for kind, fields in NEEDED.items():
        if not isinstance(read.get(kind), list):
            raise _no_coco(path, f"`{kind}` is {'no list' if kind in read else 'not there'}")
        for number, one in enumerate(read[kind], 1):
            where = f"entry {number} of `{kind}`"
            if not isinstance(one, dict):
                raise _no_coco(path, f"{where} is no object")
            if lacking := [field for field in fields if field not in one]:
                raise _no_coco(path, f"{where} has no `{lacking[0]}`")
            wrong = [field for field in fields if not isinstance(one[field], (str, int, float))]
            if wrong:
                raise _no_coco(path, f"{where} has `{wrong[0]}` {one[wrong[0]]!r}")
    return {kind: read[kind] for kind in NEEDED}


def _no_coco(path: Path, problem: str) -> DatasetError:
    return DatasetError(
        "bad-import",
        f"{path} is not a COCO file ({problem}). Expected an object with `images` (`id`, "
        "`file_name`), `categories` (`id`, `name`) and `annotations` (`image_id`, `category_id`).",
    )


def _named(path: Path, kind: str, entries: Sequence[tuple[Hashable, str]]) -> dict[Hashable, str]:
    """Id -> name. Raises DatasetError where there is none, or an id stands there twice."""
    if not entries:
        raise DatasetError("bad-import", f"{path}: `{kind}` is empty. Export it again.")
    key, times = Counter(key for key, _ in entries).most_common(1)[0]
    if times > 1:
        raise DatasetError(
            "bad-import",
            f"{path}: {times} entries of `{kind}` have the id {key!r}: "
            f"{', '.join(repr(name) for other, name in entries if other == key)}. Each needs its "
            "own; export it again.",
        )
    return dict(entries)


def _refuse_repeated(path: Path, kind: str, named: Mapping[Hashable, str]) -> None:
    """Raise DatasetError where one name stands twice, also in two Unicode forms."""
    name, times = Counter(map(canonical, named.values())).most_common(1)[0]
    if times > 1:
        alike = {key: other for key, other in named.items() if canonical(other) == name}
        raise DatasetError(
            "bad-import",
            f"{path}: {times} entries of `{kind}` are called {name!r}, with the ids "
            f"{', '.join(map(repr, alike))}{forms_in_words(alike.values())}. Make one of them.",
        )


def _grouping(
    categories: Sequence[Mapping[str, Any]], used: Collection[Hashable]
) -> Mapping[str, Any] | None:
    """The category that only says what the others belong to, if no image shows it."""
    for one in categories:
        others = [other.get("supercategory") for other in categories if other is not one]
        if (
            others
            and one["id"] not in used
            and one.get("supercategory") in NO_PARENT
            and all(other == one["name"] for other in others)
        ):
            return one
    return None


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height that the table has for an image; None where it has none that can be."""
    try:
        width, height = (int(float(entry.get(side) or 0)) for side in ("width", "height"))
    except (TypeError, ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None
