"""What a check found, and how such findings are shown. Needs the standard library only."""

import argparse
import json
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from shared.console import show_result

CheckStatus = Literal["ok", "warn", "fail"]
LABELS = {"ok": "ok", "warn": "warn", "fail": "FAIL"}
WIDEST = 110  # columns


@dataclass(frozen=True)
class Check:
    """One finding.

    status : "ok"; "warn", the rest works without it; "fail", it has to be fixed first.
    detail : what was found, and what was expected where that is something else.
    fix : what to do about it, best a command to type; every "warn" and "fail" has one.
    """

    name: str
    status: CheckStatus
    detail: str
    fix: str = ""

    def __post_init__(self) -> None:
        if self.status != "ok" and not self.fix:
            raise ValueError(f"Check {self.name!r} is {self.status!r} and says no fix.")


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")


def show(checks: Sequence[Check], *, as_json: bool) -> int:
    """Print every check; returns the exit code, 1 where one failed."""
    show_result(to_json(checks) if as_json else table(checks))
    return exit_code(checks)


def exit_code(checks: Sequence[Check]) -> int:
    return int(any(check.status == "fail" for check in checks))


def to_json(checks: Sequence[Check]) -> str:
    """`{"ok": no check failed, "checks": [{name, status, detail, fix}]}`."""
    found = {"ok": exit_code(checks) == 0, "checks": [asdict(check) for check in checks]}
    return json.dumps(found, indent=2)


def table(checks: Sequence[Check]) -> str:
    """One paragraph per check, its fix below it, and a line that counts them.

    A fix is not broken into lines: it is there to be copied.
    """
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
    names = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        margin = f"{LABELS[check.status]:4}  {check.name:{names}}  "
        for paragraph in check.detail.splitlines() or [""]:
            lines += _wrapped(paragraph, margin, width)
            margin = " " * len(margin)
        for number, line in enumerate(check.fix.splitlines()):
            lines.append(f"{'':{len(margin)}}{'' if number else 'fix:':4} {line}")
    counts = [(sum(check.status == status for check in checks), status) for status in LABELS]
    lines += ["", ", ".join(f"{count} {LABELS[status]}" for count, status in counts if count)]
    return "\n".join(lines)


def _wrapped(paragraph: str, margin: str, width: int) -> list[str]:
    return textwrap.wrap(
        paragraph,
        max(width, len(margin) + 20),
        initial_indent=margin,
        subsequent_indent=" " * len(margin),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [margin.rstrip()]
