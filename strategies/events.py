"""What a session reports while it works, as values; by default a line of the log each."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LOG = logging.getLogger("buyer")


@dataclass(frozen=True)
class Event:
    """Something that happened: a name such as "fit", and its facts by name, in SI units."""

    name: str
    facts: Mapping[str, Any]

    def __str__(self) -> str:
        facts = (
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in self.facts.items()
        )
        return f"{self.name} | {' '.join(facts)}"


OnEvent = Callable[[Event], None]


def log_event(event: Event) -> None:
    """Log `event` as `name | fact=value fact=value`, at level INFO of the logger "buyer"."""
    LOG.info("%s", event)


class _Print(logging.Handler):
    """Prints to whatever is standard output at the time, at once."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


def print_log_unless_configured() -> None:
    """Show the buyer's log on standard output, unless the program has configured logging."""
    if not LOG.hasHandlers():
        handler = _Print()
        handler.setFormatter(logging.Formatter("%(name)s | %(message)s"))
        LOG.addHandler(handler)
        LOG.setLevel(logging.INFO)
