"""Whatever a data set, an archive or a journal holds: an answer, or an error that says what."""

import csv
import io
import json
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from evaluator.data.archive import unpack
from evaluator.records.journal import Journal, read_records
from shared.errors import ConfigurationError, DatasetError
from shared.images.label_table import SEPARATORS
from shared.images.layout import SplitFiles, read_split
from tests.fuzz import BOUNDED, FEW, JSON, spoiled, tried

# labels.csv

# Python's csv writes a lone carriage return without quotes and reads it as the end of a line.
PLAIN = st.characters(codec="utf-8", exclude_characters="/\0\r")
NAMES = st.text(PLAIN, min_size=1, max_size=8).map(lambda name: name + ".png")
CELLS = st.sampled_from(
    [
        *("filename", "a.png", "b.png", "x", "", " ", "0", "1", "1.0", "2", "nan", "٣", '"', "\0"),
        *("../a.png", "/a.png", ".", "a" * 300 + ".png", "a/" * 3000, "\ufeff", "a\nb", "a\r"),
    ]
)


@contextmanager
def split_of(names: list[str], table: bytes) -> Iterator[Path]:
    """A split with empty files of these names; the path of its labels.csv."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "images").mkdir()
        for name in names:
            (Path(folder) / "images" / name).touch()
        labels_csv = Path(folder) / "labels.csv"
        labels_csv.write_bytes(table)
        yield labels_csv


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[str], list[list[int]], bytes]:
    """File names, class names, labels, and a labels.csv that says so."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    plain = st.text(PLAIN, min_size=1, max_size=6)
    named = plain.filter(lambda text: text.strip() == text != "filename")
    classes = draw(st.lists(named, min_size=1, max_size=3, unique=True))
    row = st.lists(st.integers(0, 1), min_size=len(classes), max_size=len(classes))
    labels = draw(st.lists(row, min_size=len(names), max_size=len(names)))
    place = draw(st.integers(0, len(classes)))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    end, spell = draw(st.sampled_from(["\n", "\r\n"])), draw(st.sampled_from(["{}", "{}.0", " {}"]))
    separator = draw(st.sampled_from(SEPARATORS))
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting, lineterminator=end, delimiter=separator)
    writer.writerow([*classes[:place], "filename", *classes[place:]])
    for name, values in zip(names, labels, strict=True):
        cells = [spell.format(value) for value in values]
        writer.writerow([*cells[:place], name, *cells[place:]])
    return names, classes, labels, text.getvalue().encode(draw(st.sampled_from(ENCODINGS)))


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]


def is_sound(split: SplitFiles) -> None:
    assert split.labels.shape == (len(split.images), len(split.class_names))
    assert np.isin(split.labels, (0, 1)).all()
    assert len(set(split.images)) == len(split.images)
    assert all(path.is_file() for path in split.images)


@BOUNDED
@given(tables())
def test_a_valid_table_is_read_as_it_was_written(
    table: tuple[list[str], list[str], list[list[int]], bytes],
) -> None:
    names, classes, labels, content = table
    with split_of(names, content) as labels_csv:
        read = read_split("training", labels_csv)
        assert [path.name for path in read.images] == names
        assert list(read.class_names) == classes
        assert read.labels.tolist() == labels


@FEW
@given(tables())
def test_a_table_cut_at_any_byte_is_whole_or_refused(
    table: tuple[list[str], list[str], list[list[int]], bytes],
) -> None:
    names, classes, labels, content = table
    with split_of(names, content) as labels_csv:
        for length in range(len(content)):
            labels_csv.write_bytes(content[:length])
            read, _ = tried(lambda: read_split("training", labels_csv), DatasetError)
            if read:
                assert (list(read.class_names), read.labels.tolist()) == (classes, labels)


@BOUNDED
@given(tables(), st.data())
def test_a_spoiled_table_is_sound_or_refused(
    table: tuple[list[str], list[str], list[list[int]], bytes], data: DataObject
) -> None:
    names, _, _, content = table
    refused_or_sound(names, spoiled(content, data))


@BOUNDED
@given(
    st.sampled_from([["filename", "x"], ["x", "filename"], ["filename"], ["x", " x", "filename"]]),
    st.lists(st.tuples(CELLS, st.sampled_from(["0", "1", "1.0", "2", " "])), max_size=3),
    st.sampled_from([",", ",", ";"]),
)
def test_a_table_of_odd_cells_is_sound_or_refused(
    header: list[str], rows: list[tuple[str, str]], comma: str
) -> None:
    refused_or_sound(["a.png", "b.png"], "\n".join(map(comma.join, [header, *rows])).encode())


@BOUNDED
@given(st.binary(max_size=60))
def test_any_bytes_as_a_table_are_sound_or_refused(content: bytes) -> None:
    refused_or_sound(["a.png"], content)


