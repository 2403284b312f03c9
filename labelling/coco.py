"""A COCO file with its images, read as image-level labels: what an annotation names, is shown."""

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelling.fingerprints import SEVERAL
from labelling.importing import Imported, column_names, sound_images
from labelling.pictures import say
from shared.errors import DatasetError
from shared.images.decoding import BROKEN, open_image
from shared.images.image_names import ImageNames, Meant
from shared.images.listing import IMAGE_SUFFIXES, Listing, is_file, is_folder, list_images
from shared.images.names import canonical, forms_in_words

CANDIDATES = 3  # files that a message names, where an image may be any of them
NO_PARENT = ("", "none", None)  # as Roboflow writes that a category belongs to no other
NEEDED = {  # list -> what each of its entries must have
    "images": ("id", "file_name"),
    "categories": ("id", "name"),
    "annotations": ("image_id", "category_id"),
}


@dataclass(frozen=True)
class _Table:
    """What a COCO file says: names and sizes of its images, names of classes, and who shows which.

    sizes : (width, height) by image, where the file has both.
    """

    path: Path
    images: dict[Hashable, str]
    sizes: dict[Hashable, tuple[int, int]]
    classes: dict[Hashable, str]
    shown: list[tuple[Hashable, Hashable]]


def from_coco(path: Path, images: Path, *, resized: bool = False) -> Imported:
    """What the COCO file `path` says is on the files below `images`.

    `annotations` may be boxes, outlines or nothing but an `image_id` and a `category_id`. Files
    that the table does not name are left out. `resized` says that images have other sizes than the
    table since it was written. Raises DatasetError where the table is not what
    https://cocodataset.org/#format-data says, has no annotation, names an image that is not there
    or may be several, or where an image is not of the size that the table has.
    """
    table = _read(path)
    if not is_folder(images):
        raise DatasetError("bad-import", f"--images {images} is not a folder.")
    listing = list_images(images)
    names = ImageNames(images, listing.images)
    meant = {key: names.meant_by(name) for key, name in table.images.items()}
    _refuse_unclear(table, names, meant, listing)
    files = {key: one.files[0] for key, one in meant.items()}
    if not resized:
        _refuse_files_of_other_folders(table, images, meant)
    _refuse_shared(table, files)
    moved = [key for key, one in meant.items() if one.moved]
    if moved:
        first = files[moved[0]].relative_to(images).as_posix()
        say(
            f"{len(moved)} images were found by name, elsewhere than the table says: "
            f"{table.images[moved[0]]!r} as {first!r}, ..."
        )
    if left := len(listing.images) - len(files):
        say(f"{left} images below {images} are not in {path.name} and are left out")
    sound = set(sound_images(list(files.values())))
    kept = {key: file for key, file in files.items() if file in sound}
    if not resized:
        _refuse_other_sizes(table, kept)
    columns = {key: column for column, key in enumerate(table.classes)}
    rows = {key: row for row, key in enumerate(kept)}
    labels = np.zeros((len(rows), len(columns)), np.uint8)
    for image, category in table.shown:
        if image in rows:
            labels[rows[image], columns[category]] = 1
    if bare := int((labels.sum(1) == 0).sum()):
        say(f"{bare} of {len(rows)} images have no annotation and count as showing no class")
    return Imported(
        tuple(kept.values()),
        tuple(file.relative_to(images).as_posix() for file in kept.values()),
        column_names(path, list(table.classes.values())),
        labels,
    )


def _read(path: Path) -> _Table:
    entries = _entries(path)
    named = {
        kind: _named(path, kind, [(one["id"], str(one[field])) for one in entries[kind]])
        for kind, field in (("categories", "name"), ("images", "file_name"))
    }
    shown = [(one["image_id"], one["category_id"]) for one in entries["annotations"]]
    for image, category in shown:
        if image not in named["images"] or category not in named["categories"]:
            raise DatasetError(
                "bad-import",
                f"{path}: an annotation names image {image!r} and category {category!r}, which "
                "are not both in `images` and `categories`. Export it again.",
            )
    if not shown:
        raise DatasetError(
            "no-annotations",
            f"{path} has no annotation, and every image would count as showing no class. CVAT and "
            "Label Studio leave tags and choices out of COCO: export tags from CVAT as `ImageNet "
            "1.0` with images, which are class folders; in Label Studio draw boxes, or write its "
            "CSV into a labels.csv.",
        )
    if group := _grouping(entries["categories"], shown):
        name = named["categories"].pop(group["id"])
        say(
            f"the category {name!r} is left out: no annotation names it, and it is but the "
            "supercategory of the others, as Roboflow writes it"
        )
    _refuse_repeated(path, "categories", named["categories"])
    sizes = {one["id"]: size for one in entries["images"] if (size := _size(one))}
    return _Table(path, named["images"], sizes, named["categories"], shown)


