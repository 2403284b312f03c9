"""What the submission's process answered, checked before it is believed."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from evaluator.worker.protocol import Message
from evaluator.worker.supervisor import TrialFailedError

Notes = dict[int, dict[str, Any]]  # idx -> {"round": int | None, "probabilities": [C] | None}

# By name, never by what the child calls one: numpy's own parser of dtypes takes whole programs.
DTYPES = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)


def read_claim(claimed: Any) -> list[int] | None:
    """The indices of the dict that the purchase phase returned; None where there is no such.

    None as well of more than `child.MOST_CLAIMED` indices, which the child does not send.
    """
    if not isinstance(claimed, list) or not all(isinstance(index, int) for index in claimed):
        return None
    return claimed


def check_claim(claimed: list[int] | None, purchased: Mapping[int, object]) -> list[str]:
    """Warnings on the returned dict: it counts for nothing, but its author will want to know."""
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
    """Rows of [idx, round, probabilities] as notes, or None where there are none that make sense.

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
    """The child's predictions as an array, or `bad_output` saying what is wrong with them."""
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
