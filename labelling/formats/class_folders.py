"""One folder for each class: which folders are classes, and which image shows which of them.

A folder that stands among class folders and is none would become a class that some images show:
a split, masks, what a system or an earlier import left. What can only be that is refused, what may
be is said.
"""

import os
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelling.fingerprints import identities
from labelling.formats.registry import reads
from labelling.formats.table import Source, Wishes
from labelling.importing import Imported, column_names, sound_images
from labelling.pictures import say
from shared.errors import DatasetError
from shared.images.listing import Listing, folders_below, is_folder, is_visible, list_images
from shared.images.names import canonical, forms_in_words
from shared.images.split_names import plain, split_called

# Where data sets keep the images and the masks of all classes.
IMAGES = frozenset({"images", "image", "imgs", "img", "jpegimages"})
MASKS = frozenset({"ground truth", "groundtruth", "segmentationclass", "segmentationobject"})
NO_CLASSES = IMAGES | MASKS | {"imagesets", "annotations"}
NOT_IN_A_CLASS = MASKS | {"annotations", "masks"}
PERHAPS_MASKS = frozenset({"mask", "masks", "gt", "segmentation", "segmentations", "labels"})


def _is_class_folders(source: Source) -> bool:
    """Any folder may be one that is not known as something else."""
    return source.is_folder and not any(
        (source.path / known).exists()
        for known in ("labels.csv", "metadata.csv", "metadata.jsonl", "ImageSets")
    )


@reads("class-folders", _is_class_folders)
def read(source: Source, wishes: Wishes) -> Imported:
    """One folder for each class, which holds its own images."""
    return from_class_folders(source.path, wishes.without)


def from_class_folders(root: Path, without: Sequence[str] = ()) -> Imported:
    """What the folders in `root` hold, each called like the class that its images show.

    The images in folders called `without` show no class. An image that lies in several folders,
    pixel for pixel, is one image and shows all of their classes. Folders whose names are one
    in two Unicode forms are one class. Raises DatasetError where `root` holds no such folders,
    images beside them, folders that are splits, masks or labelled folders, names that no column can
    have, or an image both with and without a class.
    """
    if not is_folder(root):
        raise DatasetError(
            "bad-import",
            f"{root} is not a folder with one folder for each class.",
        )
    below = list_images(root)
    below.refuse_absent()
    homes = _class_folders(root)
    names = list(dict.fromkeys(canonical(home.name) for home in homes))
    none_shown = {canonical(name.rstrip("/")) for name in without}
    if unknown := sorted(none_shown.difference(names)):
        raise DatasetError(
            "bad-import", f"--without {unknown[0]}: {root} has the folders {', '.join(names)}."
        )
    classes = [name for name in names if name not in none_shown]
    beside = [file for file in below.images if file.parent == root]
    # Each on its own: two of them may be links to one folder.
    listings = {home: list_images(home) for home in homes}
    files = [file for listing in listings.values() for file in listing.images]
    if beside or not classes or not files:
        raise DatasetError(
            "bad-import",
            f"{root} must hold one folder for each class, with the images that show it; it has "
            f"{len(classes)} such folders with {len(files)} images, and {len(beside)} images "
            "beside them.",
        )
    _refuse_unread_classes(listings)
    _doubt_the_level(root, listings, alone=len(names) == 1)
    class_names = column_names(root, classes)
    if below.others:
        say(below.others_in_words)
    alike = defaultdict[Hashable, list[Path]](list)
    for file, pixels in identities(sound_images(files)).items():
        alike[pixels].append(file)
    copies = list(alike.values())
    labels = _labels(root, copies, classes, none_shown)
    if several := [copies[row] for row in np.flatnonzero(labels.sum(1) > 1)]:
        say(
            f"{len(several)} images lie in the folders of several classes and show all of them: "
            f"{' and '.join(file.relative_to(root).as_posix() for file in several[0])}, ..."
        )
    kept = tuple(files[0] for files in copies)
    return Imported(
        kept, tuple(file.relative_to(root).as_posix() for file in kept), class_names, labels
    )


def _class_folders(root: Path) -> list[Path]:
    """The folders in `root` that are classes; what is put aside is said.

    Raises DatasetError where one can be no class.
    """
    folders = [path for path in sorted(root.iterdir()) if is_folder(path)]
    homes = [path for path in folders if is_visible(path.name)]
    _refuse_folders_below(root)
    _refuse_splits(root, homes)
    _refuse_folders_of_all_classes(homes)
    if put_aside := [path.name for path in folders if not is_visible(path.name)]:
        say(f"left out, as hidden or a system's own: {', '.join(put_aside)}")
    spelt = defaultdict[str, list[str]](list)
    for home in homes:
        spelt[canonical(home.name)].append(home.name)
    for name, own in spelt.items():
        if forms := forms_in_words(own):
            say(f"the folders called {name!r} are one class{forms}")
    return homes


