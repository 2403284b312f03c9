"""A journal outlives the process that writes it, and never tells a half story."""

import json
from pathlib import Path

import pytest

from evaluator.errors import ConfigurationError
from evaluator.grid.journal import Journal

RECORDS = [{"n": n, "text": "ünïcode\u2028"} for n in range(3)]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "deep" / "journal.jsonl")
    for record in RECORDS:
        journal.append(record)
    return journal


def test_read_back_as_written(journal: Journal) -> None:
    assert Journal(journal.path).records == journal.records == RECORDS


def test_cut_at_any_byte_loses_at_most_the_last_line(journal: Journal) -> None:
    content = journal.path.read_bytes()
    for cut in range(len(content)):
        journal.path.write_bytes(content[:cut])
        reopened = Journal(journal.path)
        whole = content[:cut].count(b"\n")
        assert reopened.records == RECORDS[:whole]
        reopened.append({"n": "next"})
        assert Journal(journal.path).records == [*RECORDS[:whole], {"n": "next"}]


@pytest.mark.parametrize("broken", [b"{", b"[1]", b"\xff\xfe", b"", b"[" * 100_000])
def test_a_broken_line_before_the_last_is_refused_with_its_number(
    broken: bytes, journal: Journal
) -> None:
    lines = journal.path.read_bytes().split(b"\n")
    lines[1] = broken
    journal.path.write_bytes(b"\n".join(lines))
    with pytest.raises(ConfigurationError, match=r"journal\.jsonl, line 2 cannot be read"):
        Journal(journal.path)


def test_a_record_is_on_disk_when_append_returns(journal: Journal) -> None:
    assert [json.loads(line) for line in journal.path.open()] == RECORDS
