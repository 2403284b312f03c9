"""The page: results in, one HTML file out."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from evaluator.analysis.results import Results
from evaluator.atomic_io import write_file
from evaluator.errors import ConfigurationError
from evaluator.records.trial import REFERENCES
from evaluator.report.account import environment, problems
from evaluator.report.bought import bought
from evaluator.report.budgets import budgets
from evaluator.report.canvas import looks
from evaluator.report.classes import classes
from evaluator.report.duels import differences, penalties
from evaluator.report.ledger import ledger
from evaluator.report.parts import Section, Text
from evaluator.report.standing import standing
from evaluator.report.templates import templates_in
from evaluator.report.verdict import verdict
from evaluator.report.views import pipelines_of, views
from evaluator.report.words import counted, printable

if TYPE_CHECKING:
    from evaluator.data.dataset import Splits

TEMPLATE = "page.html.jinja"


def write_page(
    results: Results,
    out: Path,
    *,
    baseline: str,
    splits: "Splits | None",
    folders: Sequence[Path],
) -> Path:
    """Write the page to `out`, whole or not at all, and return its path.

    baseline : the strategy that the others are compared with; "" compares nothing.
    splits : the data set, for what was bought; without it those sections say how to get them.
    folders : where `results` come from, for notes/TRIAL.json and commands.jsonl.

    The same journals give the same file, to the byte. It asks the network for nothing and runs
    no script. Raises ConfigurationError where `splits` are not what the results were made on.
    """
    if splits is not None:
        _refuse_other_data(results, splits)
    page = render_page(results, baseline=baseline, splits=splits, folders=folders)
    write_file(out, page.encode("utf-8", "replace"))
    return out


def render_page(
    results: Results, *, baseline: str, splits: "Splits | None", folders: Sequence[Path]
) -> str:
    """The page as text."""
    templates = templates_in(Path(__file__).parent, _clean)
    templates.filters["breakable"] = _breakable
    return templates.get_template(TEMPLATE).render(
        title=f"{results.dataset}: which labels were worth buying",
        facts=_facts(results),
        sections=_sections(results, baseline, splits, folders),
    )


def _sections(
    results: Results, baseline: str, splits: "Splits | None", folders: Sequence[Path]
) -> list[Section]:
    look_of = looks(results.strategies, REFERENCES)
    seen = views(results, baseline)
    if not seen:
        scored = [Section("leaderboard", "Leaderboard", (Text("Nothing is scored yet."),))]
    else:
        scored = [
            verdict(seen[0], baseline),
            standing(seen, results.pairs, look_of),
            budgets(seen, results.pairs, look_of),
            *([differences(seen, baseline, look_of)] if baseline else []),
            penalties(seen, results.pairs),
            classes(seen, look_of),
        ]
    return [
        *scored,
        bought(results, splits, folders, look_of),
        ledger(results),
        problems(results),
        environment(results, folders),
    ]


def _facts(results: Results) -> str:
    own = [trial for trial in results.trials if trial.strategy not in REFERENCES]
    pipelines = ", ".join(pipelines_of(results)) or "none yet"
    pairs = ", ".join(map(str, results.pairs)) or "none"
    return (
        f"{counted(len(results.strategies), 'strategy', 'strategies')}; budget pairs "
        f"(labels:minutes) {pairs}; {counted(len({trial.seed for trial in own}), 'purchase seed')};"
        f" post-purchase pipelines: {pipelines}."
    )


def _refuse_other_data(results: Results, splits: "Splits") -> None:
    """Raise ConfigurationError unless the rows in the journals can be those of `splits`."""
    purchases = [trial.purchase for trial in results.trials if trial.purchase]
    prints = {record["fingerprint"] for record in purchases if record.get("fingerprint")}
    if prints - {splits.fingerprint}:
        raise ConfigurationError(
            "mixed-results",
            f"The data set in {splits.root} has the fingerprint {splits.fingerprint}, the "
            f"journals were made on {', '.join(sorted(prints))}. Give the --data that was judged "
            "on, or leave it out.",
        )
    size = len(splits.unlabelled)
    largest = max((max(record["purchased"], default=0) for record in purchases), default=0)
    if largest >= size:
        raise ConfigurationError(
            "mixed-results",
            f"The journals of {results.dataset!r} hold image {largest} of the pool, and "
            f"{splits.root} has {size}. Give the --data that was judged on, or leave it out.",
        )


def _kept_together(text: str) -> str:
    """A number and its unit on one line: `95 %`, `n = 5`."""
    return text.replace(" %", "\u00a0%").replace("n = ", "n\u00a0=\u00a0")


def _breakable(name: str) -> Markup:
    """A name that may be broken after its punctuation: `margin:rounds=4,temperature=1.5`."""
    return Markup(re.sub(r"([:,=/_])", r"\1<wbr>", str(escape(printable(name)))))


def _clean(value: object) -> object:
    """Text without control characters; what the template itself wrote stays as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _kept_together(printable(value))
    if isinstance(value, float) and math.isnan(value):
        raise ValueError("A NaN was about to be shown as a number.")
    return value
