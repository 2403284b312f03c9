"""The selection session: what it selects, by what, and what stays open."""

import logging
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from models.settings import LearnerSettings
from strategies.events import Event, log_event, print_log_unless_configured
from strategies.image_sets import UnlabelledPool
from strategies.registry import parse_strategy
from strategies.session import Session
from tests.test_run import Sheets, train

SETTINGS = LearnerSettings(device="cpu", batch_size=16, members=2, threads=1)


def opened(strategy: str, n_pool: int = 80, **how: object) -> Session:
    pool = Sheets(n_pool, 1, labelled=False)
    return Session.open(train(), pool, SETTINGS, parse_strategy(strategy), 0, **how)


def fitted(strategy: str, n_pool: int = 80, **how: object) -> Session:
    session = opened(strategy, n_pool, **how)
    session.fit(1)
    return session


def labels_of(session: Session, idx: torch.Tensor) -> list[np.ndarray]:
    labels = Sheets(len(session.pool), 1, labelled=True)._labels
    return [labels[(5000 - one) // 2] for one in idx.tolist()]


@pytest.mark.parametrize(
    ("strategy", "views"),
    [
        ("winner", {"probabilities"}),
        ("bald", {"committee"}),
        ("badge", {"probabilities", "embeddings"}),
        ("typiclust", {"embeddings", "labelled_embeddings"}),
        ("random", set()),
    ],
)
def test_select_names_the_views_that_the_strategy_used(strategy: str, views: set[str]) -> None:
    selection = fitted(strategy).select(3)
    assert selection.views_used == views
    assert selection.by == "strategy"
    assert len(selection.idx.unique()) == 3
    assert set(selection.probabilities) == (set(selection.idx.tolist()) if views else set())


@pytest.mark.parametrize(
    ("n_labelled", "look", "expired", "k", "by"),
    [
        (1, None, False, 6, "strategy"),
        (1, 30, False, 6, "strategy"),
        (0, None, False, 6, "random"),  # never fitted
        (1, None, True, 6, "random"),
        (1, 6, False, 6, "random"),  # drawn at random, and nothing to choose among
        (1, 30, False, 40, "random"),
        (1, None, False, 80, "all"),
        (0, None, False, 80, "all"),
    ],
)
def test_select_says_by_what_it_selected(
    n_labelled: int, look: int | None, expired: bool, k: int, by: str
) -> None:
    session = fitted("entropy") if n_labelled else opened("entropy")
    deadline = time.monotonic() - 1 if expired else None
    if expired:
        session.read_pool()
    selection = session.select(k, look=look, deadline=deadline)
    assert selection.by == by
    assert len(selection.idx.unique()) == k


def test_select_without_time_takes_the_most_uncertain_of_the_last_look() -> None:
    session = fitted("entropy")
    first = session.select(5)
    session.add(first, labels_of(session, first.idx))
    late = session.select(5, look=0, deadline=time.monotonic() - 1, k_without_strategy=9)
    assert (late.by, late.round) == ("last look", 2)
    again = fitted("entropy").select(14)
    assert torch.equal(torch.cat([first.idx, late.idx]), again.idx)


def test_select_prefers_read_images_and_reads_others_only_to_fill_up() -> None:
    session = opened("entropy")
    session.labelled.seconds_per_image = 1.0
    session.pool._clock = lambda: 0.0
    session.pool.read(4 * 30, 0.25, 1.0, 0)  # a quarter of the time is for reading: 30 images
    assert session.pool.n_read == 30
    session.fit(1)
    selection = session.select(40)
    assert selection.by == "random"
    assert len(selection.probabilities) == 30
    assert len(selection.idx.unique()) == 40
    session.add(selection, labels_of(session, selection.idx))
    assert len(session.labelled) == 80
    assert int(session.pool.available.sum()) == 40
    expected = Sheets(80, 1, labelled=True)
    for row, idx in enumerate(selection.idx.tolist(), start=40):
        image = torch.from_numpy(expected._images[(5000 - idx) // 2]).permute(2, 0, 1)
        assert torch.equal(session.labelled.inputs[row], image)


@pytest.mark.parametrize("strategy", ["entropy", "random"])
def test_add_leaves_images_without_a_label_in_the_pool(strategy: str) -> None:
    session = fitted(strategy)
    first = session.select(6)
    labels = [label if n % 2 else None for n, label in enumerate(labels_of(session, first.idx))]
    session.add(first, labels)
    assert len(session.labelled) == 43
    assert int(session.pool.available.sum()) == 77
    assert not session.is_fitted
    rest = session.select(77)
    assert set(rest.idx.tolist()).isdisjoint(first.idx[1::2].tolist())
    assert set(first.idx[::2].tolist()) <= set(rest.idx.tolist())
    session.add(rest, [None] * 77)
    assert len(session.labelled) == 43


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([[1, 0, 0]], "3 images were selected, and 1 labels came"),
        ([[1, 0], [1, 0], None], "A label of 2 classes came; expected 3"),
        ([[1, 0, 0], [1, 0, 2], None], "image .* has the label .*2.0.*; expected one 0 or 1"),
    ],
)
def test_add_refuses_what_are_no_labels(labels: list[object], words: str) -> None:
    session = fitted("random")
    selection = session.select(3)
    with pytest.raises(ValueError, match=words):
        session.add(selection, labels)
    assert int(session.pool.available.sum()) == 80


def test_add_refuses_a_selection_that_was_labelled_already() -> None:
    session = fitted("random")
    selection = session.select(3)
    session.add(selection, labels_of(session, selection.idx))
    with pytest.raises(ValueError, match="labelled already"):
        session.add(selection, labels_of(session, selection.idx))


@pytest.mark.parametrize("k", [-1, 81])
def test_select_refuses_more_than_there_are(k: int) -> None:
    with pytest.raises(ValueError, match=f"Cannot select {k} of 80"):
        opened("random").select(k)


def test_select_needs_a_pool() -> None:
    session = Session.open(train(), None, SETTINGS, parse_strategy("random"), 0)
    with pytest.raises(RuntimeError, match="open_pool"):
        session.select(1)


def test_pool_refuses_two_images_of_one_idx() -> None:
    class Twice(Sheets):
        def index(self, position: int) -> int:
            return super().index(position // 2)

    pool = UnlabelledPool(Twice(10, 1, labelled=False), 24, threads=1)
    with pytest.raises(ValueError, match="same idx"):
        pool.read(float("inf"), 0.25, 0.0, 0)
    pool.load(torch.tensor([0]))
    with pytest.raises(ValueError, match="same idx"):
        pool.load(torch.tensor([1]))


def test_pool_is_read_once() -> None:
    session = opened("entropy")
    session.read_pool()
    with pytest.raises(RuntimeError, match="read before"):
        session.read_pool()


def test_events_tell_what_was_done_in_how_many_seconds() -> None:
    events: list[Event] = []
    session = fitted("uherding", on_event=events.append)
    session.select(5)
    names = [event.name for event in events]
    assert names == ["read", "fit", "pool", "look", "look_at_labelled", "choice"]
    assert all(event.facts["seconds"] >= 0 for event in events)


def test_log_event_logs_one_line_of_facts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "buyer")
    log_event(Event("fit", {"epochs": 3.0, "images": 40}))
    assert caplog.record_tuples == [("buyer", logging.INFO, "fit | epochs=3 images=40")]


def test_log_is_printed_once_unless_the_program_has_configured_logging(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("buyer")
    print_log_unless_configured()
    assert logger.handlers == []  # pytest has
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    try:
        print_log_unless_configured()
        print_log_unless_configured()
        log_event(Event("fit", {"epochs": 3.0}))
        assert capsys.readouterr().out == "buyer | fit | epochs=3\n"
    finally:
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)


def test_session_selects_what_the_submission_buys(tmp_path: Path) -> None:
    """One and the same session behind `run.py` and `choose.py`."""
    from run import ZEWDPCRun
    from tests.test_run import config, pool

    submission = ZEWDPCRun("entropy:rounds=1", 0, config(tmp_path))
    bought = pool(80, 12)
    submission.pre_training_phase(train(), 600)
    submission.purchase_phase(bought, train(), 12, 600)
    settings = LearnerSettings(device="cpu", batch_size=16, members=2)
    pool_ = Sheets(80, 1, labelled=False)
    session = Session.open(train(), pool_, settings, parse_strategy("entropy"), 0)
    session.fit(3)
    assert session.select(12).idx.tolist() == bought.sold