def _entries(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The three lists of the file. Raises DatasetError where one is not what it must be."""
    try:
        read = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError("bad-import", f"{path} cannot be read ({error}).") from error
    except (ValueError, RecursionError) as error:
        raise _no_coco(path, f"{type(error).__name__}: {error}") from error
    if not isinstance(read, dict):
        raise _no_coco(path, f"it is a {type(read).__name__}; so is Label Studio's own JSON")
    if "items" in read and "images" not in read:
        raise _no_coco(path, "it has `items`, as Datumaro's own JSON has")
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
    categories: Sequence[Mapping[str, Any]], shown: Sequence[tuple[Hashable, Hashable]]
) -> Mapping[str, Any] | None:
    """The category that only says what the others belong to, if no image shows it."""
    used = {category for _, category in shown}
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


def _refuse_unclear(
    table: _Table,
    names: ImageNames,
    meant: Mapping[Hashable, Meant],
    listing: Listing,
) -> None:
    """Raise DatasetError where a name means no file, or several."""
    unclear = [key for key, one in meant.items() if len(one.files) != 1]
    if not unclear:
        return
    name, files = table.images[unclear[0]], meant[unclear[0]].files
    if files:
        why = f"may be any of {_listed(names.root, files)}"
    else:
        why = _why_missing(name, names, listing)
    raise DatasetError(
        "missing-image",
        f"{table.path}: of {len(table.images)} images, {len(unclear)} are not below {names.root}, "
        f"or several are called so; the first is {name!r}, which {why}. Give the folder that the "
        "names in the table begin from with --images, or correct them.",
    )


def _why_missing(name: str, names: ImageNames, listing: Listing) -> str:
    plain = names.root / name.replace("\\", "/")
    if reason := listing.absent.get(plain):
        return f"is not on this disk ({reason})"
    suffix = plain.suffix.lower() or "without a suffix"
    if suffix not in IMAGE_SUFFIXES and suffix in listing.others:
        return (
            f"is of a kind that is not read ({suffix}; what is read is "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}). Convert it, or give it its suffix"
        )
    if alike := names.called_alike(name):
        return (
            f"is not where the table says; called alike is {_listed(names.root, alike)}, which may "
            "be another image"
        )
    return "is nowhere there"


def _refuse_files_of_other_folders(
    table: _Table, images: Path, meant: Mapping[Hashable, Meant]
) -> None:
    """Raise DatasetError where a name's own file is none of those below `images`.

    It lies elsewhere on this machine, or in a folder beside `images` that the table names, too.
    """
    own = canonical(images.resolve().name)
    tells_folders = any(one.above[-1:] == (own,) for one in meant.values())
    for key, one in meant.items():
        there = images / table.images[key].replace("\\", "/")
        elsewhere = one.moved and is_file(there) and not there.samefile(one.files[0])
        if elsewhere or (tells_folders and one.above and one.above[-1] != own):
            raise DatasetError(
                "missing-image",
                f"{table.path}: {table.images[key]!r} is not below {images}, and "
                f"{one.files[0]} is another image of that name. Give the folder above both with "
                "--images; if those below it are copies, resized since, add --resized.",
            )


def _listed(root: Path, files: Sequence[Path]) -> str:
    shown = [repr(file.relative_to(root).as_posix()) for file in files[:CANDIDATES]]
    return ", ".join([*shown, *(["..."] if len(files) > CANDIDATES else [])])


def _refuse_shared(table: _Table, files: Mapping[Hashable, Path]) -> None:
    """Raise DatasetError where two entries mean one file, and perhaps with other labels."""
    file, times = Counter(files.values()).most_common(1)[0]
    if times > 1:
        alike = {key: table.images[key] for key in files if files[key] == file}
        entries = [f"{name!r} (id {key!r})" for key, name in alike.items()]
        raise DatasetError(
            "bad-import",
            f"{table.path}: {times} entries of `images` can only be the file {file}: "
            f"{', '.join(entries)}{forms_in_words(alike.values())}. Two people's labels, or two "
            "exports? Keep one of them.",
        )


def _refuse_other_sizes(table: _Table, files: Mapping[Hashable, Path]) -> None:
    """Raise DatasetError where an image cannot be the one that was labelled.

    Width and height may be swapped: cameras note on which side they were held, and only some
    tools heed that.
    """
    known = [key for key in files if key in table.sizes]
    with ThreadPoolExecutor(SEVERAL) as threads:
        sizes = dict(zip(known, threads.map(_size_of, (files[key] for key in known)), strict=True))
    other = [key for key, size in sizes.items() if sorted(size) != sorted(table.sizes[key])]
    if other:
        is_now, said = ("{} x {}".format(*one[other[0]]) for one in (sizes, table.sizes))
        raise DatasetError(
            "image-size-differs",
            f"{table.path}: {len(other)} of {len(files)} images have another size than the table "
            f"says; the first is {files[other[0]]}: {is_now} pixels, and {said} in the table. Are "
            "these other images of the same names? Give the right ones with --images; if they were "
            "resized since, add --resized.",
        )


def _size_of(file: Path) -> tuple[int, int]:
    try:
        with open_image(file) as image:
            return image.size
    except BROKEN as error:
        raise DatasetError(
            "unreadable-image", f"The image {file} cannot be read ({error}). Replace it."
        ) from error
