"""A table of a TOML file into a dataclass of settings; nothing unknown or mistyped passes."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any, TypeVar, get_origin, get_type_hints

T = TypeVar("T")


def settings_from_table(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """`cls(**table)`, after checking every key and type.

    Raises ValueError that names `where` (file and table), what came and what is valid.
    """
    hints = get_type_hints(cls)
    valid = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key, value in table.items():
        if key not in valid:
            raise ValueError(f"{where} has no setting {key!r}; valid are {', '.join(valid)}.")
        if not _is_a(value, hints[key]):
            raise ValueError(
                f"{where}: {key!r} must be {_in_words(hints[key])}; got {value!r} "
                f"({type(value).__name__})."
            )
    try:
        return cls(**table)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _is_a(value: Any, hint: Any) -> bool:
    if hint is float:  # TOML knows nan and inf, which compare as nothing and pass every bound
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, get_origin(hint) or hint)


def _in_words(hint: Any) -> str:
    words = {
        int: "a whole number",
        float: "a finite number",
        str: "text",
        bool: "true or false",
        dict: "a table",
    }
    return words.get(get_origin(hint) or hint, str(hint))
