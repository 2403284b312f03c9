"""Numbers and names as text."""

import math

import pytest

from shared.formatting import (
    format_interval,
    format_p,
    format_score,
    format_seconds,
    format_seeds,
    format_share,
    join_and,
    pluralise,
    printable,
    shorten,
)

TEXTS = [
    ("plain ✓ ü 95\u00a0%", "plain ✓ ü 95\u00a0%"),
    ("a\nb\tc", "a\nb\tc"),
    ("\x1b[1m\x00", "\\x1b[1m\\x00"),
    ("\ud800\u202ex\u200b\u2028", "\\ud800\\u202ex\\u200b\\u2028"),
]


@pytest.mark.parametrize(("text", "shown"), TEXTS)
def test_printable_escapes_what_a_terminal_or_browser_would_act_on(text: str, shown: str) -> None:
    assert printable(text) == shown


FORMATTED = [
    (format_score(0.79849), "0.798"),
    (format_score(0.1, signed=True), "+0.100"),
    (format_score(math.nan), ""),
    (format_score(None), ""),
    (format_interval((0.4, 0.5)), "[0.400, 0.500]"),
    (format_interval((-0.4, 0.5), signed=True), "[-0.400, +0.500]"),
    (format_interval(None), ""),
    (format_p(0.0314), "0.031"),
    (format_p(0.0004), "<0.001"),
    (format_p(None), ""),
    (format_share(0.815), "82%"),
    (format_share(0.815, digits=1), "81.5%"),
    (format_share(math.nan), ""),
    (format_seconds(1234.5), "1,234 s"),
    (format_seconds(None), ""),
    (format_seeds([0, 1, 2, 3]), "0 to 3"),
    (format_seeds([0, 2, 3]), "0 2 3"),
    (format_seeds([0, 1]), "0 1"),
    (join_and(["a", "b", "c"]), "a, b and c"),
    (join_and(["a"]), "a"),
    (join_and([]), ""),
    (pluralise(1, "seed"), "1 seed"),
    (pluralise(2000, "strategy", "strategies"), "2,000 strategies"),
    (shorten("abcdefghij", 10), "abcdefghij"),
    (shorten("abcdefghijk", 10), "abcdef…ijk"),
]


@pytest.mark.parametrize(("text", "expected"), FORMATTED)
def test_format(text: str, expected: str) -> None:
    assert text == expected
