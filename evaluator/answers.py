"""What the submission's process answered, checked before it is believed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluator.protocol import Message
from evaluator.watch import TrialFailedError


def check_claim(claimed: Any, purchased: Mapping[int, object]) -> list[str]:
    """Warnings on the returned dict: it counts for nothing, but its author will want to know."""
    if not isinstance(claimed, list) or not all(isinstance(index, int) for index in claimed):
        return ["purchase_phase did not return a dict of {index: label}; ignored."]
    returned, bought = set(claimed), set(purchased)
    if returned == bought:
        return []
    return [
        f"purchase_phase returned {len(returned)} indices, but {len(bought)} were bought "
        f"({len(returned - bought)} returned and not bought, {len(bought - returned)} bought and "
        "not returned). What was bought counts."
    ]


def check_predictions(answer: Message, payload: bytes, wanted: tuple[int, int]) -> np.ndarray:
    """The child's predictions as an array, or `bad_output` saying what is wrong with them."""
    name, shape = answer.get("dtype"), answer.get("shape")
    try:
        dtype = np.dtype(str(name))
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise TrialFailedError(
            "bad_output", f"prediction: dtype {name}; expected whole numbers 0 and 1"
        )
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
