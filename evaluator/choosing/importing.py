"""Labels that one has already, as a labelled folder: one folder for each class, or a COCO file."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.atomic_io import atomic_directory
from evaluator.choosing.folder import write_labelled
from evaluator.choosing.pictures import contents_of, copy_image, say
from evaluator.data.layout import columns_named
from evaluator.data.listing import is_folder, is_visible, list_images
from evaluator.errors import DatasetError


@dataclass(frozen=True)
class Imported:
    """Images and their labels, wherever they came from.

    names : of the images below images/.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    class_names: tuple[str, ...]
    labels: NDArray[np.uint8]  # (N, C) of 0/1


def from_class_folders(root: Path, without: Sequence[str] = ()) -> Imported:
    """What the folders in `root` hold, each called like the class that its images show.

    The images in folders called `without` show no class. An image that lies in several folders,
    the same to the byte, is one image and shows all of their classes. Raises DatasetError where
    `root` holds no such folders, images beside them, names that no column can have, or an image
    both with and without a class.
    """
    if not is_folder(root):
        raise DatasetError(
            "bad-import",
            f"{root} is neither a folder with one folder for each class nor a COCO file (.json).",
        )
    below = list_images(root)
    below.refuse_absent()
    homes = sorted(
        path.name for path in root.iterdir() if is_visible(path.name) and is_folder(path)
    )
    classes = [name for name in homes if name not in without]
    if unknown := sorted(set(without).difference(homes)):
        raise DatasetError(
            "bad-import", f"--without {unknown[0]}: {root} has the folders {', '.join(homes)}."
        )
    beside = [file for file in below.images if file.parent == root]
    # Each on its own: two of them may be links to one folder.
    files = [file for home in homes for file in list_images(root / home).images]
    if beside or not classes or not files:
        raise DatasetError(
            "bad-import",
            f"{root} must hold one folder for each class, with the images that show it; it has "
            f"{len(classes)} such folders with {len(files)} images, and {len(beside)} images "
            "beside them.",
        )
    class_names = _class_names(root, classes)
    if below.others:
        say(below.others_in_words)
    alike = defaultdict[Any, list[Path]](list)
    for file, content in zip(files, contents_of(files), strict=True):
        alike[content].append(file)
    kept = tuple(copies[0] for copies in alike.values())
    labels = np.zeros((len(kept), len(classes)), np.uint8)
    for row, copies in enumerate(alike.values()):
        shown = {copy.relative_to(root).parts[0] for copy in copies}
        if shown.intersection(without) and shown.difference(without):
            raise DatasetError(
                "labels-disagree",
                f"{' and '.join(map(str, copies))} are the same image, and one says that it shows "
                "no class. Remove one.",
            )
        labels[row] = [name in shown for name in classes]
    if several := int((labels.sum(1) > 1).sum()):
        say(f"{several} images lie in the folders of several classes and show all of them")
    names = tuple(file.relative_to(root).as_posix() for file in kept)
    return Imported(kept, names, class_names, labels)


def from_coco(table: Path, images: Path) -> Imported:
    """What a COCO file says is on the files below `images`: each class that an annotation names.

    `annotations` may be boxes, outlines or nothing but an `image_id` and a `category_id`. Files
    that the table does not name are left out. Raises DatasetError where the table is not what
    https://cocodataset.org/#format-data says, or names an image that is not there.
    """
    try:
        read = json.loads(table.read_bytes())
        classes = {one["id"]: str(one["name"]) for one in read["categories"]}
        listed = {one["id"]: str(one["file_name"]) for one in read["images"]}
        shown = [(one["image_id"], one["category_id"]) for one in read["annotations"]]
        unknown = [pair for pair in shown if pair[0] not in listed or pair[1] not in classes]
    except OSError as error:
        raise DatasetError("bad-import", f"{table} cannot be read ({error}).") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(
            "bad-import",
            f"{table} is not a COCO file ({type(error).__name__}: {error}). Expected an object "
            "with `images` (`id`, `file_name`), `categories` (`id`, `name`) and `annotations` "
            "(`image_id`, `category_id`).",
        ) from error
    if unknown:
        raise DatasetError(
            "bad-import",
            f"{table}: an annotation names image {unknown[0][0]!r} and category {unknown[0][1]!r}, "
            "which are not both in `images` and `categories`. Export it again.",
        )
    for kind, called in (("categories", classes), ("images", listed)):
        if len(set(called.values())) < len(read[kind]) or not called:
            raise DatasetError(
                "bad-import",
                f"{table}: `{kind}` is empty, or has an `id` or a name twice. Fix it there.",
            )
    class_names = _class_names(table, list(classes.values()))
    columns = {key: column for column, key in enumerate(classes)}
    rows = {key: row for row, key in enumerate(listed)}
    labels = np.zeros((len(rows), len(columns)), np.uint8)
    for image, category in shown:
        labels[rows[image], columns[category]] = 1
    files = _found(table, images, list(listed.values()))
    if bare := int((labels.sum(1) == 0).sum()):
        say(f"{bare} of {len(files)} images have no annotation and count as showing no class")
    names = tuple(file.relative_to(images).as_posix() for file in files)
    return Imported(files, names, class_names, labels)


def write_imported(imported: Imported, out: Path) -> None:
    """Write `images/`, copied, and `labels.csv`, whole or not at all.

    Raises DatasetError where a name cannot stand in a table, or the disk refuses.
    """
    for name in (*imported.names, *imported.class_names):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DatasetError(
                "bad-import", f"The name {name!r} is not UTF-8; change it."
            ) from error

    def put(row: int, target: Path) -> None:
        copy_image(imported.files[row], target)

    with atomic_directory(out) as folder:
        labels = imported.labels.tolist()
        write_labelled(folder, imported.names, imported.class_names, labels, put)


def _class_names(source: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes as labels.csv is read. Raises DatasetError for what no column can have."""
    header = columns_named(["filename", *names])
    for name in header[1:]:
        if not name or header.count(name) > 1:
            raise DatasetError(
                "bad-import",
                f"{source}: a class is called {name!r}. Each needs a name of its own, which is not "
                "`filename`. Rename it there.",
            )
    return tuple(header[1:])


def _found(table: Path, images: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """The file of each name below `images`: there, or the only one that is called so anywhere."""
    present = list_images(images).images
    called = defaultdict[str, list[Path]](list)
    for file in present:
        called[file.name].append(file)
    known = set(present)
    found, missing, by_name = [], [], []
    for name in names:
        wanted = [images / name.replace("\\", "/")]
        if wanted[0] not in known:
            wanted = called[wanted[0].name]
            by_name.append(name)
        found += wanted[:1]
        missing += [name] * (len(wanted) != 1)
    if missing:
        raise DatasetError(
            "missing-image",
            f"{table}: of {len(names)} images, {len(missing)} are not below {images}, or several "
            f"are called so; the first is {missing[0]!r}. Give the folder with --images.",
        )
    file, times = Counter(found).most_common(1)[0]
    if times > 1:
        raise DatasetError("bad-import", f"{table}: {times} of its images can only be {file}.")
    if by_name:
        first = found[names.index(by_name[0])].relative_to(images)
        say(
            f"{len(by_name)} images were found by name alone: {by_name[0]!r} as {str(first)!r}, ..."
        )
    if left := len(known) - len(found):
        say(f"{left} images below {images} are not in {table.name} and are left out")
    return tuple(found)
