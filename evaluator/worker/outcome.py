"""What a run may use, how it ended, and what the submission answered, checked before it counts."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluator.records.trial import Status
from evaluator.worker.gpu_memory import GB
from evaluator.worker.protocol import Message
from shared.formatting import printable

Progress = Callable[[str, float], None]  # called with a phase and the share of it that is done
Notes = dict[int, dict[str, Any]]  # idx -> {"round": int | None, "probabilities": [C] | None}

MAX_REASON = 4096  # characters
# Looked up by name: numpy's own parser of dtype strings accepts whole record layouts.
DTYPES = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)


@dataclass(frozen=True)
class Limits:
    """What one run may use. Memory and CPUs are the platform's node; the rest is our choice.

    Start-up (importing run.py) and prediction have limits of their own and do not count
    towards the compute budget, which the challenge defines over pre-training + purchase.
    """

    memory: int = 16 * 2**30  # bytes, private memory of all processes together
    gpu_memory: float = 16 * GB  # bytes that torch may allocate of each GPU, by process
    cpus: int = 4
    processes: int = 512  # alive at one time
    start_up: float = 300.0  # seconds
    prediction: float = 900.0  # seconds


@dataclass
class Outcome:
    """How a run ended."""

    status: Status = "ok"
    reason: str = ""
    seconds: dict[str, float] = field(default_factory=dict)  # by phase
    claimed: list[int] | None = None  # indices of the returned dict; None where it was no dict
    predictions: np.ndarray | None = None  # (n_test, C) of 0/1
    warnings: list[str] = field(default_factory=list)
    left_running: int = 0  # processes
    peak_memory: int = 0  # bytes
    notes: Notes | None = None  # the submission's `purchase_notes`; see base_run


class TrialFailedError(Exception):
    """The run is over; carries the status it ends with."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def out_of_time(phase: str) -> str:
    """The reason of a time-out."""
    if phase in ("pre_training", "purchase"):
        return f"{phase}: the compute budget of pre-training and purchase together was used up"
    return f"{phase}: its time limit was used up"


def failure_of(message: Message, phase: str, refused: int) -> TrialFailedError:
    """What a message of type "failed" means; `refused` counts purchases past the budget."""
    names = exception_names(message)
    reason = f"{phase}: {message.get('reason')}"
    if "OutOfBudgetError" in names and refused:
        return TrialFailedError("over_budget", reason)
    if "MemoryError" in names or "OutOfMemoryError" in names:
        return TrialFailedError("out_of_memory", reason)
    return TrialFailedError("crashed", reason)


def exception_names(message: Message) -> list[str]:
    """The names of the classes that an exception of the submission belongs to, where given."""
    kinds = message.get("kinds")
    return [kind for kind in kinds if isinstance(kind, str)] if isinstance(kinds, list) else []


def readable_reason(reason: str) -> str:
    """A reason as the submission gave it, safe to show and to keep."""
    return printable(reason)[:MAX_REASON]


def read_claim(claimed: Any) -> list[int] | None:
    """The indices of the dict that the purchase phase returned; None where there is no such.

    None as well for more than `worker.MAX_CLAIMED` indices, which the worker does not send.
    """
    if not isinstance(claimed, list) or not all(isinstance(index, int) for index in claimed):
        return None
    return claimed


def check_claim(claimed: list[int] | None, purchased: Mapping[int, object]) -> list[str]:
    """Warnings on the returned dict: it does not count, but its author will want to know."""
    if claimed is None:
        return ["purchase_phase returned no dict of {index: label}, or one too long; ignored."]
    returned, bought = set(claimed), set(purchased)
    if returned == bought:
        return []
    return [
        f"purchase_phase returned {len(returned)} indices, but {len(bought)} were bought "
        f"({len(returned - bought)} returned and not bought, {len(bought - returned)} bought and "
        "not returned). What was bought counts."
    ]


def check_notes(notes: Any, purchased: Collection[int], n_classes: int) -> Notes | None:
    """Rows of [idx, round, probabilities] as notes, or None where none of them is usable.

    A note that is malformed, or on an image that was not bought, is dropped.
    """
    if not isinstance(notes, list):
        return None
    kept: Notes = {}
    for row in notes:
        if not isinstance(row, list) or len(row) != 3 or type(row[0]) is not int:
            continue
        idx, number, probabilities = row
        if idx not in purchased:
            continue
        kept[idx] = {
            "round": number if type(number) is int and 0 < number <= len(purchased) else None,
            "probabilities": probabilities if _are_shares(probabilities, n_classes) else None,
        }
    return kept or None


def _are_shares(values: Any, n: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == n
        and all(isinstance(value, int | float) and 0 <= value <= 1 for value in values)
    )


def check_predictions(answer: Message, payload: bytes, wanted: tuple[int, int]) -> np.ndarray:
    """The predictions as an array; raises `bad_output` with what is wrong with them."""
    name, shape = answer.get("dtype"), answer.get("shape")
    if not isinstance(name, str) or name not in DTYPES:
        raise TrialFailedError(
            "bad_output", f"prediction: dtype {name}; expected whole numbers 0 and 1"
        )
    dtype = np.dtype(name)
    if shape != list(wanted):
        raise TrialFailedError(
            "bad_output", f"prediction: shape {shape}; expected {list(wanted)} (images, classes)"
        )
    if len(payload) != dtype.itemsize * wanted[0] * wanted[1]:
        raise TrialFailedError("bad_output", f"prediction: {len(payload)} bytes for {shape} {name}")
    values = np.frombuffer(payload, dtype).reshape(wanted)
    wrong = values[~np.isin(values, (0, 1))]
    if wrong.size:
        raise TrialFailedError(
            "bad_output",
            f"prediction: {wrong.size} values that are neither 0 nor 1, such as {wrong[0]}; "
            "apply your thresholds before returning",
        )
    return values.astype(np.uint8)
