"""What the fuzzing tests share: how many examples, any JSON, spoiled bytes, calls that may fail.

The examples are the same in every run. `FUZZ_EXAMPLES=5000 python -m pytest tests/test_fuzzing_*`
tries as many new ones per test instead.
"""

import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

T = TypeVar("T")
MORE = os.environ.get("FUZZ_EXAMPLES")
BOUNDED = settings(
    max_examples=int(MORE or 100),
    derandomize=not MORE,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
FEW = settings(BOUNDED, max_examples=int(MORE or 20))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


def tried(action: Callable[[], T], *known: type[Exception]) -> tuple[T | None, Exception | None]:
    """What `action` returns, or how it refuses. Any other exception is a finding."""
    try:
        return action(), None
    except known as error:
        return None, error


def spoiled(content: bytes, data: DataObject) -> bytes:
    """`content` with a few pieces replaced, taken out or put in, then perhaps cut short."""
    for _ in range(data.draw(st.integers(1, 3), "edits")):
        start = data.draw(st.integers(0, len(content)), "at")
        length = data.draw(st.integers(0, 4), "taken out")
        piece = data.draw(st.binary(max_size=4), "put in")
        content = content[:start] + piece + content[start + length :]
    if data.draw(st.booleans(), "cut short"):
        content = content[: data.draw(st.integers(0, len(content)), "length")]
    return content
