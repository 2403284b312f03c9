"""Strategies by name, so that one is a flag away: `--strategy "uherding:temperature=auto"`.

A strategy is a function and a decorator; saved as any module in `strategies/` or a folder of it,
it is found:

    from strategies.registry import register

    @register("tallest", source="ours")
    def tallest(pool, k, rng, *, power: float = 1.0):
        \"\"\"The k images with the largest embedding norm.\"\"\"
        return pool.embeddings.norm(dim=1).pow(power).topk(k).indices
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_type_hints

import torch
from torch import Tensor

from strategies.parameters import (
    Parameter,
    Range,
    canonical,
    describe,
    parse_parameter,
)
from strategies.planner import MOST_ROUNDS, Kind
from strategies.pool_view import PoolView

Rounds = Annotated[int, Range(1, MOST_ROUNDS)] | Literal["auto"]
Selection = Callable[..., Tensor]


@dataclass(frozen=True)
class Entry:
    """One registered strategy: its name, its function, one line on it, and its source.

    `plan` tells the planner how it wants to buy: "single-batch", everything at once, because it
    looks at nothing that a learner makes; "adaptive", in as many rounds as the clock allows;
    "zew-winner", by the time model of the challenge's first place. `members` is the smallest
    ensemble that it can work with.
    """

    name: str
    function: Selection
    summary: str
    source: str
    plan: Kind = "adaptive"
    members: int = 1

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The function's keyword-only parameters and their defaults."""
        keywords = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in keywords if p.kind is p.KEYWORD_ONLY}

    @property
    def defaults(self) -> str:
        """The parameters as they would be written: `radius=auto, anchors=10000`."""
        return ", ".join(f"{p}={canonical(value)}" for p, value in self.parameters.items())

    @property
    def types(self) -> dict[str, Any]:
        """The declared type of each of the function's arguments, by name."""
        return get_type_hints(self.function, include_extras=True)


REGISTRY: dict[str, Entry] = {}


def register(
    name: str, *, source: str, plan: Kind = "adaptive", members: int = 1
) -> Callable[[Selection], Selection]:
    """Register `function(pool, k, rng, *, parameter=default, ...)` as the strategy `name`.

    The keyword-only arguments, each with a type and a default, are the strategy's parameters;
    the first line of the docstring is what `--list` prints. `plan` and `members`: see `Entry`.

    Raises ValueError, before anything is trained, where one of these cannot be used. The same
    function can be registered again, so that a module that failed half way can be imported again.
    """

    def decorate(function: Selection) -> Selection:
        summary = (function.__doc__ or "").strip().partition("\n")[0]
        entry = Entry(name, function, summary, source, plan, members)
        _check_entry(entry)
        for parameter, default in entry.parameters.items():
            _check_parameter(entry, parameter, default)
        REGISTRY[name] = entry
        return function

    return decorate


