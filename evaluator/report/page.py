"""The page: results in, one HTML file out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from evaluator.analysis.leaderboard import leaderboards
from evaluator.analysis.results import Results, pipelines_of
from evaluator.records.trial import REFERENCES
from evaluator.report.acquisitions import acquisition_section
from evaluator.report.comparisons import (
    budget_section,
    class_section,
    comparison_section,
    leaderboard_section,
)
from evaluator.report.components import Section, Text
from evaluator.report.figures import assign_styles
from evaluator.report.resources import environment_section, failure_section, resource_section
from evaluator.report.summary import summary
from shared.atomic_io import write_file
from shared.errors import ConfigurationError
from shared.formatting import printable
from shared.html import load_template

if TYPE_CHECKING:
    from evaluator.data.dataset import Splits

TEMPLATE = Path(__file__).with_name("page.html.jinja")


def write_page(
    results: Results,
    out: Path,
    *,
    baseline: str,
    splits: Splits | None,
    folders: Sequence[Path],
) -> Path:
    """Write the page to `out`, whole or not at all, and return its path.

    baseline : the strategy that the others are compared with; "" compares nothing.
    splits : the data set, for what was bought; without it that section says how to get it.
    folders : where `results` come from, for notes/TRIAL.json and commands.jsonl.

    The same journals give the same file, to the byte. It asks the network for nothing and runs
    no script. Raises ConfigurationError where `splits` are not what the results were made on.
    """
    if splits is not None:
        _check_data(results, splits)
    page = render_page(results, baseline=baseline, splits=splits, folders=folders)
    write_file(out, page.encode("utf-8", "replace"))
    return out


def render_page(
    results: Results, *, baseline: str, splits: Splits | None, folders: Sequence[Path]
) -> str:
    """The page as text."""
    return load_template(TEMPLATE, _shown, {"breakable": _breakable}).render(
        title=f"Data purchasing report: {results.dataset}",
        facts=_facts(results),
        sections=_sections(results, baseline, splits, folders),
    )


def _sections(
    results: Results, baseline: str, splits: Splits | None, folders: Sequence[Path]
) -> list[Section]:
    styles = assign_styles(results.strategies)
    boards = leaderboards(results.table, baseline or None)
    sections: list[Section | None] = []
    if boards:
        first = boards[0]
        sections = [
            summary(first, baseline),
            leaderboard_section(boards, results.pairs, baseline, styles),
            comparison_section(first, baseline, styles) if baseline else None,
            budget_section(first, results.pairs, styles),
            class_section(first, styles),
        ]
    else:
        sections.append(Section("leaderboard", "Leaderboard", (Text("Nothing is scored yet."),)))
    sections += [
        acquisition_section(results, splits, folders, styles),
        resource_section(results),
        failure_section(results),
        environment_section(results, folders),
    ]
    return [section for section in sections if section]


def _facts(results: Results) -> list[tuple[str, str]]:
    own = [trial for trial in results.trials if trial.strategy not in REFERENCES]
    return [
        ("Strategies", str(len(results.strategies))),
        ("Budget pairs (labels:minutes)", ", ".join(map(str, results.pairs)) or "none"),
        ("Purchase seeds", str(len({trial.seed for trial in own}))),
        ("Post-purchase pipelines", ", ".join(pipelines_of(results.table)) or "none yet"),
    ]


def _check_data(results: Results, splits: Splits) -> None:
    """Raise ConfigurationError unless the rows in the journals can be those of `splits`."""
    purchases = [trial.purchase for trial in results.trials if trial.purchase]
    digests = {record["fingerprint"] for record in purchases if record.get("fingerprint")}
    if digests - {splits.fingerprint}:
        raise ConfigurationError(
            "mixed-results",
            f"The data set in {splits.root} has the fingerprint {splits.fingerprint}, the "
            f"journals were made on {', '.join(sorted(digests))}. Give the --data that was "
            "evaluated on, or leave it out.",
        )
    size = len(splits.unlabelled)
    largest = max((max(trial.rows, default=0) for trial in results.trials), default=0)
    if largest >= size:
        raise ConfigurationError(
            "mixed-results",
            f"The journals of {results.dataset!r} hold image {largest} of the pool, and "
            f"{splits.root} has {size}. Give the --data that was evaluated on, or leave it out.",
        )


def _kept_together(text: str) -> str:
    """A number and its unit on one line: `95 %`, `n = 5`."""
    return text.replace(" %", "\u00a0%").replace("n = ", "n\u00a0=\u00a0")


def _breakable(name: str) -> Markup:
    """A long name that may be broken after its punctuation: `margin:rounds=4,temperature=1.5`."""
    shown = str(escape(_shown(name)))
    return Markup(re.sub(r"([:,=/_])", r"\1<wbr>", shown) if len(name) > 16 else shown)


def _shown(value: object) -> object:
    """Text without control characters; what the template itself wrote stays as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _kept_together(printable(value))
    if isinstance(value, float) and math.isnan(value):
        raise ValueError("A NaN was about to be shown as a number.")
    return value
