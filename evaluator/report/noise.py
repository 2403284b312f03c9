"""Where the spread of the differences comes from: purchases or trainings, and what each costs."""

from evaluator.analysis.precision import INTERVAL, caveats, components, table_of
from evaluator.report.parts import Fold, Text, console_table
from evaluator.report.views import View


def noise(view: View, baseline: str) -> list[Fold]:
    """Empty below two purchase seeds."""
    found = components(view.trials, view.rows, view.name, baseline)
    if not found:
        return []
    table = console_table(
        f"Standard deviation of the difference from {baseline} by its source, what one purchase "
        f"seed and one training of it cost, and the best number of trainings, {view.name}.",
        *table_of(found, baseline),
    )
    meaning = Text(
        "More purchase seeds shrink both parts of the spread, more trainings of each purchase only "
        "the second; with one training of each they cannot be told apart. Seconds are for the "
        "strategy and the baseline together, over all pairs. "
        + " ".join((INTERVAL, *caveats(found))),
        "small",
    )
    return [Fold("Where the spread comes from, and what shrinks it", (table, meaning))]
