"""Whatever the worker sends, the evaluator goes on: a trial that failed, at the worst."""

import contextlib
import json
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evaluator.worker.contract import METHODS, Contract
from evaluator.worker.outcome import (
    Limits,
    Outcome,
    TrialFailedError,
    check_claim,
    check_notes,
    check_predictions,
    read_claim,
)
from evaluator.worker.process_tree import ProcessTree
from evaluator.worker.protocol import HEADER, Channel, ChannelClosedError
from evaluator.worker.runner import _refusal
from evaluator.worker.supervisor import Supervisor
from evaluator.worker.vault import LabelVault
from shared.errors import ZEWDPCRuntimeError
from tests.fuzz import BOUNDED, FEW, JSON, tried

LABELS = np.eye(5, 3, dtype=np.uint8)
KINDS = ["purchase", "progress", "failed", "ready", "done", "", "label"]
KEYS = ["index", "share", "reason", "kinds", "claimed", "notes", "dtype", "shape", "strategies"]
MESSAGES = st.builds(
    lambda kind, rest: {**rest, "type": kind},
    st.sampled_from(KINDS) | JSON,
    st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3),
)


def framed(body: bytes, payload: bytes = b"") -> bytes:
    return HEADER.pack(len(body), len(payload)) + body + payload


def received(stream: bytes, pieces: list[int]) -> tuple[list[Any], Exception]:
    """The frames that come out of a stream sent in pieces, and what ended it."""
    ours, theirs = socket.socketpair()
    frames = []
    with ours, theirs:
        channel = Channel(ours)

        def send() -> None:
            start = 0
            for length in [*pieces, len(stream)]:
                theirs.sendall(stream[start : start + length])
                start += length
            theirs.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            while frame := channel.receive(10):
                frames.append(frame)
        except (ZEWDPCRuntimeError, ChannelClosedError) as error:
            return frames, error
        finally:
            sender.join()
    raise AssertionError("ten seconds without an answer")


@BOUNDED
@given(
    st.lists(st.tuples(MESSAGES, st.binary(max_size=20)), max_size=4), st.lists(st.integers(1, 9))
)
def test_channel_receives_frames_as_sent(
    sent: list[tuple[dict[str, Any], bytes]], pieces: list[int]
) -> None:
    stream = b"".join(framed(json.dumps(body).encode(), payload) for body, payload in sent)
    frames, ended = received(stream, pieces)
    good = next((n for n, (body, _) in enumerate(sent) if not isinstance(body["type"], str)), None)
    expected = sent if good is None else sent[:good]
    assert json.dumps([[body, payload.hex()] for body, payload in frames]) == json.dumps(
        [[body, payload.hex()] for body, payload in expected]
    )
    assert isinstance(ended, ChannelClosedError if good is None else ZEWDPCRuntimeError)


@BOUNDED
@given(st.binary(max_size=60) | st.builds(framed, st.binary(max_size=30), st.binary(max_size=5)))
def test_channel_any_bytes_end_in_a_known_error(stream: bytes) -> None:
    frames, _ = received(stream, [])
    assert all(isinstance(body["type"], str) for body, _ in frames)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"type": "\\ud800"}', b"1" * 5000, b"\xff"])
def test_channel_odd_json(body: bytes) -> None:
    frames, _ = received(framed(body), [])
    assert len(frames) <= 1


@pytest.fixture(scope="module")
def tree() -> Iterator[ProcessTree]:
    """A process that does nothing, for the supervisor to watch."""
    with tempfile.TemporaryFile() as output:
        idle = ProcessTree(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            cwd=Path(tempfile.gettempdir()),
            env={},
            output=output,
            pass_fds=[],
        )
        yield idle
        idle.kill()


