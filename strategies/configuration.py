"""What `submission.toml` says, read and checked."""

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass as pydantic_dataclass

from models.settings import LearnerSettings
from models.validation import STRICT, settings_from_table
from strategies.planner import PlannerSettings
from strategies.registry import ConfiguredStrategy, parse_strategy


@pydantic_dataclass(frozen=True, config=STRICT)
class _Table:
    strategy: str = "winner"
    seed: int = 0
    learner: dict[str, Any] = field(default_factory=dict)
    planner: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SubmissionConfig:
    """The strategy, the seed, the learner's settings and the planner's."""

    strategy: ConfiguredStrategy
    seed: int
    learner: LearnerSettings
    planner: PlannerSettings

    @classmethod
    def read(
        cls, path: Path, strategy: str | None = None, seed: int | None = None
    ) -> "SubmissionConfig":
        """The configuration in the file `path`; `strategy` and `seed` override what it says.

        Raises FileNotFoundError where there is no such file, ValueError, which names key and value
        and what is valid, where it cannot be used.
        """
        table = settings_from_table(_Table, _read_toml(path), path.name)
        chosen = parse_strategy(table.strategy if strategy is None else strategy)
        learner = settings_from_table(LearnerSettings, table.learner, f"{path.name} [learner]")
        if learner.members < chosen.entry.members:
            raise ValueError(
                f"{chosen.name!r} chooses where the learner's nets disagree; it needs "
                f"`members` of at least {chosen.entry.members} in {path.name} [learner], "
                f"got {learner.members}."
            )
        learner.resolved()  # refuses a device that this machine lacks
        planner = settings_from_table(PlannerSettings, table.planner, f"{path.name} [planner]")
        if not learner.warm_start:  # a fresh net needs its full training every time
            planner = replace(planner, refit_epochs=planner.epochs)
        return cls(chosen, table.seed if seed is None else seed, learner, planner)


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileNotFoundError(
            f"There is no {path}. It says which strategy buys; take submission.toml from the "
            "repository, or pass `config=` with the path of your own."
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from None
