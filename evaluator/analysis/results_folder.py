"""One results folder: the records that its newest code and settings made."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from evaluator.records.journal import COMMANDS, Record, read_records
from evaluator.records.trial import (
    PURCHASE_FIELDS,
    PURCHASE_KEY,
    REFERENCES,
    REMOVED_REFERENCE,
    SCORE_FIELDS,
    SCORE_KEY,
    is_score_of,
    row_label,
)
from shared.errors import ConfigurationError
from shared.images.class_coverage import macro_f1_bound

T = TypeVar("T")


class ResultsFolder:
    """The records of one --out folder that its newest code and settings made, by trial.

    Newest are those of the last command, where it found anything by them, else of the last record:
    code that was changed back finds its trials there and adds none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        everything = read_records(path / "purchases.jsonl", PURCHASE_KEY, PURCHASE_FIELDS)
        last = _last_command(path)
        bought = _label_rows(everything, last)
        self.removed = sum(one["strategy"] == REMOVED_REFERENCE for one in everything)
        if not bought:
            raise ConfigurationError(
                "no-results", f"{path / 'purchases.jsonl'} holds no trial yet."
            )
        scores = path / "scores.jsonl"
        made = read_records(scores, SCORE_KEY, SCORE_FIELDS) if scores.exists() else []
        self.data = _newest(map(_data, bought), (last.get("dataset"), last.get("fingerprint")))
        self.bound = _bound(last) if self.data == _data({"dataset": "", **last}) else ""
        settings = [
            _conditions(record) for record in bought if record["strategy"] not in REFERENCES
        ]
        self.conditions = {_newest(settings, last.get("conditions"))} if settings else set[str]()
        like_newest = [
            record
            for record in bought
            if _data(record) == self.data
            and (record["strategy"] in REFERENCES or _conditions(record) in self.conditions)
        ]
        self.newest_code = {
            name: _newest(map(_code, own), _codes(last).get(own[0]["submission"]))
            for name, own in _by("strategy", like_newest).items()
        }
        now = last.get("configurations")
        self.configurations = {
            name: _newest(
                map(_configuration, own), now.get(name) if isinstance(now, dict) else None
            )
            for name, own in _by("pipeline", made).items()
        }
        self.purchases = {
            record["trial"]: record
            for record in like_newest
            if _code(record) == self.newest_code[record["strategy"]]
        }
        self.scores = {
            (record["trial"], (record["pipeline"], record["training_seed"])): record
            for record in made
            if record["trial"] in self.purchases
            and _configuration(record) == self.configurations[record["pipeline"]]
            and is_score_of(record, self.purchases[record["trial"]]["purchased"])
        }
        current = {record["trial"] for record in self.purchases.values()}
        left_out = len(everything) - self.removed - len(bought)
        self.outdated = (
            left_out
            + sum(record["trial"] not in current for record in bought)
            + sum(
                record["trial"] in current
                and _configuration(record) != self.configurations[record["pipeline"]]
                for record in made
            )
        )


def _label_rows(records: Iterable[Record], last: Record) -> list[Record]:
    """Records with the label of their row as strategy; of several submissions, the last command's.

    A submission has the name that the last command gave it, whatever it was called before.
    """
    names = {code: name for name, code in _codes(last).items()}
    labelled = []
    for record in records:
        if record["strategy"] == REMOVED_REFERENCE:
            continue
        submission = record.get("submission") or ""
        if record["strategy"] not in REFERENCES:
            submission = names.get(_code(record), submission)
        label = row_label(record["strategy"], submission)
        labelled.append({**record, "strategy": label, "submission": submission})
    if len(names) < 2 or not any(_code(record) in names for record in labelled):
        return labelled
    return [r for r in labelled if r["strategy"] in REFERENCES or _code(r) in names]


def _codes(command: Record) -> dict[str, str]:
    """The digest of each submission's code by its name, as far as a command wrote them down."""
    found = command.get("submissions")
    if not isinstance(found, dict):
        return {"": str(command["code"])} if "code" in command else {}
    return {str(name): str(code) for name, code in found.items()}


def _by(field: str, records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record[field], []).append(record)
    return found


def _newest(values: Iterable[T], now: object) -> T:
    """The one that is the last command's, else the last of them."""
    known = list(values)
    return next((value for value in known if value == now), known[-1])


def _last_command(path: Path) -> Record:
    """What the last command evaluated with; nothing where no command can be read."""
    with suppress(ConfigurationError):
        if commands := read_records(path / COMMANDS):
            return commands[-1]
    return {}


def _bound(command: Record) -> str:
    """A notice where the held-out images lack a class, as far as the command wrote that down."""
    class_names, never = command.get("class_names"), command.get("never_held_out")
    if not isinstance(class_names, list) or not isinstance(never, list) or not class_names:
        return ""
    bound = macro_f1_bound([str(name) for name in never], len(class_names))
    return f"In {command.get('dataset')} {bound}." if bound else ""


def _data(record: Record) -> tuple[object, object]:
    return record["dataset"], record.get("fingerprint", "")


def _conditions(record: Record) -> str:
    return str(record.get("conditions", ""))


def _code(record: Record) -> str:
    return str(record.get("code", ""))


def _configuration(record: Record) -> str:
    return str(record.get("configuration", ""))
