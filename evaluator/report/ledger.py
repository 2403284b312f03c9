"""What each purchase took: seconds per phase against the compute budget, and memory."""

import math
import statistics
from collections.abc import Mapping, Sequence

from evaluator.analysis.results import Results
from evaluator.records.journal import Record
from evaluator.records.trial import PHASES, Pair
from evaluator.report.canvas import drawn, label
from evaluator.report.charts import draw_shares
from evaluator.report.parts import Part, Picture, Section, Table, Text
from evaluator.report.words import NOTHING, duration, share

PAID = PHASES[:2]  # what the compute budget covers
TIMED = ("ok", "timeout")  # what crashed early would make the rest look quick
Purchases = Mapping[tuple[str, Pair], Sequence[Record]]


def ledger(results: Results) -> Section:
    """Per strategy and pair, the mean over seeds, and the worst of them."""
    title = "Time and memory"
    purchases = _purchases(results)
    if not purchases:
        return Section("time", title, (Text("No purchase has been timed yet."),))
    parts: list[Part] = [_picture(purchases), _table(purchases)]
    parts.append(
        Text(
            "Seconds are the judge's own clock. Pre-training and purchase share the compute "
            "budget; prediction has no share in it. Memory is that of the submission's whole "
            "family of processes. Purchases that crashed or broke a rule are left out.",
            "small",
        )
    )
    return Section("time", title, tuple(parts))


def _purchases(results: Results) -> Purchases:
    found: dict[tuple[str, Pair], list[Record]] = {}
    for strategy in results.strategies:
        for trial in results.trials:
            record = trial.purchase
            if trial.strategy != strategy or not trial.pair or not record:
                continue
            if record["seconds"] and record["status"] in TIMED:
                found.setdefault((strategy, trial.pair), []).append(record)
    return found


def _picture(purchases: Purchases) -> Picture:
    names = [f"{label(strategy, 20)} {pair}" for strategy, pair in purchases]
    phases = {
        phase.replace("_", "-"): [
            statistics.fmean(_share(record, (phase,)) for record in records)
            for records in purchases.values()
        ]
        for phase in PAID
    }
    most = [max(_share(record, PAID) for record in records) for records in purchases.values()]
    spelled = "; ".join(
        f"{name} {sum(values):.0%}, at most {largest:.0%}"
        for name, largest, *values in zip(names, most, *phases.values(), strict=True)
    )
    return drawn(
        lambda axes: draw_shares(
            axes, names, phases, most, title="share of the compute budget, mean over seeds"
        ),
        height=1.3 + 0.3 * len(names),
        alt=f"Share of the compute budget used: {spelled}.",
        caption="Strategy and pair (labels:minutes). Past the dashed line a submission is killed.",
    )


def _table(purchases: Purchases) -> Table:
    return Table(
        "Seconds per phase, mean over seeds; used is pre-training and purchase over the compute "
        "budget.",
        ("strategy", "pair", "pre-training", "purchase", "prediction", "budget", "used, mean",
         "used, most", "peak memory, most", "seeds"),
        tuple(_line(strategy, pair, records) for (strategy, pair), records in purchases.items()),
    )  # fmt: skip


def _line(strategy: str, pair: Pair, records: Sequence[Record]) -> tuple[str, ...]:
    used = [_share(record, PAID) for record in records]
    memory = max(record.get("peak_memory", 0) for record in records)
    return (
        strategy,
        str(pair),
        *(duration(_mean(records, phase)) for phase in PHASES),
        duration(pair.minutes * 60),
        share(statistics.fmean(used)),
        share(max(used)),
        f"{memory / 2**30:.2f} GiB" if memory else NOTHING,
        str(len(records)),
    )


def _mean(records: Sequence[Record], phase: str) -> float:
    """Over those that reached the phase; NaN if none did."""
    met = [record["seconds"][phase] for record in records if phase in record["seconds"]]
    return statistics.fmean(met) if met else math.nan


def _share(record: Record, phases: Sequence[str]) -> float:
    spent: float = sum(record["seconds"].get(phase, 0.0) for phase in phases)
    minutes: float = record["minutes"]
    return spent / (60 * minutes)
