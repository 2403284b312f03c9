"""Labels from another tool's table, put to the images that it was written for, or refused."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from labelling.fingerprints import SEVERAL
from labelling.formats.registry import reader_of
from labelling.formats.table import Entry, Source, Table, Wishes
from labelling.importing import Imported, column_names, sound_images
from labelling.labelled_folder import size_of
from labelling.pictures import say
from shared.errors import ConfigurationError, DatasetError
from shared.images.image_names import ImageNames, Meant
from shared.images.listing import IMAGE_SUFFIXES, Listing, is_file, is_folder, list_images
from shared.images.names import canonical, forms_in_words

CANDIDATES = 3  # files that a message names, where an image may be any of them
NONE = "none"  # --without none: no label at all is an answer, too


def import_labels(
    path: Path, name: str, wishes: Wishes, images: Path | None = None, *, resized: bool = False
) -> Imported:
    """What a file or folder of the format `name`, or of the one that it is known as, says.

    Raises DatasetError where that is not what it must be, or contradicts the images.
    """
    source = Source(path)
    reader = reader_of(source, name)
    found = reader.read(source, wishes)
    if isinstance(found, Table):
        return match(found, wishes, images, resized=resized)
    if images or resized or wishes.classes or wishes.columns:
        raise ConfigurationError(
            "bad-import",
            "--images, --resized, --classes and --columns are for tables; class folders hold their "
            "own images.",
        )
    return found


def match(
    table: Table, wishes: Wishes, images: Path | None = None, *, resized: bool = False
) -> Imported:
    """What `table` says is on the files below `images`.

    Files that the table does not name are left out. `resized` says that images have other sizes
    than the table since it was written. Raises DatasetError where it has no label, or one that is
    no class, where it names an image that is not there or may be several, and where an image is not
    of the size that the table has.
    """
    root = images or table.images
    if not is_folder(root):
        raise DatasetError("bad-import", f"--images {root} is not a folder.")
    class_names, shown = _resolve(table, wishes)
    listing = list_images(root)
    names = ImageNames(root, listing.images)
    meant = _meant(names, listing, table.entries)
    _refuse_unclear(table, names, meant, listing)
    files = [one.files[0] for one in meant]
    if not resized:
        _refuse_files_of_other_folders(table, root, meant)
    _refuse_shared(table, files)
    _say_what_was_found(table, root, meant, listing)
    sound = set(sound_images(files))
    kept = [row for row, file in enumerate(files) if file in sound]
    if not resized:
        _refuse_other_sizes(table, [(table.entries[row], files[row]) for row in kept])
    labels = np.zeros((len(kept), len(class_names)), np.uint8)
    for line, row in enumerate(kept):
        labels[line] = [name in (shown[row] or ()) for name in class_names]
    return Imported(
        tuple(files[row] for row in kept),
        tuple(files[row].relative_to(root).as_posix() for row in kept),
        column_names(table.path, class_names),
        labels,
        frozenset(line for line, row in enumerate(kept) if shown[row] is None),
    )


def _resolve(table: Table, wishes: Wishes) -> tuple[tuple[str, ...], list[frozenset[str] | None]]:
    """The classes, and those of each entry; None where nobody has looked at it."""
    occurring = {canonical(label) for entry in table.entries for label in entry.labels or ()}
    none_shown = {canonical(word.rstrip("/")) for word in wishes.without}
    class_names = _class_names(table, wishes, none_shown, occurring)
    is_label = NONE in occurring or NONE in map(canonical, table.class_names or wishes.classes)
    looked_at = table.empty_is_seen or (NONE in none_shown and not is_label)
    shown = [_shown(table, entry, class_names, none_shown, looked_at) for entry in table.entries]
    if not any(shown) and NONE not in none_shown:
        raise DatasetError(
            "no-annotations",
            f"{table.path} has no annotation, and every image would count as showing no class, or "
            f"as not labelled. {table.export}Where all images were looked at, and show none, add "
            "--without none.",
        )
    _say_what_is_empty(table, shown)
    for what, times in table.lost.items():
        if times:
            say(f"not carried over: {times:,} {what}")
    return class_names, shown


def _class_names(
    table: Table, wishes: Wishes, none_shown: set[str], occurring: set[str]
) -> tuple[str, ...]:
    """As they are configured. Raises DatasetError where a flag contradicts that."""
    there = tuple(map(canonical, table.class_names or wishes.classes))
    asked = tuple(map(canonical, wishes.classes))
    if asked and set(asked) - none_shown != set(there) - none_shown:
        raise DatasetError(
            "classes-unknown",
            f"--classes {' '.join(asked)}: the classes of {table.path} are {', '.join(there)}.",
        )
    if unknown := sorted(none_shown - {*there, *occurring, NONE}):
        raise DatasetError(
            "bad-import",
            f"--without {unknown[0]}: {table.path} has the labels "
            f"{', '.join(dict.fromkeys([*there, *sorted(occurring)]))}.",
        )
    return tuple(name for name in asked or there if name not in none_shown)


def _shown(
    table: Table, entry: Entry, class_names: Sequence[str], none_shown: set[str], looked_at: bool
) -> frozenset[str] | None:
    if entry.labels is None or (not entry.labels and not looked_at):
        return None
    labels = set(map(canonical, entry.labels))
    if unknown := sorted(labels - none_shown - set(class_names)):
        raise DatasetError(
            "classes-unknown",
            f"{table.path}, {entry.where}: {unknown[0]!r} is none of the classes "
            f"({', '.join(class_names)}). Name all of them with --classes; a word that means that "
            "nothing is shown belongs to --without.",
        )
    if labels & none_shown and labels - none_shown:
        raise DatasetError(
            "labels-disagree",
            f"{table.path}, {entry.where}: {entry.name!r} shows {', '.join(sorted(labels))}, and "
            "one of these says that it shows no class. Correct it there.",
        )
    return frozenset(labels - none_shown)


def _say_what_is_empty(table: Table, shown: Sequence[frozenset[str] | None]) -> None:
    waiting, empty = shown.count(None), shown.count(frozenset())
    if waiting:
        say(
            f"{waiting:,} of {len(shown):,} images have no label and stay unlabelled: their lines "
            "are left empty"
            + (
                ". If somebody has looked at them, and they show none, add --without none"
                if not table.empty_is_seen
                else ""
            )
        )
    if empty:
        say(f"{empty:,} of {len(shown):,} images have no annotation and count as showing no class")


def _meant(names: ImageNames, listing: Listing, entries: Iterable[Entry]) -> list[Meant]:
    """What each name means; names without a suffix may be those of files that have one."""
    stems = defaultdict[Path, list[Path]](list)
    for file in listing.images:
        stems[file.with_suffix("")].append(file)
    bare = ImageNames(names.root, list(stems))

    def meant(name: str) -> Meant:
        found = names.meant_by(name)
        if found.files or PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
            return found
        found = bare.meant_by(name)
        return replace(found, files=tuple(file for stem in found.files for file in stems[stem]))

    return [meant(entry.name) for entry in entries]


def _refuse_unclear(
    table: Table, names: ImageNames, meant: Sequence[Meant], listing: Listing
) -> None:
    """Raise DatasetError where a name means no file, or several."""
    unclear = [row for row, one in enumerate(meant) if len(one.files) != 1]
    if not unclear:
        return
    name, files = table.entries[unclear[0]].name, meant[unclear[0]].files
    if files:
        why = f"may be any of {_listed(names.root, files)}"
    else:
        why = _why_missing(name, names, listing)
    raise DatasetError(
        "missing-image",
        f"{table.path}: of {len(meant)} images, {len(unclear)} are not below {names.root}, "
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


def _refuse_files_of_other_folders(table: Table, images: Path, meant: Sequence[Meant]) -> None:
    """Raise DatasetError where a name's own file is none of those below `images`.

    It lies elsewhere on this machine, or in a folder beside `images` that the table names, too.
    """
    own = canonical(images.resolve().name)
    tells_folders = any(one.above[-1:] == (own,) for one in meant)
    for entry, one in zip(table.entries, meant, strict=True):
        there = images / entry.name.replace("\\", "/")
        elsewhere = one.moved and is_file(there) and not there.samefile(one.files[0])
        if elsewhere or (tells_folders and one.above and one.above[-1] != own):
            raise DatasetError(
                "missing-image",
                f"{table.path}: {entry.name!r} is not below {images}, and "
                f"{one.files[0]} is another image of that name. Give the folder above both with "
                "--images; if those below it are copies, resized since, add --resized.",
            )


def _refuse_shared(table: Table, files: Sequence[Path]) -> None:
    """Raise DatasetError where two entries mean one file, and perhaps with other labels."""
    file, times = Counter(files).most_common(1)[0]
    if times > 1:
        alike = [entry for entry, own in zip(table.entries, files, strict=True) if own == file]
        entries = [f"{entry.name!r} ({entry.where})" for entry in alike]
        raise DatasetError(
            "bad-import",
            f"{table.path}: {times} entries can only be the file {file}: "
            f"{', '.join(entries)}{forms_in_words(entry.name for entry in alike)}. Two people's "
            "labels, or two exports? Keep one of them.",
        )


def _say_what_was_found(table: Table, root: Path, meant: Sequence[Meant], listing: Listing) -> None:
    moved = [row for row, one in enumerate(meant) if one.moved]
    if moved:
        first = meant[moved[0]].files[0].relative_to(root).as_posix()
        say(
            f"{len(moved)} images were found by name, elsewhere than the table says: "
            f"{table.entries[moved[0]].name!r} as {first!r}, ..."
        )
    if left := len(listing.images) - len(meant):
        say(f"{left} images below {root} are not in {table.path.name} and are left out")


def _refuse_other_sizes(table: Table, kept: Sequence[tuple[Entry, Path]]) -> None:
    """Raise DatasetError where an image cannot be the one that was labelled.

    Width and height may be swapped: cameras note on which side they were held, and only some
    tools heed that.
    """
    known = [(entry.size, file) for entry, file in kept if entry.size]
    with ThreadPoolExecutor(SEVERAL) as threads:
        sizes = list(threads.map(size_of, (file for _, file in known)))
    other = [
        (file, is_now, said)
        for (said, file), is_now in zip(known, sizes, strict=True)
        if sorted(is_now) != sorted(said)
    ]
    if other:
        file, is_now, said = other[0]
        raise DatasetError(
            "image-size-differs",
            f"{table.path}: {len(other)} of {len(kept)} images have another size than the table "
            f"says; the first is {file}: {is_now[0]} x {is_now[1]} pixels, and {said[0]} x "
            f"{said[1]} in the table. Are these other images of the same names? Give the right "
            "ones with --images; if they were resized since, add --resized.",
        )


def _listed(root: Path, files: Sequence[Path]) -> str:
    shown = [repr(file.relative_to(root).as_posix()) for file in files[:CANDIDATES]]
    return ", ".join([*shown, *(["..."] if len(files) > CANDIDATES else [])])
