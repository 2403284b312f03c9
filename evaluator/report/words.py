"""Numbers and lists as words, as the console's leaderboard writes them."""

import math
import unicodedata
from collections.abc import Sequence

from evaluator.analysis.statistics import Interval

NOTHING = "–"


def number(value: float | None) -> str:
    """`0.798`, or a dash for what is not there."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.3f}"


def share(value: float | None) -> str:
    """`81%`, or a dash."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.0%}"


def duration(seconds: float | None) -> str:
    """`160 s`, or a dash."""
    return NOTHING if seconds is None or math.isnan(seconds) else f"{seconds:,.0f} s"


def spoken(interval: Interval | None, *, signed: bool = False) -> str:
    """An interval for sentences: ` (95 % interval 0.412 to 0.437)`, or nothing."""
    if interval is None:
        return ""
    form = "+.3f" if signed else ".3f"
    return f" (95 % interval {interval.low:{form}} to {interval.high:{form}})"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def counted(n: int, one: str, several: str | None = None) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{n:,} {one if n == 1 else several or one + 's'}"


def shortened(text: str, longest: int) -> str:
    """`text`, or its beginning and end: what tells two variants apart often stands last."""
    if len(text) <= longest:
        return text
    end = (longest - 1) // 3
    return f"{text[: longest - 1 - end]}…{text[len(text) - end :]}"


def printable(text: str) -> str:
    """Without what could break a file or the reader's sense of direction.

    Control characters, lone surrogates and the invisible marks that reverse or hide text become
    U+FFFD; line ends and tabs stay.
    """
    return "".join(
        "\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t" else c
        for c in text
    )
