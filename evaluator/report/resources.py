"""What the runs took, what went wrong, where the numbers come from, and how to repeat them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from evaluator.analysis.results import UNFINISHED, Results
from evaluator.records.journal import COMMANDS, Record, read_records
from evaluator.records.trial import PHASES, REFERENCES
from evaluator.report.components import BulletList, Code, Part, Section, Table, Text
from shared.errors import ConfigurationError
from shared.formatting import format_seconds, format_share, pluralise

# Purchases that ended early: they would make a strategy look fast. A time-out used all it had.
UNTIMED = ("over_budget", "out_of_memory", "crashed", "bad_output")


def resource_section(results: Results) -> Section:
    """Seconds and memory per strategy and pair, over seeds."""
    title = "Time and memory"
    table = results.table
    seconds = [f"{phase}_seconds" for phase in PHASES]
    bought = table[(table["trial"] != "") & table["budget"].notna()].drop_duplicates("trial")
    timed = bought[~bought["status"].isin(UNTIMED) & bought[seconds].notna().any(axis=1)]
    if timed.empty:
        return Section("resources", title, (Text("No purchase has been timed yet."),))
    used = timed[seconds[:2]].sum(axis=1) / (60 * timed["minutes"])
    lines = []
    for (strategy, pair), own in timed.assign(used=used).groupby(["strategy", "pair"], sort=False):
        memory = own["peak_memory"].max()
        lines.append(
            (
                str(strategy),
                str(pair),
                *(format_seconds(own[phase].mean()) for phase in seconds),
                format_seconds(60 * own["minutes"].iloc[0]),
                format_share(own["used"].mean()),
                format_share(own["used"].max()),
                f"{memory / 2**30:.2f} GiB" if memory else "",
                str(len(own)),
            )
        )
    return Section(
        "resources",
        title,
        (
            Table(
                "Mean seconds per phase over seeds; share of the compute budget used by "
                "pre-training and purchase together, mean and largest.",
                ("strategy", "pair", "pre-training", "purchase", "prediction", "budget",
                 "used, mean", "used, largest", "peak memory", "seeds"),
                lines,
            ),
            Text(
                "Wall-clock seconds, measured by the evaluator. Past the compute budget a "
                "submission is killed; prediction does not count towards it. Memory is that of the "
                "submission's process tree. Purchases that crashed or broke a rule are left out.",
                "small",
            ),
        ),
    )  # fmt: skip


def failure_section(results: Results) -> Section:
    """Failures with their reasons, warnings, what is unfinished, what was left out."""
    table = results.table
    failed = table[~table["status"].isin(["ok", UNFINISHED])]
    failures = [
        [str(cell) for cell in row]
        for row in failed[["strategy", "pair", "seed", "status", "reason"]]
        .drop_duplicates()
        .itertuples(index=False)
    ]
    warnings: dict[tuple[str, str], list[str]] = {}
    for trial in results.trials:
        for warning in _warnings(trial.purchase or {}):
            purchase = f"{trial.pair or 'any'} seed {trial.seed}"
            warnings.setdefault((trial.strategy, warning), []).append(purchase)
    unfinished = table[table["status"] == UNFINISHED][["strategy", "pair", "seed"]]
    parts: list[Part] = []
    if failures:
        parts.append(
            Table(
                "Failures. A failed pair fails its strategy; its other pairs are still shown.",
                ("strategy", "pair", "seed", "status", "reason"),
                failures,
                words=frozenset({3, 4}),
            )
        )
    else:
        parts.append(Text("No trial failed."))
    if waiting := len(unfinished.drop_duplicates()):
        parts.append(
            Text(
                f"{pluralise(waiting, 'trial')} of {len(results.trials)} unfinished when this page "
                "was made: the numbers are those of complete seeds.",
                "warning",
            )
        )
    if results.notices:
        parts.append(BulletList(tuple(f"Notice: {notice}" for notice in results.notices)))
    if warnings:
        parts.append(
            Table(
                "Warnings about purchases that did not fail.",
                ("strategy", "warning", "purchases"),
                [
                    (strategy, warning, ", ".join(dict.fromkeys(purchases)))
                    for (strategy, warning), purchases in warnings.items()
                ],
                words=frozenset({1, 2}),
            )
        )
    return Section("failures", "Failures and notices", tuple(parts))


def environment_section(results: Results, folders: Sequence[Path]) -> Section:
    """Code, libraries and processors of the records, and the commands to repeat them."""
    bought = [trial.purchase for trial in results.trials if trial.purchase]
    own = [record for record in bought if record["strategy"] not in REFERENCES]
    scored = [record for trial in results.trials for record in trial.scores.values() if record]
    versions = [record.get("versions") or {} for record in (*bought, *scored)]
    rows = [
        ("data set", _values(bought, "dataset")),
        ("data set digest", _values(bought, "fingerprint")),
        ("submission's revision", _values(own, "revision")),
        ("submission's code digest", _values(own, "code")),
        ("evaluator's revision", _values(scored, "revision")),
        ("evaluation conditions", _values(own, "conditions")),
        ("machine of the submission", _values(own, "device")),
        ("device of the trainings", _values(scored, "device")),
        *(
            (name, _values(versions, name))
            for name in dict.fromkeys(n for v in versions for n in v)
        ),
    ]
    parts: list[Part] = [
        Table(
            "Code, libraries and processors as recorded; several values where runs differ.",
            ("what", "value"),
            [(name, value or "not recorded") for name, value in rows],
            words=frozenset({1}),
        )
    ]
    commands = [line for folder in folders for line in _commands(folder)]
    if commands:
        parts += [Text("To repeat it:"), Code("commands of this evaluation", tuple(commands))]
    else:
        parts.append(Text(f"No command is recorded: the folder has no {COMMANDS}."))
    return Section("environment", "Environment and commands", tuple(parts))


def _warnings(purchase: Record) -> Iterator[str]:
    yield from map(str, purchase.get("warnings", ()))
    if refused := purchase.get("refused", 0):
        yield f"{pluralise(refused, 'purchase')} past the budget refused"


def _values(records: Sequence[Record], name: str) -> str:
    """The different values there are, in the order met."""
    return "; ".join(dict.fromkeys(str(record[name]) for record in records if record.get(name)))


def _commands(folder: Path) -> Iterator[str]:
    """Each different command once, as it would be typed."""
    path = folder / COMMANDS
    if not path.is_file():
        return
    try:
        records = read_records(path)
    except ConfigurationError as error:
        yield f"# {error}"
        return
    lines = {}
    for record in records:
        words = record.get("command")
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            threads = record.get("threads")  # another number sums in another order
            prefix = f"OMP_NUM_THREADS={threads} " if isinstance(threads, int) else ""
            lines[prefix + shlex.join(words)] = record.get("started")
        else:
            yield f"# {path}: {json.dumps(record)[:200]} holds no command"
    for line, started in lines.items():
        yield f"{line}  # {started}" if isinstance(started, str) else line
