"""Values checked against their declared types by pydantic, with errors that say what would fit."""

import dataclasses
import math
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Interval
from pydantic import ConfigDict, ValidationError

T = TypeVar("T")

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "`true` or `false`",
    dict: "a table",
}


def settings_from_table(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """`cls(**table)` of a dataclass of pydantic's, after checking every key.

    Raises ValueError that names `where` (file and table), key, value, its type and what is valid.
    """
    valid = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in table:
        if key not in valid:
            raise ValueError(f"{where} has no setting {key!r}; valid are {', '.join(valid)}.")
    try:
        return cls(**table)
    except ValidationError as error:
        first = error.errors()[0]
        key, value = str(first["loc"][0]), table[str(first["loc"][0])]
        expected = describe(get_type_hints(cls, include_extras=True)[key])
        if isinstance(value, float) and not math.isfinite(value):
            expected = expected.replace("a number", "a finite number")
        raise ValueError(
            f"{where}: {key!r} must be {expected}; got {value!r} ({type(value).__name__})."
        ) from None


def describe(hint: Any) -> str:
    """A type in words: "a whole number from 1", "`auto` or a number".

    Raises TypeError for a type that a setting or a parameter cannot have.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated and len(args) == 2 and isinstance(args[1], Interval):
        return describe(args[0]) + _describe_bounds(args[1])
    if origin in (Union, UnionType):
        return " or ".join(describe(member) for member in args)
    if origin is Literal and all(isinstance(member, int | str) for member in args):
        return " or ".join(f"`{canonical(member)}`" for member in args)
    if (origin or hint) in WORDS:
        return WORDS[origin or hint]
    raise TypeError(f"{hint} is not a type that a setting can have.")


def canonical(value: object) -> str:
    """A value as it is written in a setting."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _describe_bounds(bounds: Interval) -> str:
    if bounds.gt is not None and bounds.lt is not None:
        return f" between {bounds.gt} and {bounds.lt}"
    words = {"from": bounds.ge, "above": bounds.gt, "to": bounds.le, "below": bounds.lt}
    return "".join(f" {word} {value:g}" for word, value in words.items() if value is not None)
