"""Does the order of strategies hold when another pipeline is trained on what they bought?

The challenge's final ranking used the mean over five pipelines, because a purchase that helps
one network can be worth nothing to another.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evaluator.analysis.comparison import seed_means
from evaluator.analysis.leaderboard import Row
from evaluator.analysis.statistics import kendall_tau
from evaluator.analysis.text_table import Cells, text_table
from evaluator.records.trial import REFERENCES


@dataclass(frozen=True)
class Robustness:
    """Strategies under every pipeline, best mean first; references and failed ones left out.

    scores, ranks : (strategies, pipelines); rank 1 is best, equal scores share their mean rank.
    tau : (pipelines, pipelines), Kendall's tau-b; NaN where a pipeline orders nothing.
    """

    strategies: tuple[str, ...]
    pipelines: tuple[str, ...]
    scores: np.ndarray
    ranks: np.ndarray
    tau: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """(strategies,): the mean over pipelines, the challenge's final score."""
        return np.asarray(self.scores.mean(axis=1))

    @property
    def least_agreement(self) -> tuple[float, str, str] | None:
        """The lowest tau and its two pipelines; None where no two of them can be compared."""
        pairs = [
            (float(self.tau[i, j]), self.pipelines[i], self.pipelines[j])
            for i in range(len(self.pipelines))
            for j in range(i)
            if not math.isnan(self.tau[i, j])
        ]
        return min(pairs, default=None)


def across_pipelines(rows: Sequence[Row]) -> Robustness | None:
    """What `rows` say over several pipelines; None below two pipelines or two strategies.

    Each strategy's means are over the purchase seeds that it has complete under all of them.
    """
    pipelines = tuple(dict.fromkeys(row.pipeline for row in rows))
    names = [name for name in dict.fromkeys(row.strategy for row in rows) if name not in REFERENCES]
    complete = {}
    for name in names:
        own = {row.pipeline: seed_means(row.runs) for row in rows if row.strategy == name}
        failed = any(row.failures for row in rows if row.strategy == name)
        seeds = set.intersection(*(set(own.get(pipeline, {})) for pipeline in pipelines))
        if seeds and not failed:
            complete[name] = [
                statistics.fmean(own[pipeline][seed] for seed in seeds) for pipeline in pipelines
            ]
    if len(pipelines) < 2 or len(complete) < 2:
        return None
    order = sorted(complete, key=lambda name: -statistics.fmean(complete[name]))
    scores = np.array([complete[name] for name in order])
    return Robustness(
        tuple(order),
        pipelines,
        scores,
        stats.rankdata(-scores, axis=0),
        kendall_tau(scores.T),
    )


def ranks_of(found: Robustness) -> Cells:
    """A row per strategy with its mean over pipelines and its rank in each."""
    lines = []
    for row, name in enumerate(found.strategies):
        placed = zip(found.scores[row], found.ranks[row], strict=True)
        cells = [f"{score:.3f} ({rank:g})" for score, rank in placed]
        lines.append([name, f"{found.means[row]:.3f}", *cells, f"{found.ranks[row].mean():.2f}"])
    ranked = [f"{name} (rank)" for name in found.pipelines]
    return ["all pipelines", "mean", *ranked, "mean rank"], lines


def render_robustness(found: Robustness) -> str:
    """As text, with how far the pipelines agree."""
    parts = [text_table(*ranks_of(found))]
    if found.least_agreement:
        tau, one, other = found.least_agreement
        parts.append(
            f"least agreement on the order: Kendall's tau {tau:+.2f}, {one} and {other} "
            "(noise of seeds alone lowers the least of several)"
        )
    return "\n".join(parts)