def refused_or_sound(names: list[str], content: bytes) -> None:
    with split_of(names, content) as labels_csv:
        read, refusal = tried(lambda: read_split("training", labels_csv), DatasetError)
        if read:
            is_sound(read)
        else:
            assert str(labels_csv.parent) in str(refusal)


# Archives

MEMBERS = st.one_of(
    st.sampled_from(["a", "a/b", "./a", ".", "", "..", "../a", "a/../../b", "/a", "a\\b", "a//b"]),
    st.sampled_from(["HERE/escaped", "a" * 300, "a/" * 200 + "b", "C:a", "\udcff", "a\0b", " "]),
    st.text(max_size=6),
)
KINDS = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]


@st.composite
def archives(draw: st.DrawFn) -> tuple[str, list[tuple[str, bytes, str]]]:
    """A kind of archive and its members: name, type, what a link links to."""
    members = st.tuples(MEMBERS, st.sampled_from(KINDS), MEMBERS)
    return draw(st.sampled_from([".tar", ".tar.gz", ".zip"])), draw(st.lists(members, max_size=4))


def packed(kind: str, members: list[tuple[str, bytes, str]]) -> bytes:
    file = io.BytesIO()
    if kind == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name, _, content in members:
                archive.writestr(name.replace("\udcff", "?") or "x", content.replace("\udcff", "?"))
        return file.getvalue()
    with tarfile.open(fileobj=file, mode="w:gz" if kind == ".tar.gz" else "w") as tar:
        for name, member_type, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = member_type, target
            tar.addfile(info)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@BOUNDED
@given(archives(), st.booleans(), st.data())
def test_an_archive_is_unpacked_inside_its_folder_or_not_at_all(
    archive: tuple[str, list[tuple[str, bytes, str]]], whole: bool, data: DataObject
) -> None:
    kind, members = archive
    with tempfile.TemporaryDirectory() as folder:
        arena = Path(folder).resolve()
        named = [(name.replace("HERE", str(arena)), *rest) for name, *rest in members]
        content = packed(kind, named)  # type: ignore[arg-type]
        file = arena / f"training{kind}"
        file.write_bytes(content if whole else spoiled(content, data))
        done, _ = tried(lambda: unpack([file], arena / "out"), DatasetError)
        if not done:
            assert [path.name for path in arena.iterdir()] == [file.name]
            return
        assert sorted(path.name for path in arena.iterdir()) == ["out", file.name]
        assert [path.name for path in (arena / "out").iterdir()] == ["training"]
        for parent, folders, others in os.walk(arena / "out"):
            for name in folders + others:
                lies = os.path.realpath(Path(parent) / name)  # of a link in a circle, too
                assert Path(lies).is_relative_to(arena / "out")


# Journals


def opened(path: Path) -> tuple[list[dict[str, Any]] | None, str]:
    """What a journal holds, or why it is refused, to who looks and to who goes on writing."""
    before = path.read_bytes()
    looked, refusal = tried(lambda: read_records(path), ConfigurationError)
    assert path.read_bytes() == before
    journal, refused = tried(lambda: Journal(path), ConfigurationError)
    assert str(refused) == str(refusal)
    assert json.dumps(journal and journal.records) == json.dumps(looked)
    return looked, str(refusal)


RECORDS: SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.dictionaries(st.text(max_size=6), JSON.filter(lambda value: value == value), max_size=3),
    min_size=1,
    max_size=4,
)


@BOUNDED
@given(records=RECORDS, data=st.data())
def test_a_journal_cut_at_any_byte_loses_its_last_line_and_says_so(
    records: list[dict[str, Any]],
    data: DataObject,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.clear()
    path = tmp_path / "journal.jsonl"
    content = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    length = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:length])
    whole = content[: length + 1].count(b"\n")  # a line that lacks nothing but its end is whole
    assert json.dumps(opened(path)[0]) == json.dumps(records[:whole])
    torn = length > len(b"".join(content.splitlines(keepends=True)[:whole]))
    assert ("dropped a torn last line" in caplog.text) == torn


@BOUNDED
@given(made=RECORDS, data=st.data())
def test_a_journal_with_flipped_bytes_is_read_or_refused_with_its_line(
    made: list[dict[str, Any]], data: DataObject, tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    content = bytearray(b"".join(json.dumps(record).encode() + b"\n" for record in made))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    records, refusal = opened(path)
    if records is not None:
        assert all(isinstance(record, dict) for record in records)
        return
    number = int(refusal.partition("line ")[2].partition(" ")[0])
    assert str(path) in refusal
    assert not is_object(bytes(content).splitlines()[number - 1])


def is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"a":' * 100_000])
def test_a_line_of_brackets_is_refused(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"{}\n" + line + b"\n{}\n")
    assert "line 2 cannot be read" in opened(path)[1]
