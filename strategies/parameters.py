"""Reading a strategy's parameter, text or typed, by the type its function declares."""

from functools import cache
from typing import Any

from annotated_types import Interval
from pydantic import TypeAdapter, ValidationError

from models.validation import STRICT, canonical, describe

__all__ = ["Parameter", "Range", "canonical", "describe", "parse_parameter"]

Parameter = int | float | str | bool


def Range(low: float | None = None, high: float | None = None) -> Interval:
    """Bounds of a number, both included: `Annotated[float, Range(0, 1)]`."""
    return Interval(ge=low, le=high)


def parse_parameter(name: str, value: Parameter, hint: Any) -> Parameter:
    """`value` as the type `hint`: int, float, bool, str, Literal, a union of them, or Annotated
    with a Range. Text is read as `true`, `false` or a number where the type allows that.

    Raises ValueError, with what was expected, where it is none of these.
    """
    for candidate in (_typed(value), value) if isinstance(value, str) else (value,):
        try:
            return _adapter(hint).validate_python(candidate)
        except ValidationError:
            continue
    raise ValueError(f"`{name}` must be {describe(hint)}; got {canonical(value)!r}.")


@cache
def _adapter(hint: Any) -> TypeAdapter[Parameter]:
    return TypeAdapter(hint, config=STRICT)


def _typed(text: str) -> Parameter:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
