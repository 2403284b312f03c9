"""Seconds by activity, of code that knows nothing of being timed."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch


class Stopwatch:
    """Seconds by activity; while one runs inside another, the outer one's clock stands still."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def __call__(self, activity: str) -> Iterator[None]:
        self._book()
        self._running.append(activity)
        try:
            yield
        finally:
            self._book()
            self._running.pop()

    def __contains__(self, activity: str) -> bool:
        """Whether `activity` is running, inside others or not."""
        return activity in self._running

    def _book(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def round(self, function: Callable[..., Any], name: Callable[[], str]) -> Callable[..., Any]:
        """`function`, its calls booked under what `name` says when they are made."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            with self(name()):
                return function(*arguments, **keywords)

        return timed
