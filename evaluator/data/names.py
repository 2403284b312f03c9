"""Names in Unicode: which two spellings are one name, and how names that look alike differ."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence


def canonical(name: str) -> str:
    """The one form of all canonically equivalent spellings (NFC).

    An é is one sign or an e and an accent, as a Mac writes it. Signs that merely look alike, such
    as a ligature and its letters or the micro sign and a mu, stay different names.
    """
    return unicodedata.normalize("NFC", name)


def forms_in_words(names: Iterable[str]) -> str:
    """How names that look the same differ; empty where none do."""
    different = dict.fromkeys(names)
    if len(different) == len({*map(canonical, different)}):
        return ""
    return f" (in several Unicode forms: {'; '.join(map(code_points, different))})"


def look_alikes(names: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    """In words, each two that a person may take for one: by case, width, or what does not show."""
    for one in names:
        for other in others:
            if one != other and _as_seen(one) == _as_seen(other):
                yield (
                    f"{one!r} and {other!r} look alike and are two names ({code_points(one)}; "
                    f"{code_points(other)})"
                )


def look_alikes_among(names: Sequence[str]) -> Iterator[str]:
    """The same of any two of `names`."""
    for number, name in enumerate(names):
        yield from look_alikes([name], names[number + 1 :])


def code_points(name: str) -> str:
    """`s\N{COMBINING DIAERESIS}` as `s U+0308`: what is in a name, where it does not show."""
    shown = (sign if " " < sign < "\x7f" else f" U+{ord(sign):04X} " for sign in name)
    return " ".join("".join(shown).split())


def _as_seen(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(sign for sign in folded if unicodedata.category(sign) not in ("Cf", "Zs", "Cc"))
