"""One HTML page that says what an evaluation found, how sure that is, and how to repeat it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evaluator.analysis.results import Results
    from evaluator.datasets.dataset import Splits

__all__ = ["write_report"]


def write_report(
    results: "Results",
    out: Path,
    *,
    baseline: str,
    splits: "Splits | None" = None,
    folders: Sequence[Path] = (),
) -> Path:
    """Write the page to `out`, whole or not at all, and return its path.

    baseline : the strategy that the others are compared with; "" compares nothing.
    splits : the data set, for what was bought; without it those sections say how to get them.
    folders : where `results` come from, for notes/TRIAL.json and commands.jsonl.

    The same journals give the same file, to the byte. It asks the network for nothing and runs
    no script. Raises ConfigurationError where `splits` are not what the results were made on.
    """
    # Imported here: Matplotlib and Jinja2 take half a second that other commands need not pay.
    from evaluator.report.page import write_page

    return write_page(results, out, baseline=baseline, splits=splits, folders=folders)
