"""Text for people: what a terminal or a page may show, and numbers in words."""

import unicodedata

NEVER_SHOWN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # Unicode categories


def printable(text: str) -> str:
    """`text` with what a terminal or a page would act on, instead of showing it, as escapes.

    Control characters (`\\x1b`), lone surrogates and the invisible marks that reverse or hide
    text; line ends and tabs stay.
    """
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in NEVER_SHOWN and c not in "\n\t"
        else c
        for c in text
    )


def format_duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
