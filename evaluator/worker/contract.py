"""The contract as a submission's class keeps it: its phases, and the names of their arguments.

The worker inspects the class and describes it; the evaluator reads the description.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import base_run

ArgNames = Literal["page", "kit"]  # conventions: the challenge's page, the 2022 kit
NAMES_IN: dict[ArgNames, dict[str, str]] = {  # the evaluator's name -> the convention's name
    "page": {"budget": "budget", "time_available": "time_available"},
    "kit": {"budget": "purchase_budget", "time_available": "compute_budget"},
}
ALIASES = {
    "purchase_budget": "budget",
    "compute_budget": "time_available",
    "time_budget": "time_available",
}
METHODS = ("pre_training_phase", "purchase_phase", "prediction_phase")


@dataclass(frozen=True)
class Contract:
    """What a submission's class offers.

    missing : the phases that it does not have, or has from the bare contract only.
    arg_names : under which its purchase phase takes its arguments.
    """

    class_name: str
    missing: tuple[str, ...]
    arg_names: tuple[ArgNames, ...]

    @classmethod
    def from_message(cls, described: Any) -> "Contract":
        """The worker's description; whatever it leaves out counts as missing."""
        found = described if isinstance(described, dict) else {}
        missing, arg_names = found.get("missing"), found.get("arg_names")
        return cls(
            str(found.get("class_name", "nothing")),
            tuple(m for m in METHODS if not isinstance(missing, list) or m in missing),
            tuple(s for s in get_args(ArgNames) if isinstance(arg_names, list) and s in arg_names),
        )


def describe(cls: Any) -> dict[str, Any]:
    """The fields of a `Contract`, from the class that a submission names `ZEWDPCBaseRun`."""
    methods = {name: getattr(cls, name, None) for name in METHODS}
    missing = [
        name
        for name, method in methods.items()
        if not callable(method) or method is getattr(base_run.ZEWDPCBaseRun, name)
    ]
    purchase = methods["purchase_phase"]
    return {
        "class_name": getattr(cls, "__name__", repr(cls)),
        "missing": missing,
        "arg_names": _conventions(purchase) if callable(purchase) else [],
    }


def bind(
    function: Callable[..., Any], offered: Mapping[str, Any], arg_names: ArgNames = "page"
) -> dict[str, Any]:
    """The offered arguments that `function` takes, under the names it gives them.

    Where it has several names for one, it gets it once, as `arg_names` says.
    Raises TypeError naming a required parameter that the evaluator does not know.
    """
    bound = {}
    named, takes_any = _parameters(function)
    for name, parameter in named.items():
        meaning = ALIASES.get(name, name)
        if meaning in offered:
            if parameter.default is parameter.empty or not _has_preferred_name(
                name, named, arg_names
            ):
                bound[name] = offered[meaning]
        elif parameter.default is parameter.empty:
            raise TypeError(
                f"{function.__qualname__} requires a parameter {name!r}; the evaluator offers "
                f"{', '.join(sorted({*offered, *ALIASES}))}. Rename it or give it a default."
            )
    if takes_any:
        taken = {ALIASES.get(name, name) for name in bound}
        preferred = NAMES_IN[arg_names]
        bound.update({preferred.get(n, n): value for n, value in offered.items() if n not in taken})
    return bound


def _parameters(function: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """The parameters that have a name, and whether any other name is taken as well."""
    found = inspect.signature(function).parameters
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = {name: parameter for name, parameter in found.items() if parameter.kind not in variable}
    return named, any(p.kind is inspect.Parameter.VAR_KEYWORD for p in found.values())


def _has_preferred_name(
    name: str, named: Mapping[str, inspect.Parameter], arg_names: ArgNames
) -> bool:
    """Whether another parameter has the convention's own name for what `name` means."""
    best = NAMES_IN[arg_names].get(ALIASES.get(name, name), name)
    return name != best and best in named


def _conventions(purchase_phase: Callable[..., Any]) -> list[ArgNames]:
    named, takes_any = _parameters(purchase_phase)
    return [
        arg_names
        for arg_names, names in NAMES_IN.items()
        if takes_any or any(name in named for name in names.values())
    ]
