"""What a table of another tool says of images, before anyone knows which files are meant."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from shared.errors import DatasetError
from shared.images.label_table import Row, read_rows
from shared.images.listing import is_folder

Shape = TypeVar("Shape")


@dataclass(frozen=True)
class Entry:
    """What a table says of one image.

    name : as the tool wrote it.
    labels : of the classes that it shows; none of them where somebody looked and saw nothing; None
        where nobody has looked, as far as the table says.
    where : this stands in the table, in words.
    size : width and height in pixels, where the table has both.
    """

    name: str
    labels: tuple[str, ...] | None
    where: str
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Table:
    """What a file says of images.

    path : of the file.
    class_names : as they are configured; None where the format does not tell.
    images : the folder that they lie in, unless another is given.
    empty_is_seen : whether no label stands for somebody's answer; else it may be one, and nobody
        may have looked.
    export : what to export from the tools instead, where a label was expected and there is none.
    lost : what labels of whole images cannot say, in words -> how often it occurs.
    """

    path: Path
    class_names: tuple[str, ...] | None
    entries: tuple[Entry, ...]
    images: Path
    empty_is_seen: bool = True
    export: str = ""
    lost: Mapping[str, int] = field(default_factory=Counter)


@dataclass(frozen=True)
class Wishes:
    """How a table is to be read, where it does not say so itself.

    without : labels that mean that nothing is shown.
    classes : their names; empty where the table has them.
    columns : of the image and of its labels; empty where they can be recognised.
    separator : of several labels in a cell; empty where it can be recognised.
    """

    without: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    separator: str = ""


class Source:
    """A file or a folder that somebody gave, read once however many formats look at it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_folder = is_folder(path)
        self.suffix = path.suffix.lower()

    @cached_property
    def json(self) -> Any:
        """The content of a JSON file. Raises DatasetError where it is none."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError) as error:
            raise DatasetError(
                "bad-import", f"{self.path} is not JSON ({type(error).__name__}: {error})."
            ) from error

    @cached_property
    def content(self) -> bytes:
        """Its bytes. Raises DatasetError where they cannot be read."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise DatasetError("bad-import", f"{self.path} cannot be read ({error}).") from error

    @property
    def lines(self) -> list[tuple[int, str]]:
        """Number and text of each line of a text that is not blank. Raises DatasetError."""
        try:
            text = self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DatasetError("bad-import", f"{self.path} is not UTF-8 text: {error}.") from error
        lines = enumerate(text.splitlines(), 1)
        return [(number, line) for number, line in lines if line.strip()]

    @cached_property
    def rows(self) -> list[Row]:
        """Of a table with one line for each image; the first are the names of the columns."""
        return read_rows(self.path)

    @cached_property
    def columns(self) -> list[str]:
        """The names of the columns, as they stand there."""
        return [cell.strip() for cell in self.rows[0].cells]

    def cells(self) -> list[tuple[int, dict[str, str]]]:
        """Line and cells by column. Raises DatasetError where a line has more or fewer."""
        for row in self.rows[1:]:
            if len(row.cells) != len(self.columns):
                raise DatasetError(
                    "labels-row",
                    f"{self.path}, line {row.line}: {len(row.cells)} cells where the header has "
                    f"{len(self.columns)}.",
                )
        return [
            (row.line, dict(zip(self.columns, (cell.strip() for cell in row.cells), strict=True)))
            for row in self.rows[1:]
        ]


def shaped(path: Path, value: Any, shape: type[Shape], what: str) -> Shape:
    """`value` as a `shape`. Raises DatasetError saying where it has another one."""
    try:
        return TypeAdapter(shape).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise DatasetError(
            "bad-import", f"{path} is not {what} ({place}: {first['msg']}). Export it again."
        ) from error


def classes_wanted(table: Path, occurring: Sequence[str], wishes: Wishes) -> tuple[str, ...]:
    """The classes that somebody gave. Raises DatasetError, naming labels that occur, without."""
    if wishes.classes:
        return wishes.classes
    shown = [name for name in dict.fromkeys(occurring) if name not in wishes.without]
    raise DatasetError(
        "classes-unknown",
        f"{table} does not say which classes there are, and one that no image shows yet would be "
        f"missing. Name all of them with --classes; those that occur are: {', '.join(shown)}."
        " A word that means that nothing is shown belongs to --without.",
    )
