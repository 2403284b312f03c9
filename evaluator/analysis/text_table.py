"""Tables as text: a column of names at the left, numbers as they were written at the right."""

from collections.abc import Sequence

from tabulate import tabulate

# Headers and lines, for the console and for the report's page; a cell is "" where nothing is known.
Cells = tuple[list[str], list[list[str]]]


def text_table(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """`lines` under `headers`; the cells are printed as they are."""
    alignment = ("left", *["right"] * (len(headers) - 1))
    return tabulate(lines, headers, disable_numparse=True, colalign=alignment)
