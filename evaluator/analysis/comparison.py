"""Every strategy against one baseline, seed by seed: who is better, by how much, how sure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from evaluator.analysis.statistics import (
    POINT,
    POWER,
    ROUNDING,
    Interval,
    PairedTest,
    holm,
    paired_test,
)
from evaluator.analysis.text_table import text_table
from evaluator.errors import ConfigurationError

Run = tuple[str, int, int]  # budget pair, purchase seed, training seed
DEFAULT_BASELINE = "random"
WILCOXON = "p (Wilcoxon, Holm)"


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


def choose_baseline(strategies: Sequence[str], asked: str | None = None) -> str:
    """The strategy that the others are compared with: as asked, else `random`, else the first.

    Raises ConfigurationError where it is not among those evaluated.
    """
    if asked is None:
        return DEFAULT_BASELINE if DEFAULT_BASELINE in strategies else strategies[0]
    if asked not in strategies:
        raise ConfigurationError(
            "baseline-absent",
            f"--baseline {asked}: not among the strategies evaluated, which are "
            f"{', '.join(strategies)}. Choose one of them or add it to --strategy.",
        )
    return asked


def seed_means(runs: Mapping[Run, float]) -> dict[int, float]:
    """Mean over pairs and training seeds, per purchase seed; a seed with a NaN is left out.

    The plan gives every pair the same training seeds, so this is also the mean over pairs of the
    mean over training seeds.
    """
    by_seed: dict[int, list[float]] = {}
    for (_, seed, _), score in runs.items():
        by_seed.setdefault(seed, []).append(score)
    means = {seed: math.fsum(scores) / len(scores) for seed, scores in by_seed.items()}
    return {seed: mean for seed, mean in sorted(means.items()) if not math.isnan(mean)}


def compare(runs: Mapping[str, Mapping[Run, float]], baseline: str) -> dict[str, Comparison]:
    """Compare each strategy in `runs` with the baseline over the seeds complete in both.

    Strategies that share no complete seed with it are left out; so is the baseline itself.
    """
    if baseline not in runs:
        return {}
    compared = {
        name: comparison
        for name, theirs in runs.items()
        if name != baseline and (comparison := _compare(theirs, runs[baseline], baseline))
    }
    return _corrected(compared)


def render_comparisons(compared: Mapping[str, Comparison | None], baseline: str) -> str:
    """The comparisons as text, in the order given; None: failed or not finished."""
    known = {name: one for name, one in compared.items() if one}
    absent = [name for name in compared if name not in known]
    parts = []
    if known and max(one.test.n for one in known.values()) < 2:
        parts.append(
            f"against {baseline}, paired: with one seed (n = 1) nothing can be said; "
            "use --seeds 2 or more."
        )
    elif known:
        parts += [_table(known, baseline), _legend(corrected(known.values()))]
    if absent:
        parts.append(
            f"not compared with {baseline} (failed or unfinished, or {baseline} itself is): "
            f"{', '.join(absent)}"
        )
    return "\n".join(parts)


def corrected(compared: Iterable[Comparison]) -> int:
    """For how many comparisons Holm's p is corrected: those of one seed have none."""
    return sum(one.p_t_holm is not None for one in compared)


def spoken_interval(interval: Interval | None, *, signed: bool = False) -> str:
    """`[0.412, 0.437]`, or nothing."""
    number = "+.3f" if signed else ".3f"
    return f"[{interval.low:{number}}, {interval.high:{number}}]" if interval else ""


def _compare(
    ours: Mapping[Run, float], theirs: Mapping[Run, float], baseline: str
) -> Comparison | None:
    a, b = seed_means(ours), seed_means(theirs)
    seeds = [seed for seed in a if seed in b]
    if not seeds:
        return None
    differences = [ours[run] - theirs[run] for run in ours if run[1] in seeds]
    return Comparison(
        baseline,
        paired_test([a[seed] for seed in seeds], [b[seed] for seed in seeds]),
        wins=sum(bool(difference > ROUNDING) for difference in differences),
        losses=sum(bool(difference < -ROUNDING) for difference in differences),
        ties=sum(bool(abs(difference) <= ROUNDING) for difference in differences),
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


def spoken_cells(one: Comparison) -> dict[str, str]:
    """A comparison's cells by the names of their columns; empty where nothing is known."""
    test = one.test
    ties = f" ({one.ties} tied)" if one.ties else ""
    return {
        "difference": f"{test.difference:+.3f}",
        "95 % interval": spoken_interval(test.interval, signed=True),
        "p (t, Holm)": _spoken_p(one.p_t_holm),
        WILCOXON: _spoken_p(one.p_wilcoxon_holm),
        "wins-losses": f"{one.wins}-{one.losses}{ties}",
        "pairing": _spoken_gain(test.pairing_gain),
        "more seeds": _more_seeds(test),
        "n": str(test.n),
    }


def _table(compared: Mapping[str, Comparison], baseline: str) -> str:
    spelled = {name: spoken_cells(one) for name, one in compared.items()}
    # For want of room without Wilcoxon's p, which the report has.
    columns = [column for column in next(iter(spelled.values())) if column != WILCOXON]
    lines = [[name, *(cells[column] for column in columns)] for name, cells in spelled.items()]
    return text_table([f"against {baseline}, paired", *columns], lines)


def _more_seeds(test: PairedTest) -> str:
    """`27 (11 to 310)`: seeds until a difference of POINT shows; nothing with one seed."""
    if test.seeds_still_needed is None or test.seeds_needed_interval is None:
        return ""
    low, high = (max(0, seeds - test.n) for seeds in test.seeds_needed_interval)
    most = f"{high:,}" if high < 1000 else ">999"
    return f"{test.seeds_still_needed:,} ({low:,} to {most})"


def _spoken_gain(gain: float | None) -> str:
    """`2.4x`, or nothing."""
    if gain is None:
        return ""
    return f"{gain:.1f}x" if gain < 100 else ">100x"


def _spoken_p(p: float | None) -> str:
    """`0.031`, or nothing."""
    if p is None:
        return ""
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def _legend(comparisons: int) -> str:
    family = f"; p is corrected for {comparisons} comparisons, the interval is not"
    return "\n".join(
        (
            "n: purchase seeds complete in both; wins-losses: single runs"
            + (family if comparisons > 1 else ""),
            "pairing: variance of the difference with unrelated seeds / with common ones; at few "
            "seeds mostly noise",
            f"more seeds: until a true difference of {POINT:g} shows (p < 0.05 uncorrected, more "
            f"under Holm; {100 * POWER:g} % power), with 95 % interval",
        )
    )
