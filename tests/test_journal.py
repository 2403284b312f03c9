"""A journal outlives the process that writes it, and never tells a half story."""

import json
from pathlib import Path

import pytest

from evaluator.records.journal import Journal, read_records
from shared.errors import ConfigurationError

RECORDS = [{"n": n, "text": "ünïcode\u2028"} for n in range(3)]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "deep" / "journal.jsonl")
    for record in RECORDS:
        journal.append(record)
    return journal


def test_journal_reads_back_what_it_wrote(journal: Journal) -> None:
    assert Journal(journal.path).records == journal.records == RECORDS


def test_journal_cut_at_any_byte_loses_the_last_line_only(journal: Journal) -> None:
    content = journal.path.read_bytes()
    for cut in range(len(content)):
        journal.path.write_bytes(content[:cut])
        reopened = Journal(journal.path)
        whole = content[: cut + 1].count(b"\n")  # a line that lacks nothing but its end is whole
        assert reopened.records == RECORDS[:whole]
        reopened.append({"n": "next"})
        assert Journal(journal.path).records == [*RECORDS[:whole], {"n": "next"}]


@pytest.mark.parametrize("broken", [b"{", b"[1]", b"\xff\xfe", b"\0", b"[" * 100_000])
def test_journal_refuses_a_broken_line_by_number(broken: bytes, journal: Journal) -> None:
    lines = journal.path.read_bytes().split(b"\n")
    lines[1] = broken
    journal.path.write_bytes(b"\n".join(lines))
    with pytest.raises(ConfigurationError, match=r"journal\.jsonl, line 2 cannot be read"):
        Journal(journal.path)


def test_journal_skips_an_empty_line(journal: Journal) -> None:
    """Somebody took a line out to have a trial made again, and left its end."""
    lines = journal.path.read_bytes().split(b"\n")
    journal.path.write_bytes(b"\n".join([lines[0], b"", b" \r", *lines[2:], b""]))
    assert read_records(journal.path) == Journal(journal.path).records == [RECORDS[0], RECORDS[2]]


def test_journal_all_by_key(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", ("n",))
    for content in "abc":
        journal.append({"n": len(content), "content": content})
    reopened = Journal(journal.path, ("n",))
    for one in (journal, reopened):
        assert [record["content"] for record in one.all(1)] == ["a", "b", "c"]
        assert (one.last(1) or {})["content"] == "c"
        assert list(one.all(2)) == []
        assert one.last(2) is None


BARE = [
    (("n",), ("status",), "it lacks 'status'"),
    (("m",), (), "it lacks 'm'"),
    (("text",), (), "its 'text' is no name and no number"),
]


@pytest.mark.parametrize(("key", "needed", "complaint"), BARE)
def test_journal_and_read_records_refuse_a_missing_field(
    key: tuple[str, ...], needed: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"n": 1, "text": ["list"]}\n')
    for read in (Journal, read_records):
        with pytest.raises(ConfigurationError, match=rf"journal\.jsonl, line 1 .* {complaint}"):
            read(path, key, needed)


def test_journal_last_by_key(journal: Journal) -> None:
    journal.append({"n": 1, "text": "again"})
    reopened = Journal(journal.path, ("n",), ("text",))
    assert [reopened.last(n) for n in range(4)] == [
        RECORDS[0],
        journal.records[3],
        RECORDS[2],
        None,
    ]
    reopened.append({"n": 0, "text": "once more"})
    assert reopened.last(0) == {"n": 0, "text": "once more"}


def test_journal_append_is_on_disk(journal: Journal) -> None:
    assert [json.loads(line) for line in journal.path.open()] == RECORDS
