"""Where the spread of the differences comes from: purchases or trainings, and what each costs."""

from evaluator.analysis.precision import INTERVAL, caveats, cells, components
from evaluator.report.parts import Fold, Table, Text
from evaluator.report.views import View
from evaluator.report.words import NOTHING, duration


def noise(view: View, baseline: str) -> list[Fold]:
    """Empty below two purchase seeds."""
    found = components(view.trials, view.rows, view.name, baseline)
    if not found:
        return []
    table = Table(
        f"Standard deviation of the difference from {baseline} by its source, what one purchase "
        f"seed and one training of it cost, and the best number of trainings, {view.name}.",
        ("strategy", "sd of purchases", "sd of trainings", "purchase", "training",
         "best trainings", "hours to a standard error of 0.005: one training", "the best"),
        tuple(
            (name, *(cell or NOTHING for cell in cells(one, duration)))
            for name, one in found.items()
        ),
    )  # fmt: skip
    meaning = Text(
        "More purchase seeds shrink both parts of the spread, more trainings of each purchase only "
        "the second; with one training of each they cannot be told apart. Seconds are for the "
        "strategy and the baseline together, over all pairs. "
        + " ".join((INTERVAL, *caveats(found))),
        "small",
    )
    return [Fold("Where the spread comes from, and what shrinks it", (table, meaning))]
