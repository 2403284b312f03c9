"""What was bought: the section of histograms, order of purchase and contact sheets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluator.analysis.results import Results, TrialResult
from evaluator.report.canvas import Look
from evaluator.report.contact import contact_sheet
from evaluator.report.histogram import Purchases, histogram, rows_of
from evaluator.report.notes import read_notes
from evaluator.report.order import by_round, found_against_bought
from evaluator.report.parts import Fold, Part, Section, Text
from evaluator.report.words import counted

if TYPE_CHECKING:
    from evaluator.data.dataset import Splits

TITLE = "What was bought"
NO_DATA = (
    "Labels and images of what was bought are shown where the data set is at hand: give the "
    "folder that was judged on, python -m evaluator report OUT --data DIR."
)


def bought(
    results: Results, splits: "Splits | None", folders: Sequence[Path], looks: Mapping[str, Look]
) -> Section:
    """Histograms over all strategies, then rounds and images of each."""
    if splits is None:
        return Section("bought", TITLE, (Text(NO_DATA),))
    purchases = _purchases(results)
    if not purchases:
        return Section("bought", TITLE, (Text("Nothing has been bought yet."),))
    labels, class_names = splits.unlabelled.labels, splits.class_names
    parts: list[Part] = [
        *histogram(purchases, labels, class_names, looks),
        found_against_bought(purchases, labels, looks),
    ]
    parts += [_one_strategy(trials[0], splits, folders) for trials in purchases.values()]
    return Section("bought", TITLE, tuple(parts))


def _purchases(results: Results) -> Purchases:
    """By strategy; only what ended well and bought something."""
    found: dict[str, list[TrialResult]] = {}
    for name in results.strategies:
        for trial in results.trials:
            ended_well = trial.purchase is not None and trial.purchase["status"] == "ok"
            if trial.strategy == name and ended_well and rows_of(trial):
                found.setdefault(name, []).append(trial)
    return found


def _one_strategy(trial: TrialResult, splits: "Splits", folders: Sequence[Path]) -> Fold:
    """Rounds and images of one purchase: the first pair and seed that there is."""
    record = trial.purchase or {}
    rows: list[int] = record["purchased"]
    notes, complaint = read_notes(folders, record["trial"], rows, len(splits.class_names))
    parts: list[Part] = []
    if complaint:
        parts.append(Text(f"Notes of the submission: {complaint}", "warning"))
    elif not notes:
        parts.append(Text("The submission left no notes on rounds and probabilities.", "small"))
    parts.append(by_round(rows, splits.unlabelled.labels, splits.class_names, notes))
    parts += contact_sheet(rows, splits, notes)
    return Fold(
        f"{trial.strategy}: rounds and images of one purchase "
        f"({trial.pair}, seed {trial.seed}, {counted(len(rows), 'image')})",
        tuple(parts),
    )
