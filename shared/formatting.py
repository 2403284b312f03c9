"""Numbers, names and tables as text: the same on the console and on the report's page.

What is not known is written as an empty string.
"""

import math
import textwrap
import unicodedata
from collections.abc import Sequence

# Headers and lines of a table; the first cell of a line names it.
Cells = tuple[list[str], list[list[str]]]

LONGEST_HEADER = 14  # characters of a column's header on one line

# Unicode categories: control characters, marks that reorder or hide text, lone surrogates, ...
NEVER_SHOWN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def printable(text: str) -> str:
    """`text` with what a terminal or a browser would act on, instead of showing it, as escapes.

    Line ends and tabs stay; `\\x1b[1m` and U+202E, which reverses the reading direction, do not.
    """
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in NEVER_SHOWN and c not in "\n\t"
        else c
        for c in text
    )


def shorten(text: str, longest: int) -> str:
    """`text`, or its beginning and end: what tells two variants apart often stands last."""
    if len(text) <= longest:
        return text
    end = (longest - 1) // 3
    return f"{text[: longest - 1 - end]}…{text[len(text) - end :]}"


def join_and(names: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def pluralise(n: int, one: str, several: str | None = None) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{n:,} {one if n == 1 else several or one + 's'}"


def format_score(value: float | None, *, signed: bool = False) -> str:
    """`0.798`, or `+0.798`."""
    if value is None or math.isnan(value):
        return ""
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def format_interval(interval: tuple[float, float] | None, *, signed: bool = False) -> str:
    """`[0.412, 0.437]`."""
    if interval is None:
        return ""
    low, high = (format_score(end, signed=signed) for end in interval)
    return f"[{low}, {high}]"


def format_p(p: float | None) -> str:
    """`0.031`, or `<0.001`."""
    if p is None:
        return ""
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def format_share(value: float | None, digits: int = 0) -> str:
    """`81%`."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}%}"


def format_seconds(seconds: float | None) -> str:
    """`160 s`."""
    return "" if seconds is None or math.isnan(seconds) else f"{seconds:,.0f} s"


def format_duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def format_seeds(seeds: Sequence[int]) -> str:
    """`0 to 4`, or `0, 2 and 3` as `0 2 3`."""
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]} to {seeds[-1]}"
    return " ".join(map(str, seeds))


def text_table(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """`lines` under `headers`: names at the left, numbers as they are written at the right."""
    from tabulate import tabulate  # not everybody who formats text has it installed

    alignment = ("left", *["right"] * (len(headers) - 1))
    wrapped = [headers[0], *map(_wrapped, headers[1:])]
    return tabulate(lines, wrapped, disable_numparse=True, colalign=alignment)


def _wrapped(header: str) -> str:
    return "\n".join(textwrap.wrap(header, LONGEST_HEADER, break_long_words=False))
