"""The labelled folder that answers become: `images/`, copied, and `labels.csv`."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from labelling.page.answers import Label
from shared.atomic_io import write_file
from shared.errors import DatasetError
from shared.images.soundness import in_words


class LabelledFolder:
    """Kept equal to the answers, file by file, so that it can be read at any moment.

    folder : made with the first answer.
    pool : the folder that images' names are relative to.
    """

    def __init__(self, folder: Path, pool: Path, class_names: Sequence[str]) -> None:
        self.folder = folder
        self.pool = pool
        self.class_names = tuple(class_names)
        self._copied: set[str] = set()

    def write(self, labels: Mapping[str, Label | None]) -> None:
        """Copy the images that are not there yet, then write `labels.csv` whole.

        labels : image -> its label; None leaves its cells empty, for it waits.
        """
        for name in labels:
            if name not in self._copied:
                self._copy(name)
                self._copied.add(name)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["filename", *self.class_names])
        empty = ("",) * len(self.class_names)
        writer.writerows([name, *(label or empty)] for name, label in labels.items())
        content = text.getvalue().encode("utf-8-sig")  # or Excel takes it for cp1252
        write_file(self.folder / "labels.csv", content)

    def _copy(self, name: str) -> None:
        target = self.folder / "images" / name
        if target.exists():  # files appear whole
            return
        source = self.pool / name
        try:
            content = source.read_bytes()
        except OSError as error:
            raise DatasetError(
                "unreadable-image",
                f"The image {source} cannot be read ({in_words(source, error)}). Replace it or "
                "move it away.",
            ) from error
        write_file(target, content)
