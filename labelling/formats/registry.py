"""The formats that labels are read from and written to; each module registers its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labelling.formats.table import Source, Table, Wishes
from labelling.importing import Imported
from labelling.labelled_folder import LabelledFolder
from shared.errors import ConfigurationError, DatasetError

Read = Callable[[Source, Wishes], Table | Imported]


@dataclass(frozen=True)
class Reader:
    """How a format is read; `recognises` says whether a file or folder is of it."""

    name: str
    recognises: Callable[[Source], bool]
    read: Read


@dataclass(frozen=True)
class ExportWishes:
    """How labels are to be written.

    without : the word that says that nothing is shown, where the format needs one.
    image_root : what the tool puts before an image's name below images/; None for its usual one.
    predictions : whether those of the learner are written along.
    """

    without: str = "none"
    image_root: str | None = None
    predictions: bool = False


@dataclass(frozen=True)
class Exported:
    """A file to be written.

    notes : lines for a person: what must be set in the tool.
    lost : what it cannot say, in words -> how often it occurs.
    """

    text: str
    notes: tuple[str, ...] = ()
    lost: Mapping[str, int] = field(default_factory=dict)


Write = Callable[[LabelledFolder, ExportWishes], Exported]


@dataclass(frozen=True)
class Writer:
    """How a format is written; `file_name` is what tools expect the file to be called."""

    file_name: str
    write: Write


READERS: dict[str, Reader] = {}
WRITERS: dict[str, Writer] = {}


def reads(name: str, recognises: Callable[[Source], bool]) -> Callable[[Read], Read]:
    """Register what reads a format."""

    def register(read: Read) -> Read:
        READERS[name] = Reader(name, recognises, read)
        return read

    return register


def writes(name: str, file_name: str) -> Callable[[Write], Write]:
    """Register what writes a format."""

    def register(write: Write) -> Write:
        WRITERS[name] = Writer(file_name, write)
        return write

    return register


def reader_of(source: Source, name: str = "") -> Reader:
    """The format called `name`, or the one that a file or folder is recognised as.

    Raises DatasetError where it is none, or may be several.
    """
    if name:
        return READERS[name]
    if not source.path.exists():
        raise DatasetError("bad-import", f"{source.path} cannot be read: it is not there.")
    found = [reader for reader in READERS.values() if reader.recognises(source)]
    if len(found) == 1:
        return found[0]
    may_be = ", ".join(reader.name for reader in found) or "none of those that are read"
    raise DatasetError(
        "format-unknown",
        f"{source.path} may be {may_be}. Name the format: --format {{{', '.join(READERS)}}}.",
    )


def writer_of(name: str) -> Writer:
    """The format called `name`. Raises ConfigurationError where none is."""
    if name not in WRITERS:
        raise ConfigurationError(
            "format-unknown", f"{name} is no format that is written: {', '.join(WRITERS)}."
        )
    return WRITERS[name]


def target_of(name: str, out: Path) -> Path:
    """The file that `--out` means: itself, or one in the folder that it names."""
    return out / writer_of(name).file_name if out.is_dir() or not out.suffix else out
