"""What went wrong, where the numbers come from, and how to have them again."""

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from evaluator.analysis.results import Results, TrialResult
from evaluator.errors import ConfigurationError
from evaluator.records.journal import COMMANDS, Record, read_records
from evaluator.records.trial import REFERENCES
from evaluator.report.parts import Code, Items, Part, Section, Table, Text
from evaluator.report.words import NOTHING, counted


def problems(results: Results) -> Section:
    """Failures with their reasons, warnings, what is unfinished, what was left out."""
    failures = [line for trial in results.trials for line in _failures(trial)]
    warnings = [line for trial in results.trials for line in _warnings(trial)]
    parts: list[Part] = []
    if failures:
        parts.append(
            Table(
                "What failed. A failed pair fails its strategy; its other pairs are shown.",
                ("strategy", "pair", "seed", "step", "what", "reason"),
                tuple(failures),
                words=frozenset({3, 4, 5}),
            )
        )
    else:
        parts.append(Text("No trial failed."))
    if waiting := sum(_unfinished(trial) for trial in results.trials):
        parts.append(
            Text(
                f"{counted(waiting, 'trial')} of {len(results.trials)} not finished when this "
                "page was made: the numbers are those of the seeds that are complete.",
                "warning",
            )
        )
    if results.notices:
        parts.append(Items(tuple(f"Notice: {notice}" for notice in results.notices)))
    if warnings:
        parts.append(
            Table(
                "What the judge noticed in purchases that did not fail for it.",
                ("strategy", "pair", "seed", "warning"),
                tuple(warnings),
                words=frozenset({3}),
            )
        )
    return Section("problems", "Failures and notices", tuple(parts))


def environment(results: Results, folders: Sequence[Path]) -> Section:
    """Code, libraries and processors of the records, and the commands to repeat them."""
    bought = [trial.purchase for trial in results.trials if trial.purchase]
    made = [record for trial in results.trials for record in trial.scores.values() if record]
    rows = [
        ("data set", _values(bought, "dataset")),
        ("fingerprint of the data", _values(bought, "fingerprint")),
        ("revision of the submission", _values(_own(bought), "revision")),
        ("fingerprint of its code", _values(_own(bought), "code")),
        ("revision of the judge", _values(made, "revision")),
        ("conditions", _values(_own(bought), "conditions")),
        ("machine of the submission", _values(_own(bought), "device")),
        ("device of the trainings", _values(made, "device")),
        *((name, _values(found, name)) for name, found in _versions([*bought, *made]).items()),
    ]
    parts: list[Part] = [
        Table(
            "What the journals say of code, libraries and processors; several values where runs "
            "differ.",
            ("what", "value"),
            tuple((name, value or f"{NOTHING} (not written down)") for name, value in rows),
            words=frozenset({1}),
        )
    ]
    commands = [line for folder in folders for line in _commands(folder)]
    if commands:
        parts += [Text("To repeat it:"), Code("commands that made these journals", tuple(commands))]
    else:
        parts.append(
            Text(
                "The journals do not say which command made them; later ones do, in "
                f"{COMMANDS} beside them."
            )
        )
    return Section("environment", "Environment and commands", tuple(parts))


def _failures(trial: TrialResult) -> Iterator[tuple[str, ...]]:
    who = (trial.strategy, str(trial.pair or "any"), str(trial.seed))
    record = trial.purchase
    if record and record["status"] != "ok":
        reason = str(record.get("reason") or "no reason was written down")
        yield (*who, "purchase", str(record["status"]), reason)
    for (pipeline, seed), score in trial.scores.items():
        if score and score["macro_f1"] is None:
            reason = str(score.get("reason") or "no reason was written down")
            yield (*who, f"training {pipeline}, seed {seed}", str(score["status"]), reason)


def _warnings(trial: TrialResult) -> Iterator[tuple[str, ...]]:
    who = (trial.strategy, str(trial.pair or "any"), str(trial.seed))
    record = trial.purchase or {}
    for warning in record.get("warnings", ()):
        yield (*who, str(warning))
    if refused := record.get("refused", 0):
        yield (*who, f"{counted(refused, 'purchase')} past the budget refused")


def _unfinished(trial: TrialResult) -> bool:
    if trial.purchase is None:
        return True
    trained = trial.scores and None not in trial.scores.values()
    return trial.purchase["status"] == "ok" and not trained


def _own(records: Sequence[Record]) -> list[Record]:
    """Those of the submission, not of the judge's rows."""
    return [record for record in records if record.get("strategy") not in REFERENCES]


def _values(records: Sequence[Record], name: str) -> str:
    """The different values there are, in the order met."""
    return "; ".join(dict.fromkeys(str(r[name]) for r in records if r.get(name)))


def _versions(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Library -> the records' own dictionaries that name it."""
    found: dict[str, list[Record]] = {}
    for record in records:
        for library in record.get("versions") or {}:
            found.setdefault(library, []).append(record["versions"])
    return found


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
