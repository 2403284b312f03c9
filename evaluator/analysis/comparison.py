"""Every strategy against one baseline, seed by seed: which is better, by how much, how sure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from evaluator.analysis.statistics import POINT, POWER, ROUNDING, PairedTest, holm, paired_test
from shared.errors import ConfigurationError
from shared.formatting import Cells, format_interval, format_p, format_score, text_table

if TYPE_CHECKING:
    from pandas import DataFrame, Series

DEFAULT_BASELINE = "random"
WILCOXON = "p (Wilcoxon, Holm)"
RUN = ["pair", "seed", "training_seed"]


@dataclass(frozen=True)
class Comparison:
    """A strategy against the baseline under one pipeline.

    The test is over purchase seeds; wins, losses and ties count single runs (pair, purchase
    seed, training seed), which are not independent, and only describe.
    """

    baseline: str
    test: PairedTest
    wins: int
    losses: int
    ties: int
    p_t_holm: float | None = None  # corrected for all strategies compared with the baseline
    p_wilcoxon_holm: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The test's fields and these, flat."""
        others = {name: value for name, value in vars(self).items() if name != "test"}
        return {
            **others,
            **asdict(self.test),
            "pairing_gain": self.test.pairing_gain,
            "seeds_still_needed": self.test.seeds_still_needed,
        }


def choose_baseline(strategies: Sequence[str], requested: str | None = None) -> str:
    """The strategy that the others are compared with: as requested, else `random`, else the first.

    Raises ConfigurationError where it is not among those evaluated.
    """
    if requested is None:
        return DEFAULT_BASELINE if DEFAULT_BASELINE in strategies else strategies[0]
    if requested not in strategies:
        raise ConfigurationError(
            "baseline-absent",
            f"--baseline {requested}: not among the strategies evaluated, which are "
            f"{', '.join(strategies)}. Choose one of them or add it to --strategy.",
        )
    return requested


def seed_means(scores: DataFrame, metric: str = "macro_f1") -> Series[float]:
    """Mean over pairs and training seeds, per purchase seed; a seed with a NaN is left out.

    The plan gives every pair the same training seeds, so this is also the mean over pairs of the
    mean over training seeds.
    """
    return scores.groupby("seed")[metric].mean(skipna=False).dropna()


def compare(scores: Mapping[str, DataFrame], baseline: str) -> dict[str, Comparison]:
    """Compare each strategy, by its rows of one pipeline, over the seeds that are complete in both.

    Strategies that share no complete seed with the baseline are left out; so is it itself.
    """
    if baseline not in scores:
        return {}
    compared = {
        name: comparison
        for name, own in scores.items()
        if name != baseline and (comparison := _compare(own, scores[baseline], baseline))
    }
    return _corrected(compared)


def paired_differences(ours: DataFrame, theirs: DataFrame) -> Series[float]:
    """Difference of every run of the seeds that are complete in both, by pair, seed, training."""
    seeds = seed_means(ours).index.intersection(seed_means(theirs).index)
    a, b = (
        scores[scores["seed"].isin(seeds)].set_index(RUN)["macro_f1"] for scores in (ours, theirs)
    )
    return a - b


def render_comparisons(compared: Mapping[str, Comparison | None], baseline: str) -> str:
    """The comparisons as text, in the order given; None: failed or not finished."""
    known = {name: one for name, one in compared.items() if one}
    absent = [name for name in compared if name not in known]
    parts = []
    if known and max(one.test.n for one in known.values()) < 2:
        parts.append(
            f"compared with {baseline}, paired by seed: one seed (n = 1) shows no significance; "
            "use --seeds 2 or more."
        )
    elif known:
        # The console has no room for Wilcoxon's p, which the report shows.
        headers, lines = comparison_cells(known, baseline, without=WILCOXON)
        parts += [text_table(headers, lines), _legend(corrected(known.values()))]
    if absent:
        parts.append(
            f"not compared with {baseline} (failed or unfinished, or {baseline} itself is): "
            f"{', '.join(absent)}"
        )
    return "\n".join(parts)


def comparison_cells(
    compared: Mapping[str, Comparison], baseline: str, without: str | None = None
) -> Cells:
    """A line per strategy; one column may be left out."""
    cells = {name: _cells(one) for name, one in compared.items()}
    columns = [name for name in next(iter(cells.values())) if name != without]
    lines = [[name, *(own[column] for column in columns)] for name, own in cells.items()]
    return [f"compared with {baseline}", *columns], lines


def corrected(compared: Iterable[Comparison]) -> int:
    """For how many comparisons Holm's p is corrected: those of one seed have none."""
    return sum(one.p_t_holm is not None for one in compared)


def _compare(ours: DataFrame, theirs: DataFrame, baseline: str) -> Comparison | None:
    a, b = seed_means(ours).align(seed_means(theirs), join="inner")
    if a.empty:
        return None
    differences = paired_differences(ours, theirs)
    return Comparison(
        baseline,
        paired_test(a, b),
        wins=int((differences > ROUNDING).sum()),
        losses=int((differences < -ROUNDING).sum()),
        ties=int((differences.abs() <= ROUNDING).sum()),
    )


def _corrected(compared: Mapping[str, Comparison]) -> dict[str, Comparison]:
    p_t = _holm_of({name: one.test.p_t for name, one in compared.items()})
    p_wilcoxon = _holm_of({name: one.test.p_wilcoxon for name, one in compared.items()})
    return {
        name: replace(one, p_t_holm=p_t.get(name), p_wilcoxon_holm=p_wilcoxon.get(name))
        for name, one in compared.items()
    }


def _holm_of(p_values: Mapping[str, float | None]) -> dict[str, float]:
    known = {name: p for name, p in p_values.items() if p is not None}
    return dict(zip(known, holm(list(known.values())), strict=True))


def _cells(one: Comparison) -> dict[str, str]:
    test = one.test
    ties = f" ({one.ties} tied)" if one.ties else ""
    return {
        "difference": format_score(test.difference, signed=True),
        "95 % interval": format_interval(test.interval, signed=True),
        "p (t, Holm)": format_p(one.p_t_holm),
        WILCOXON: format_p(one.p_wilcoxon_holm),
        "wins-losses": f"{one.wins}-{one.losses}{ties}",
        "variance reduction": _format_gain(test.pairing_gain),
        "additional seeds needed": _format_seeds_needed(test),
        "n": str(test.n),
    }


def _format_seeds_needed(test: PairedTest) -> str:
    """`27 (11 to 310)`: seeds until a difference of POINT shows; nothing with one seed."""
    if test.seeds_still_needed is None or test.seeds_needed_interval is None:
        return ""
    low, high = (max(0, seeds - test.n) for seeds in test.seeds_needed_interval)
    n, least, most = (
        str(seeds) if seeds < 1000 else ">999" for seeds in (test.seeds_still_needed, low, high)
    )
    return f"{n} ({least} to {most})"


def _format_gain(gain: float | None) -> str:
    """`2.4x`, or nothing."""
    if gain is None:
        return ""
    return f"{gain:.1f}x" if gain < 100 else ">100x"


def _legend(comparisons: int) -> str:
    family = f"; p is corrected for {comparisons} comparisons, the interval is not"
    return "\n".join(
        (
            "n: purchase seeds complete in both; wins-losses: single runs"
            + (family if comparisons > 1 else ""),
            "variance reduction: variance of the difference with unrelated seeds / with common "
            "seeds; mostly noise at few seeds",
            f"additional seeds needed: to detect a true difference of {POINT:g} (p < 0.05, "
            f"uncorrected, {100 * POWER:g} % power), with 95 % interval; more under Holm",
        )
    )
