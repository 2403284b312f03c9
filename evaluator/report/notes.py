"""What a submission told of its purchases: rounds and probabilities, checked before use.

OUT/notes/TRIAL.json is {"idx": [rows of the pool], "round": [number or null, ...],
"probabilities": [[C floats] or null, ...] or null}, each list in the same order. It comes from the
submission, so nothing of it is believed, and nothing but whole numbers and probabilities is taken.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LARGEST_FILE = 64 * 2**20  # bytes of a file that is read
LARGEST_NUMBER = 10**9  # rows of a pool, rounds


@dataclass(frozen=True)
class Note:
    """Of one bought image; `probabilities` are those the submission held when it bought."""

    round: int | None
    probabilities: tuple[float, ...] | None


@dataclass(frozen=True)
class Notes:
    """By row of the pool; `complaint` says why there are none though there is a file."""

    of: Mapping[int, Note] = field(default_factory=dict)
    complaint: str = ""


def read_notes(
    folders: Sequence[Path], trial: str, purchased: Sequence[int], n_classes: int
) -> Notes:
    """The notes on what `trial` bought, from the first folder that has some."""
    if Path(trial).name != trial:
        return Notes(complaint=f"{trial!r} is no name of a file")
    for folder in folders:
        path = folder / "notes" / f"{trial}.json"
        if path.is_file():
            try:
                if path.stat().st_size > LARGEST_FILE:
                    raise ValueError(f"it is larger than {LARGEST_FILE // 2**20} MiB")
                notes = parse_notes(path.read_bytes(), n_classes)
            except (OSError, ValueError, RecursionError) as error:
                return Notes(complaint=f"{path} was not used: {error}")
            bought = set(purchased)
            return Notes({row: note for row, note in notes.items() if row in bought})
    return Notes()


def parse_notes(content: bytes, n_classes: int) -> dict[int, Note]:
    """Notes by row of the pool. Raises ValueError in words for anything unexpected."""
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("it holds no JSON object")  # noqa: TRY004 - of the file, not the caller
    rows, rounds = _list(found, "idx"), _list(found, "round")
    if not all(map(_is_count, rows)):
        raise ValueError(f"idx holds something else than whole numbers up to {LARGEST_NUMBER:,}")
    if not all(one is None or _is_count(one) for one in rounds):
        raise ValueError(f"round holds something else than whole numbers up to {LARGEST_NUMBER:,}")
    given = found.get("probabilities")
    held = [None] * len(rows) if given is None else _list(found, "probabilities")
    if not len(rows) == len(set(rows)) == len(rounds) == len(held):
        raise ValueError(
            f"{len(rows)} idx, {len(set(rows))} of them different, came with {len(rounds)} rounds "
            f"and {len(held)} rows of probabilities"
        )
    return {
        row: Note(number, _probabilities(values, n_classes))
        for row, number, values in zip(rows, rounds, held, strict=True)
    }


def _list(found: Mapping[str, Any], name: str) -> list[Any]:
    values = found.get(name)
    if not isinstance(values, list):
        raise ValueError(f"{name} is no list")  # noqa: TRY004 - of the file, not the caller
    return values


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_NUMBER


def _probabilities(values: object, n_classes: int) -> tuple[float, ...] | None:
    if values is None:
        return None
    if (
        not isinstance(values, list)
        or len(values) != n_classes
        or not all(isinstance(value, int | float) and 0 <= value <= 1 for value in values)
    ):
        raise ValueError(f"probabilities hold something else than {n_classes} numbers from 0 to 1")
    return tuple(float(value) for value in values)