@dataclass(frozen=True)
class ConfiguredStrategy:
    """A strategy with its parameters set, ready to choose."""

    entry: Entry
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    rounds: Rounds = "auto"

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def plan(self) -> Kind:
        return self.entry.plan

    @property
    def looks(self) -> bool:
        """Whether it chooses by what a learner makes of the images."""
        return self.entry.plan != "single-batch"

    @property
    def spec(self) -> str:
        """The string that gives this strategy back: name and whatever is not a default."""
        usual = self.entry.parameters
        settings = {n: v for n, v in sorted(self.parameters.items()) if v != usual[n]}
        if self.rounds != _usual_rounds(self.entry):
            settings["rounds"] = self.rounds
        listed = ",".join(f"{n}={canonical(v)}" for n, v in settings.items())
        return f"{self.name}:{listed}" if listed else self.name

    def select(self, pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
        """Which k images of the pool to buy: unique positions, LongTensor (k,).

        Raises ValueError where k is negative or past the pool, or where the strategy broke the
        contract (so that a faulty new one is caught before it spends labels).
        """
        if not 0 <= k <= pool.size:
            raise ValueError(f"Cannot choose {k} of a pool of {pool.size} images.")
        if k == 0:
            return torch.empty(0, dtype=torch.long)
        picks = self.entry.function(pool, k, rng, **self.parameters)
        _check_picks(picks, k, pool.size, self.name)
        return picks.cpu()


def parse_strategy(spec: str) -> ConfiguredStrategy:
    """The strategy that `spec` names, e.g. `entropy` or `uherding:rounds=4,temperature=auto`.

    Raises ValueError where the name, a parameter or the type of a value is not known; the
    message lists what is.
    """
    name, _, listed = spec.strip().partition(":")
    settings: dict[str, Parameter] = {}
    for item in filter(None, (part.strip() for part in listed.split(","))):
        parameter, equals, value = (part.strip() for part in item.partition("="))
        if not (parameter and equals and value):
            raise ValueError(
                f"Cannot read {item!r} in {spec!r}; write `name:parameter=value,parameter=value`."
            )
        if parameter in settings:
            raise ValueError(f"Parameter {parameter!r} stands twice in {spec!r}.")
        settings[parameter] = value
    return configure(name.strip(), settings)


def configure(name: str, settings: Mapping[str, Parameter]) -> ConfiguredStrategy:
    """The strategy `name` with `settings`, each as text or as the type it is to have.

    Raises as `parse_strategy` does.
    """
    load()
    if name not in REGISTRY:
        raise ValueError(_unknown("strategy", name, sorted(REGISTRY)))
    entry = REGISTRY[name]
    types = {**entry.types, "rounds": Rounds}
    known = {**entry.parameters, "rounds": _usual_rounds(entry)}
    for parameter in settings:
        if parameter not in known:
            raise ValueError(_unknown(f"parameter of {name!r}", parameter, sorted(known)))
    values = {p: parse_parameter(f"{name}:{p}", v, types[p]) for p, v in settings.items()}
    rounds = {**known, **values}["rounds"]
    if entry.plan == "single-batch" and rounds != 1:
        raise ValueError(
            f"{name!r} learns nothing between rounds and buys all at once; leave `rounds` out "
            f"(got {rounds!r})."
        )
    own = {p: v for p, v in {**known, **values}.items() if p != "rounds"}
    return ConfiguredStrategy(entry, MappingProxyType(own), rounds)  # type: ignore[arg-type]


def load() -> dict[str, Entry]:
    """Import every module of `strategies/` and its folders once, so that all that register do."""
    import strategies

    for root in strategies.__path__:
        for path in sorted(Path(root).rglob("*.py")):
            module = path.parent if path.name == "__init__.py" else path.with_suffix("")
            parts = module.relative_to(root).parts
            if not any("." in part for part in parts):  # a hidden folder, an editor's copy
                importlib.import_module(".".join(("strategies", *parts)))
    return REGISTRY


def describe_strategies() -> list[dict[str, str]]:
    """Every strategy that can be named: name, one line on it, where it comes from, parameters."""
    return [
        {
            "name": entry.name,
            "summary": entry.summary,
            "source": entry.source,
            "parameters": entry.defaults,
        }
        for entry in load().values()
    ]


def _usual_rounds(entry: Entry) -> Rounds:
    return 1 if entry.plan == "single-batch" else "auto"


def _unknown(kind: str, name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"Unknown {kind}: {name!r}.{hint} Known: {', '.join(known)}."


def _check_entry(entry: Entry) -> None:
    name = entry.name
    if not name or name != name.strip() or set(name) & set(":,="):
        raise ValueError(
            f"The name of a strategy must hold none of `:`, `,`, `=` and no outer blanks; "
            f"got {name!r}."
        )
    if name in REGISTRY and _origin(REGISTRY[name]) != _origin(entry):
        raise ValueError(
            f"A strategy named {name!r} is registered already, by {_origin(REGISTRY[name])}; "
            f"{_origin(entry)} needs another name."
        )
    if not entry.summary:
        raise ValueError(f"Strategy {name!r} needs a docstring: its first line is its summary.")
    if entry.plan not in get_args(Kind):
        raise ValueError(
            f"`plan` of strategy {name!r} must be {describe(Kind)}; got {entry.plan!r}."
        )
    signature = inspect.signature(entry.function)
    if len(signature.parameters) - len(entry.parameters) != 3:
        raise ValueError(
            f"Strategy {name!r} must take (pool, k, rng) and, after a `*`, its parameters; "
            f"it takes {signature}."
        )


def _origin(entry: Entry) -> str:
    return f"{entry.function.__module__}.{entry.function.__qualname__}"


def _check_parameter(entry: Entry, parameter: str, default: Any) -> None:
    where = f"parameter {parameter!r} of strategy {entry.name!r}"
    if parameter == "rounds" or default is inspect.Parameter.empty:
        raise ValueError(
            f"The {where} needs a default, and must not be called `rounds`, "
            "which every strategy has."
        )
    if parameter not in entry.types:
        raise ValueError(f"The {where} needs a type, as in `{parameter}: float = 1.0`.")
    hint = entry.types[parameter]
    try:
        described = describe(hint)
    except TypeError:
        raise ValueError(
            f"The {where} is of a type that cannot be read from text: "
            f"{inspect.formatannotation(hint)}. Use int, float, bool, str, Literal, a union of "
            "them, or Annotated with a Range."
        ) from None
    try:
        fits = parse_parameter(parameter, default, hint) == default
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"The default of {where} must be {described}; got {default!r}.")


def _check_picks(picks: object, k: int, size: int, name: str) -> None:
    if not isinstance(picks, Tensor):
        raise ValueError(  # noqa: TRY004 - as every other broken promise
            f"Strategy {name!r} must answer with a LongTensor ({k},); got {type(picks).__name__}."
        )
    if picks.shape != (k,) or picks.dtype != torch.long:
        raise ValueError(
            f"Strategy {name!r} must answer with a LongTensor ({k},); "
            f"got {picks.dtype} {tuple(picks.shape)}."
        )
    if int(picks.min()) < 0 or int(picks.max()) >= size:
        raise ValueError(f"Strategy {name!r} chose positions outside 0..{size - 1}.")
    distinct = torch.unique(picks).numel()
    if distinct != k:
        raise ValueError(f"Strategy {name!r} chose only {distinct} distinct images of {k}.")