def purchase_phase(tree: ProcessTree, messages: list[Any], payload: bytes = b"") -> list[str]:
    """What the supervisor sends to a worker that sends these messages, and how the phase ends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for message in [*messages, {"type": "done"}]:
            theirs.sendall(framed(json.dumps(message).encode(), payload))
        vault = LabelVault(LABELS, 2)
        vault.open = True
        watch = Supervisor(
            tree, Channel(ours), vault, Limits(), Outcome(), lambda phase, share: None
        )
        ended, failed = tried(lambda: watch.run_phase("purchase", 60, {}), TrialFailedError)
        ours.shutdown(socket.SHUT_WR)
        said = [body["type"] for body, _ in until_closed(Channel(theirs))]
    if ended:
        return [*said, ended[0]["type"]]
    assert isinstance(failed, TrialFailedError)
    return [*said, failed.status]


def until_closed(channel: Channel) -> Iterator[tuple[Any, bytes]]:
    with contextlib.suppress(ChannelClosedError):
        while frame := channel.receive(10):
            yield frame


MALFORMED: dict[str, tuple[dict[str, Any], list[str]]] = {
    # case: (what the child sends in the purchase phase, what it is answered and how that ends)
    "kinds that are no list": ({"type": "failed", "kinds": 5, "reason": []}, ["crashed"]),
    "progress past all floats": ({"type": "progress", "share": 10**400}, ["done"]),
    "progress that is no number": ({"type": "progress", "share": "half"}, ["done"]),
    "an index of a thousand digits": (
        {"type": "purchase", "index": 10**1000},
        ["refused", "done"],
    ),
    "no index": ({"type": "purchase"}, ["refused", "done"]),
    "an unknown type": ({"type": "hello"}, ["crashed"]),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_supervisor_malformed_message(case: str, tree: ProcessTree) -> None:
    message, answers = MALFORMED[case]
    assert purchase_phase(tree, [message]) == ["phase", *answers]


@FEW
@given(messages=st.lists(MESSAGES, max_size=4), payload=st.binary(max_size=20))
def test_supervisor_any_messages(
    messages: list[dict[str, Any]], payload: bytes, tree: ProcessTree
) -> None:
    *_, end = purchase_phase(tree, messages, payload)
    assert end in ("done", "crashed", "over_budget", "out_of_memory")


@BOUNDED
@given(MESSAGES)
@example({"type": "failed", "kinds": 5})
def test_refusal_of_any_first_message(message: dict[str, Any]) -> None:
    with tempfile.NamedTemporaryFile() as log:
        refusal = _refusal(Path("run.py"), message, Path(log.name))
    assert str(refusal).startswith("run.py ")


DESCRIBED = st.dictionaries(st.sampled_from(["class_name", "missing", "arg_names"]), JSON)


@BOUNDED
@given(JSON | DESCRIBED)
@example({"missing": 5, "arg_names": 5})
def test_contract_from_any_message(described: Any) -> None:
    contract = Contract.from_message(described)
    assert set(contract.missing) <= set(METHODS)


@BOUNDED
@given(JSON)
def test_vault_any_index(index: Any) -> None:
    vault = LabelVault(LABELS, 2)
    vault.open = True
    try:
        assert vault.purchase(index) == tuple(LABELS[index])
    except ZEWDPCRuntimeError:
        assert vault.purchased == {}


ROWS = st.lists(st.tuples(st.integers(-1, 6) | JSON, JSON, JSON).map(list), max_size=4)


@BOUNDED
@given(JSON | ROWS)
def test_check_notes_any(notes: Any) -> None:
    kept = check_notes(notes, {0: (), 1: ()}, 3) or {}
    assert set(kept) <= {0, 1}
    for note in kept.values():
        assert note["round"] is None or 1 <= note["round"] <= 2
        shares = note["probabilities"]
        assert shares is None or (len(shares) == 3 and all(0 <= share <= 1 for share in shares))


@BOUNDED
@given(JSON | st.lists(st.integers(-2, 6)))
@example([["x"]])
def test_check_claim_any(claimed: Any) -> None:
    assert len(check_claim(read_claim(claimed), {0: (), 1: ()})) <= 1


NAMES = ["bool", "uint8", "int64", "float16", "float64", "complex64", "O", "uint8,(9999,)i8"]


@BOUNDED
@given(
    st.sampled_from(NAMES) | JSON,
    st.just([2, 3]) | JSON,
    st.binary(max_size=8) | st.sampled_from([b"\0\1" * 3, b"\0" * 48, b"\xff" * 12]),
)
def test_check_predictions_any(dtype: Any, shape: Any, payload: bytes) -> None:
    answer = {"dtype": dtype, "shape": shape}
    found, failed = tried(lambda: check_predictions(answer, payload, (2, 3)), TrialFailedError)
    if found is None:
        assert isinstance(failed, TrialFailedError)
        assert failed.status == "bad_output"
    else:
        assert found.shape == (2, 3)
        assert np.isin(found, (0, 1)).all()
