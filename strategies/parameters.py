"""Reading a strategy's parameter from text by the type its function declares."""

import math
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

Parameter = int | float | str | bool


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both included: `Annotated[float, Range(0, 1)]`."""

    low: float = -math.inf
    high: float = math.inf


class MismatchError(Exception):
    """The text is no value of this type; another member of the union may take it."""


def parse_parameter(name: str, value: Parameter, hint: Any) -> Parameter:
    """`value`, text or typed, as the type `hint`: int, float, bool, str, Literal, a union of
    them, or Annotated with a Range.

    Raises ValueError, with what was expected, where it is none of these.
    """
    text = canonical(value)
    try:
        return _read(text, hint)
    except MismatchError:
        raise ValueError(f"`{name}` must be {describe(hint)}; got {text!r}.") from None


def understood(hint: Any) -> bool:
    """Whether `parse_parameter` can read this type."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return len(args) == 2 and isinstance(args[1], Range) and understood(args[0])
    if origin in (Union, UnionType):
        return all(understood(member) for member in args)
    if origin is Literal:
        return all(isinstance(member, int | str) for member in args)
    return hint in (int, float, bool, str)


def canonical(value: Parameter) -> str:
    """The text that reads back as `value`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def describe(hint: Any) -> str:
    """A type in words: "a whole number from 1", "`auto` or a number"."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return describe(args[0]) + _describe_range(args[1])
    if origin in (Union, UnionType):
        return " or ".join(describe(member) for member in args)
    if origin is Literal:
        return " or ".join(f"`{canonical(member)}`" for member in args)
    words = {int: "a whole number", float: "a number", bool: "`true` or `false`", str: "text"}
    return words.get(hint, str(hint))


def _read(text: str, hint: Any) -> Parameter:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        value = _read(text, args[0])
        if not isinstance(value, str) and not args[1].low <= value <= args[1].high:
            raise MismatchError
        return value
    if origin in (Union, UnionType):
        for member in args:
            try:
                return _read(text, member)
            except MismatchError:
                continue
        raise MismatchError
    if origin is Literal:
        for choice in args:
            if text == canonical(choice):
                return cast(Parameter, choice)
        raise MismatchError
    return _read_plain(text, hint)


def _read_plain(text: str, hint: Any) -> Parameter:
    if hint is bool:
        if text not in ("true", "false"):
            raise MismatchError
        return text == "true"
    try:
        if hint is int:
            return int(text)
        if hint is float:
            number = float(text)
            if not math.isfinite(number):
                raise MismatchError
            return number
    except ValueError:
        raise MismatchError from None
    return text


def _describe_range(bounds: Range) -> str:
    low = f" from {bounds.low:g}" if bounds.low > -math.inf else ""
    return low + (f" to {bounds.high:g}" if bounds.high < math.inf else "")
