"""A labelling session: answers, undo, several tabs, and going on after a kill."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from labelling.page.session import LabellingSession
from labelling.pictures import read_labelled
from shared.errors import ConfigurationError

OpenSession = Callable[..., LabellingSession]


def give(
    session: LabellingSession,
    label: tuple[int, ...] | None,
    n: int = 1,
    tab: str = "a",
    **more: str,
) -> list[str]:
    """Answer the next n pictures alike; returns their names."""
    cards = session.hand_out(tab, n)
    rows, whys = [card["row"] for card in cards], [card["why"] for card in cards]
    session.answer(more.get("id", f"{tab}{rows}{label}"), tab, rows, whys, label, 1.0, False)
    return [card["name"] for card in cards]


def table(folder: Path) -> dict[str, tuple[str, ...]]:
    with (folder / "labels.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["filename", "dark", "bright", "striped"]
    return {row[0]: tuple(row[1:]) for row in rows[1:]}


def test_answer_is_a_labelled_folder_that_choose_reads(
    open_session: OpenSession, tmp_path: Path
) -> None:
    session = open_session()
    (one,), (none,), (unsure,) = (give(session, x) for x in [(1, 0, 1), (0, 0, 0), None])
    assert table(tmp_path / "out") == {
        one: ("1", "0", "1"),
        none: ("0", "0", "0"),
        unsure: ("", "", ""),
    }
    labelled = read_labelled([tmp_path / "out"], 32)
    assert [file.name for file in labelled.images.files] == [one, none]
    assert [file.name for file in labelled.pending] == [unsure]


def test_answer_counts_once_under_one_id(open_session: OpenSession, tmp_path: Path) -> None:
    session = open_session()
    for _ in range(2):
        session.answer("id", "a", [3], ["random"], (1, 0, 0), 1.0, False)
    session.answer("id", "a", [4], ["random"], (1, 1, 0), 1.0, False)
    assert session.labels == {3: (1, 0, 0)}
    assert (tmp_path / "out" / "journal.jsonl").read_text().count('"answer"') == 1


def test_later_answer_wins_and_undo_brings_back_the_one_before(open_session: OpenSession) -> None:
    session = open_session()
    session.answer("1", "a", [3, 4], ["random", "random"], (1, 0, 0), 1.0, False)
    session.answer("2", "b", [3], ["again"], (0, 1, 0), 1.0, False)
    assert session.labels == {3: (0, 1, 0), 4: (1, 0, 0)}
    assert [card["row"] for card in session.undo("b")] == [3]
    assert session.labels == {3: (1, 0, 0), 4: (1, 0, 0)}
    assert session.undo("b") == []
    assert [card["row"] for card in session.undo("a")] == [3, 4]
    assert session.labels == {}
    assert session.counts()["remaining"] == 10


def test_open_again_goes_on_with_everything(open_session: OpenSession, tmp_path: Path) -> None:
    session = open_session()
    for label in [(1, 0, 0), (0, 1, 0), None, (0, 0, 0)]:
        give(session, label)
    session.undo("a")
    before, counts = table(tmp_path / "out"), session.counts()
    labels = session.labels
    session.close()
    (tmp_path / "out" / "labels.csv").unlink()  # as if killed before it was written
    again = open_session()
    assert table(tmp_path / "out") == before
    assert again.labels == labels
    assert again.counts() == counts


@pytest.mark.parametrize(
    "changed", [{"class_names": ("dark", "bright")}, {"seed": 1}, {"share": 2}], ids=str
)
def test_open_refuses_another_project(
    changed: dict[str, object], open_session: OpenSession
) -> None:
    open_session().close()
    with pytest.raises(ConfigurationError, match="was begun with") as caught:
        open_session(**changed)
    assert caught.value.code == "other-project"
    open_session().close()  # and lets go of the journal


def test_pool_may_grow_and_shrink_between_sessions(
    open_session: OpenSession, tmp_path: Path
) -> None:
    names = tuple(f"{n:03}.png" for n in range(10))
    first = open_session(names=names[:6])
    given = give(first, (1, 1, 1), 4)
    first.close()
    second = open_session(names=names[3:])
    assert second.counts()["labelled"] == sum(name in names[3:] for name in given)
    assert set(table(tmp_path / "out")) == set(given)


BAD = {
    "no rows": ([], [], (0, 0, 0)),
    "a row twice": ([1, 1], ["random", "random"], (0, 0, 0)),
    "a row past the pool": ([10], ["random"], (0, 0, 0)),
    "a negative row": ([-1], ["random"], (0, 0, 0)),
    "no reason": ([1], [], (0, 0, 0)),
    "a short label": ([1], ["random"], (0, 0)),
    "a label of twos": ([1], ["random"], (0, 0, 2)),
}


@pytest.mark.parametrize("case", BAD)
def test_answer_refuses(case: str, open_session: OpenSession, tmp_path: Path) -> None:
    rows, whys, label = BAD[case]
    session = open_session()
    with pytest.raises(ValueError, match=r"Expected|has \d+"):
        session.answer("id", "a", rows, whys, label, 1.0, False)
    assert session.labels == {}
    assert '"answer"' not in (tmp_path / "out" / "journal.jsonl").read_text()
