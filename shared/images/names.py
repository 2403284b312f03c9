"""Names in Unicode: which two spellings are one name, and how names that look alike differ."""

import unicodedata
from collections import defaultdict
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
    seen = defaultdict[str, list[str]](list)
    for other in others:
        seen[_as_seen(other)].append(other)
    for name in names:
        for other in seen[_as_seen(name)]:
            yield (
                f"{name!r} and {other!r} look alike and are two names ({code_points(name)}; "
                f"{code_points(other)})"
            )


def look_alikes_among(names: Sequence[str]) -> Iterator[str]:
    """The same of `names`, all of which differ."""
    seen = defaultdict[str, list[str]](list)
    for name in names:
        alike = seen[_as_seen(name)]
        yield from look_alikes(alike[-1:], [name])
        alike.append(name)


def code_points(name: str) -> str:
    """What is in a name where it does not show: an o with a diaeresis of its own as `o U+0308`."""
    shown = (sign if " " < sign < "\x7f" else f" U+{ord(sign):04X} " for sign in name)
    return " ".join("".join(shown).split())


def _as_seen(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    shown = (sign for sign in folded if unicodedata.category(sign) not in ("Cf", "Cc"))
    return " ".join("".join(shown).split())
