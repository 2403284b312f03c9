"""In what order it was bought: positive labels found against labels paid for, and by round."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from evaluator.analysis.results import TrialResult
from evaluator.report.canvas import Look, drawn
from evaluator.report.charts import Curve, draw_curves
from evaluator.report.histogram import NO_CLASS, POOL, POOL_LOOK, Labels, Purchases, rows_of
from evaluator.report.parts import Picture, Table
from evaluator.worker.outcome import Notes

PARTS = 5  # of a purchase whose rounds are not known, or too many to show
MOST_ROUNDS = 15
POINTS = 60  # of a curve


def found_against_bought(
    purchases: Purchases, labels: Labels, looks: Mapping[str, Look]
) -> Picture:
    """Positive labels found so far, for each strategy's largest budget, mean over seeds."""
    per_image = labels.sum(axis=1)  # (pool,)
    curves = []
    for name, trials in purchases.items():
        found = _cumulative(trials, per_image)
        x = np.unique(np.linspace(1, len(found), POINTS).astype(np.int64))
        curves.append(Curve(name, x.tolist(), found[x - 1].tolist(), looks[name]))
    longest = max(curve.x[-1] for curve in curves)
    rate = float(per_image.mean())
    chance = Curve(POOL, [1, longest], [rate, rate * longest], POOL_LOOK, marks=False)
    spelled = "; ".join(f"{one.name} {one.y[-1]:,.0f} with {one.x[-1]:,}" for one in curves)
    return drawn(
        lambda axes: draw_curves(
            axes, [*curves, chance], {}, across="labels bought", up="positive labels found"
        ),
        height=4.0,
        alt=f"Positive labels found against labels bought, at the end: {spelled}; drawing from "
        f"the pool at random finds {rate:.2f} for each.",
        caption="Each strategy's largest budget, in its order of purchase, mean over seeds. "
        f"Solid black: what drawing from {POOL} at random finds on average.",
    )


def by_round(
    rows: Sequence[int], labels: Labels, class_names: Sequence[str], notes: Notes
) -> Table:
    """Images per class and round of one purchase; without notes, by parts of its order."""
    rounds = {row: note["round"] for row, note in notes.items() if note["round"]}
    groups: dict[str, list[int]] = {}
    if rounds and len(set(rounds.values())) <= MOST_ROUNDS:
        what = "round"
        for number in sorted(set(rounds.values())):
            groups[str(number)] = [row for row in rows if rounds.get(row) == number]
        if unknown := [row for row in rows if row not in rounds]:
            groups["not noted"] = unknown
    else:
        what = "order"
        ends = np.linspace(0, len(rows), min(PARTS, len(rows)) + 1).astype(int)
        for start, end in pairwise(ends.tolist()):
            groups[f"{start + 1:,} to {end:,}"] = list(rows[start:end])
    return Table(
        f"Bought images that show each class, by {what}"
        + (" of purchase." if what == "order" else ", with their share of the round."),
        (what, "images", *class_names, NO_CLASS),
        tuple((name, f"{len(own):,}", *_counts(labels[own])) for name, own in groups.items()),
    )


def _cumulative(trials: Sequence[TrialResult], per_image: Labels) -> Labels:
    """Mean over the seeds of the largest pair, as far as all of them go."""
    largest = max(trial.pair for trial in trials if trial.pair)
    rows = [rows_of(trial) for trial in trials if trial.pair == largest]
    shortest = min(map(len, rows))
    mean: Labels = np.mean([per_image[own[:shortest]].cumsum() for own in rows], axis=0)
    return mean


def _counts(labels: Labels) -> list[str]:
    counts = [*labels.sum(axis=0).tolist(), int((labels.sum(axis=1) == 0).sum())]
    return [f"{count:,} ({count / len(labels):.0%})" for count in counts]
