"""Does the order of strategies hold when another pipeline is trained on what they bought?

The challenge's final ranking used the mean over five pipelines, because a purchase that helps
one network can be worth nothing to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evaluator.analysis.leaderboard import Row
from evaluator.records.trial import REFERENCES
from shared.formatting import Cells, format_score, text_table

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class RankAgreement:
    """Strategies under every pipeline, best mean first; references and failed ones left out.

    scores, ranks : (strategies, pipelines); rank 1 is best, equal scores share their mean rank.
    """

    scores: DataFrame
    ranks: DataFrame

    @property
    def tau(self) -> DataFrame:
        """(pipelines, pipelines): Kendall's tau-b (1945) of their orders, from SciPy.

        1 the same order, 0 unrelated, -1 reversed. NaN where a pipeline gives every strategy the
        same score and so has no order.
        """
        return self.scores.corr(method="kendall")

    @property
    def least_agreement(self) -> tuple[float, str, str] | None:
        """The lowest tau and its two pipelines; None where no two of them can be compared."""
        tau, names = self.tau.to_numpy(), [str(name) for name in self.scores]
        pairs = [
            (float(tau[i, j]), names[i], names[j])
            for i, j in zip(*np.tril_indices(len(names), k=-1), strict=True)
            if not np.isnan(tau[i, j])
        ]
        return min(pairs, default=None)


def rank_agreement(rows: Sequence[Row]) -> RankAgreement | None:
    """What `rows` say over several pipelines; None below two pipelines or two strategies.

    Each strategy's means are over the purchase seeds that it has complete under all of them.
    """
    from pandas import DataFrame

    pipelines = list(dict.fromkeys(row.pipeline for row in rows))
    by_strategy: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.strategy not in REFERENCES:
            by_strategy.setdefault(row.strategy, {})[row.pipeline] = row
    means = {}
    for strategy, own in by_strategy.items():
        if own.keys() == set(pipelines) and not any(row.failures for row in own.values()):
            by_seed = DataFrame({name: own[name].seed_means for name in pipelines}).dropna()
            if len(by_seed):
                means[strategy] = by_seed.mean()
    if len(pipelines) < 2 or len(means) < 2:
        return None
    scores = DataFrame(means).T
    scores = scores.loc[scores.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    return RankAgreement(scores, scores.rank(ascending=False))


def rank_cells(found: RankAgreement) -> Cells:
    """A line per strategy with its mean over pipelines and its rank in each."""
    lines = []
    ranked = zip(found.scores.iterrows(), found.ranks.to_numpy(), strict=True)
    for (strategy, scores), ranks in ranked:
        placed = zip(scores, ranks, strict=True)
        cells = [f"{format_score(score)} ({rank:g})" for score, rank in placed]
        lines.append([str(strategy), format_score(scores.mean()), *cells, f"{ranks.mean():.2f}"])
    columns = [f"{name} (rank)" for name in found.scores]
    return ["all pipelines", "mean", *columns, "mean rank"], lines


def least_agreement(found: RankAgreement) -> str:
    """One sentence; empty where no two pipelines can be compared."""
    if found.least_agreement is None:
        return ""
    tau, one, other = found.least_agreement
    return (
        f"least agreement between pipelines: Kendall's tau {tau:+.2f}, {one} and {other} (1: the "
        "same order, 0: unrelated, -1: reversed; noise between seeds alone lowers it)"
    )


def render_rank_agreement(found: RankAgreement) -> str:
    """As text, with how far the pipelines agree."""
    return "\n".join(filter(None, (text_table(*rank_cells(found)), least_agreement(found))))
