"""The journal of label.py: on the disk at once, and read after any kill."""

from pathlib import Path

import pytest

from labelling.page.journal import Journal
from shared.errors import ConfigurationError, DatasetError

FIRST, SECOND = {"kind": "a", "n": 1}, {"kind": "b", "text": "Ü\n\u2028"}


def write(path: Path, *records: dict[str, object]) -> None:
    journal = Journal(path)
    for record in records:
        journal.append(record)
    journal.close()


def test_append_is_read_again(tmp_path: Path) -> None:
    write(tmp_path / "j", FIRST, SECOND)
    assert Journal(tmp_path / "j").records == [FIRST, SECOND]


def test_open_cuts_off_a_torn_last_line_at_any_byte(tmp_path: Path) -> None:
    write(tmp_path / "j", FIRST, SECOND)
    whole = (tmp_path / "j").read_bytes()
    first = whole.index(b"\n") + 1
    for size in range(len(whole) + 1):
        (tmp_path / "j").write_bytes(whole[:size])
        expected = [FIRST] * (size >= first) + [SECOND] * (size == len(whole))
        write(tmp_path / "j", FIRST)  # goes on after the cut
        assert Journal(tmp_path / "j").records == [*expected, FIRST], size


@pytest.mark.parametrize("line", [b"{", b"7", b'{"n": 1}', b"\xff"])
def test_open_names_a_broken_line_and_changes_nothing(line: bytes, tmp_path: Path) -> None:
    content = b'{"kind":"a"}\n' + line + b'\n{"kind":"b"}\n'
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(DatasetError, match="line 2") as caught:
        Journal(tmp_path / "j")
    assert caught.value.code == "labelling-journal-broken"
    assert (tmp_path / "j").read_bytes() == content


def test_open_refuses_a_second_process(tmp_path: Path) -> None:
    first = Journal(tmp_path / "j")
    with pytest.raises(ConfigurationError) as caught:
        Journal(tmp_path / "j")
    assert caught.value.code == "labelling-elsewhere"
    first.close()
    Journal(tmp_path / "j").close()


def test_append_leaves_the_journal_as_it_was_where_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(FIRST)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            journal.append(SECOND)
    journal.append(SECOND)
    journal.close()
    assert Journal(tmp_path / "j").records == [FIRST, SECOND]
