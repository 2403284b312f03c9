"""Tables as text: a column of names at the left, numbers as they were written at the right."""

from collections.abc import Sequence

from tabulate import tabulate


def text_table(lines: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    """`lines` under `headers`; the cells are printed as they are."""
    alignment = ("left", *["right"] * (len(headers) - 1))
    return tabulate(lines, headers, disable_numparse=True, colalign=alignment)
