"""Which labels were bought, against the pool and against `random`."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evaluator.analysis.comparison import DEFAULT_BASELINE
from evaluator.analysis.results import TrialResult
from evaluator.report.canvas import Look
from evaluator.report.charts import Series
from evaluator.report.groups import by_group
from evaluator.report.parts import Part, Table
from evaluator.report.words import NOTHING

Purchases = Mapping[str, Sequence[TrialResult]]  # by strategy, one or more each
Labels = NDArray[np.integer]  # (pool, C), 0/1
NO_CLASS = "no class"
POOL = "the pool"
POOL_LOOK = Look("#000000", "x", "-")


def histogram(
    purchases: Purchases, labels: Labels, class_names: Sequence[str], looks: Mapping[str, Look]
) -> list[Part]:
    """Share of the bought images that show each class: a drawing and a table."""
    groups = (*class_names, NO_CLASS)
    shares = {
        name: np.mean([_shares(labels[rows_of(trial)]) for trial in trials], axis=0)
        for name, trials in purchases.items()
    }
    shares[POOL] = _shares(labels)
    series = [
        Series(name, [float(x) for x in row], looks.get(name, POOL_LOOK))
        for name, row in shares.items()
    ]
    picture = by_group(
        groups,
        series,
        title="share of images that show it",
        percent=True,
        what="Share of images that show each class",
        caption="Mean over pairs and seeds. An image can show several classes; "
        f"“{NO_CLASS}” are those that show none.",
    )
    return [picture, _table(purchases, shares, groups)]


def rows_of(trial: TrialResult) -> list[int]:
    """Rows of the pool that a trial bought, in the order bought."""
    rows: list[int] = (trial.purchase or {}).get("purchased", [])
    return rows


def _shares(labels: Labels) -> NDArray[np.float64]:
    """(N, C) -> (C + 1,): each class's share, then that of images with no class."""
    return np.append(labels.mean(axis=0), (labels.sum(axis=1) == 0).mean())


def _table(
    purchases: Purchases, shares: Mapping[str, NDArray[np.float64]], groups: Sequence[str]
) -> Table:
    per_image = {name: float(row[:-1].sum()) for name, row in shares.items()}
    chance = per_image.get(DEFAULT_BASELINE)
    return Table(
        "Share of images that show each class, and positive labels per image: as they are, over "
        f"the pool's, and over those that {DEFAULT_BASELINE} bought.",
        ("bought by", *groups, "labels per image", "× pool", f"× {DEFAULT_BASELINE}", "purchases"),
        tuple(
            (
                name,
                *(f"{value:.1%}" for value in row),
                f"{per_image[name]:.2f}",
                _times(per_image[name], per_image[POOL]),
                _times(per_image[name], chance),
                str(len(purchases[name])) if name in purchases else NOTHING,
            )
            for name, row in shares.items()
        ),
    )


def _times(value: float, reference: float | None) -> str:
    return f"{value / reference:.2f}" if reference else NOTHING
