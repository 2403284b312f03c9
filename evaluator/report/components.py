"""What the page is made of. Every string here is plain text: the template escapes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from shared.formatting import Cells


@dataclass(frozen=True)
class Text:
    """A paragraph; `tone` is "plain", "finding", "warning" or "small"."""

    kind: ClassVar[str] = "text"
    words: str
    tone: str = "plain"


@dataclass(frozen=True)
class BulletList:
    kind: ClassVar[str] = "list"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Lines to be copied as they are."""

    kind: ClassVar[str] = "code"
    label: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of each names the row, an empty one is shown as a dash.

    words : the columns, beside the first, that hold words and not numbers.
    failed : the rows, by number, of what has no result.
    """

    kind: ClassVar[str] = "table"
    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()


def strategy_table(caption: str, cells: Cells, failed: frozenset[int] = frozenset()) -> Table:
    """A table of the console, whose first header there says what the table is of."""
    headers, lines = cells
    return Table(caption, ["strategy", *headers[1:]], lines, failed=failed)


@dataclass(frozen=True)
class Figure:
    """A drawing; `alt` says what it shows, width and height are CSS pixels."""

    kind: ClassVar[str] = "figure"
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
    width: int  # of an image, CSS pixels


@dataclass(frozen=True)
class Details:
    """Parts that are shown on a click, and in print."""

    kind: ClassVar[str] = "details"
    summary: str
    parts: tuple[Part, ...]


Part = Text | BulletList | Code | Table | Figure | Gallery | Details


@dataclass(frozen=True)
class Section:
    """`anchor` is its name in the address."""

    anchor: str
    title: str
    parts: tuple[Part, ...]
