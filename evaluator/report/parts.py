"""What a page is made of. Every string here is plain text: the template escapes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from evaluator.report.words import NOTHING


@dataclass(frozen=True)
class Text:
    """A paragraph; `tone` is "plain", "finding", "warning" or "small"."""

    kind: ClassVar[str] = "text"
    words: str
    tone: str = "plain"


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    kind: ClassVar[str] = "items"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Lines to be copied as they are."""

    kind: ClassVar[str] = "code"
    label: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of each names the row.

    words : the columns, beside the first, that hold words and not numbers.
    failed : the rows, by number, of what has no result.
    """

    kind: ClassVar[str] = "table"
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()


def console_table(
    caption: str,
    headers: Sequence[str],
    lines: Sequence[Sequence[str]],
    failed: frozenset[int] = frozenset(),
) -> Table:
    """What the console shows of strategies, with a dash where it leaves a cell empty."""
    rows = tuple(tuple(cell or NOTHING for cell in line) for line in lines)
    return Table(caption, ("strategy", *headers[1:]), rows, failed=failed)


@dataclass(frozen=True)
class Picture:
    """A drawing. `alt` says what it shows in numbers; width and height are CSS pixels."""

    kind: ClassVar[str] = "picture"
    source: str  # data: URI
    alt: str
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class Card:
    """One bought image and what is known of it."""

    source: str  # data: URI
    alt: str
    title: str
    truth: str
    lines: tuple[tuple[str, float, bool], ...]  # class, probability, whether it is there


@dataclass(frozen=True)
class Gallery:
    kind: ClassVar[str] = "gallery"
    cards: tuple[Card, ...]
    width: int  # of a picture, CSS pixels


@dataclass(frozen=True)
class Fold:
    """Parts that are shown when asked for, and in print."""

    kind: ClassVar[str] = "fold"
    summary: str
    parts: "tuple[Part, ...]"


Part = Text | Items | Code | Table | Picture | Gallery | Fold


@dataclass(frozen=True)
class Section:
    """`anchor` is its name in the address."""

    anchor: str
    title: str
    parts: tuple[Part, ...]
