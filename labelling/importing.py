"""Labels that one has already, from wherever they came, as a labelled folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelling.fingerprints import Fingerprint, take_fingerprints
from labelling.folder import write_labelled
from labelling.pictures import copy_image, first_of, say
from shared.atomic_io import atomic_directory
from shared.errors import DatasetError
from shared.images.class_coverage import absent_classes
from shared.images.label_table import columns_named
from shared.images.names import look_alikes_among


@dataclass(frozen=True)
class Imported:
    """Images and their labels, wherever they came from.

    names : of the images below images/.
    unlabelled : rows that nobody has labelled yet.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    class_names: tuple[str, ...]
    labels: NDArray[np.uint8]  # (N, C) of 0/1
    unlabelled: frozenset[int] = frozenset()

    @property
    def known(self) -> NDArray[np.uint8]:
        """(M, C) of 0/1: of the images that are labelled."""
        return np.delete(self.labels, sorted(self.unlabelled), axis=0)


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
    if absent := absent_classes(imported.known, imported.class_names):
        say(f"notice: no image shows {', '.join(absent)}: a column of zeros")
    if everywhere := absent_classes(1 - imported.known, imported.class_names):
        say(f"notice: every image shows {', '.join(everywhere)}: others are needed to learn it")
    for words in look_alikes_among(imported.class_names):
        say(f"notice: classes {words}")

    def put(row: int, target: Path) -> None:
        copy_image(imported.files[row], target)

    with atomic_directory(out) as folder:
        labels: list[list[int | str]] = imported.labels.tolist()
        for row in imported.unlabelled:
            labels[row] = [""] * len(imported.class_names)
        write_labelled(folder, imported.names, imported.class_names, labels, put)


def column_names(source: Path, names: Sequence[str]) -> tuple[str, ...]:
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


def sound_images(files: Sequence[Path]) -> dict[Path, Fingerprint]:
    """Those that can be used; the others are named. Raises DatasetError where none can be."""
    taken = take_fingerprints(files)
    bad = {file: one.damage for file, one in taken.items() if one.damage}
    if len(bad) == len(taken):
        raise DatasetError("unreadable-image", f"None of the images can be used ({first_of(bad)}).")
    if bad:
        say(f"{len(bad)} of {len(taken)} images cannot be used and are left out ({first_of(bad)})")
    return {file: fingerprint for file, fingerprint in taken.items() if file not in bad}