def _labels(
    root: Path,
    copies: Sequence[Sequence[Path]],
    classes: Sequence[str],
    none_shown: set[str],
) -> NDArray[np.uint8]:
    """(N, C) of 0/1: the classes of all folders that an image lies in.

    Raises DatasetError where one of them says that it shows none.
    """
    labels = np.zeros((len(copies), len(classes)), np.uint8)
    for row, files in enumerate(copies):
        shown = {canonical(file.relative_to(root).parts[0]) for file in files}
        if shown & none_shown and shown - none_shown:
            raise DatasetError(
                "labels-disagree",
                f"{' and '.join(map(str, files))} are the same image, and one says that it shows "
                "no class. Remove one.",
            )
        labels[row] = [name in shown for name in classes]
    return labels


def _refuse_splits(root: Path, homes: Sequence[Path]) -> None:
    """Raise DatasetError where folders are called like splits: all, or two of different kinds."""
    splits = {home.name: split for home in homes if (split := split_called(home.name))}
    if homes and (len(set(splits.values())) > 1 or len(splits) == len(homes)):
        first = next((name for name in splits if splits[name] == "training"), min(splits))
        raise DatasetError(
            "no-class-folder",
            f"{root} holds {', '.join(splits)}: splits, and no classes. Give one of them, such as "
            f"{root / first}, whose folders are classes (of MVTec's layout: test, with --without "
            "good), and keep what is for testing apart. Rename a class that is called so.",
        )


def _refuse_folders_below(root: Path) -> None:
    """Raise DatasetError for labelled folders, and for masks and the like within a class."""
    for folder, names in folders_below(root):
        if "labels.csv" in names and "images" in names:
            raise DatasetError(
                "no-class-folder",
                f"{folder} holds labels.csv and images/: it is a labelled folder, perhaps of an "
                "earlier import or a batch of choose.py, and no class. Move it out of "
                f"{root}, or give it to --labelled as it is.",
            )
        for name in names:
            if folder != root and plain(name) in NOT_IN_A_CLASS and is_folder(folder / name):
                raise _no_class(folder / name)


def _refuse_folders_of_all_classes(homes: Sequence[Path]) -> None:
    """Raise DatasetError for folders that hold images, masks or labels of several classes."""
    classes = {plain(home.name) for home in homes}
    for home in homes:
        of, _, last = plain(home.name).rpartition(" ")
        if plain(home.name) in NO_CLASSES or (last in PERHAPS_MASKS and of in classes):
            raise _no_class(home)


def _no_class(folder: Path) -> DatasetError:
    return DatasetError(
        "no-class-folder",
        f"{folder} is called like a folder of images, masks or annotations of all classes, and "
        "would be read as a class. Give the folder that holds class folders, and move masks away; "
        "rename a class that is called so.",
    )


def _refuse_unread_classes(listings: Mapping[Path, Listing]) -> None:
    """Raise DatasetError where a class has files and none is read: it would be shown nowhere."""
    for home, listing in listings.items():
        if listing.others and not listing.images:
            raise DatasetError(
                "no-class-folder",
                f"{home} holds no image that is read; {listing.others_in_words}. Convert them to "
                "PNG or JPEG, or move the folder away if it is no class.",
            )


def _doubt_the_level(root: Path, listings: Mapping[Path, Listing], *, alone: bool) -> None:
    """Say, or refuse where nothing could be learned, what looks as if classes lay deeper."""
    files = [file for listing in listings.values() for file in listing.images]
    common = Path(os.path.commonpath([file.parent for file in files]))
    deeper = {file.relative_to(common).parts[0] for file in files}
    if alone and common != root and all(file.parent != common for file in files):
        raise DatasetError(
            "no-class-folder",
            f"{root} holds one folder, {next(iter(listings)).name}, so that every image would show "
            f"the one class. The folders in {common} are {', '.join(sorted(deeper))}: if these are "
            f"classes, give {common}.",
        )
    inner = [
        {file.relative_to(home).parts[0] for file in listing.images if file.parent != home}
        for home, listing in listings.items()
        if all(file.parent != home for file in listing.images)
    ]
    alike = len(inner) == len(listings) > 1 and all(folders == inner[0] for folders in inner)
    if alike and not IMAGES.issuperset(map(plain, inner[0])):
        say(
            f"notice: each of {', '.join(home.name for home in listings)} holds the folders "
            f"{', '.join(sorted(inner[0]))}. If these are the classes, give one of those above."
        )
    for home in listings:
        if split_called(home.name) or plain(home.name) in PERHAPS_MASKS:
            say(
                f"notice: {home.name} is read as a class. If it is a split, or holds masks, move "
                "it away."
            )
