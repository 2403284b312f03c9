"""`python -m evaluator validate`: does a submission keep the contract? Known in a minute.

It is rehearsed on the 100 images of the recipe `debug` through the judge's own isolation, twice
with the same seed, under each spelling of its arguments that it understands.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from evaluator.checks.checks import Check, add_json_flag, exit_code, show
from evaluator.checks.verdicts import Rehearsal, import_check, phases_check, verdicts
from evaluator.data.dataset import Splits, open_splits
from evaluator.errors import ConfigurationError
from evaluator.records.trial import Pair
from evaluator.synthetic import RECIPES, generate
from evaluator.worker.contract import SPELLED, Spelling
from evaluator.worker.runner import contract_of, last_lines, run_submission
from evaluator.worker.supervisor import Limits
from evaluator.worker.vault import LabelVault

BUDGET = 10  # labels, of the 40 in the pool
MINUTES = 0.4  # of compute, for each of the two rehearsals
LIMITS = Limits(start_up=120.0, prediction=60.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `validate`."""
    parser.add_argument("--submission", type=Path, default=Path("run.py"), metavar="RUN_PY")
    parser.add_argument("--strategy", metavar="NAME", help="one of the submission's strategies")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"of compute per rehearsal ({MINUTES})"
    )
    add_json_flag(parser)
    parser.set_defaults(run=_run)


def validate(
    submission: Path, strategy: str | None = None, minutes: float = MINUTES
) -> list[Check]:
    """Every promise of the contract, kept or not."""
    arguments: dict[str, Any] = {"strategy": strategy, "seed": 0}
    try:
        contract = contract_of(submission, arguments)
    except ConfigurationError as error:
        return [import_check(error)]
    chosen = f"strategy {strategy}" if strategy else "as it is set; --strategy NAME tries another"
    checks = [Check("import", "ok", f"{submission}, {chosen}"), phases_check(contract)]
    if exit_code(checks):
        return checks
    spellings = contract.spellings or ("page",)
    with tempfile.TemporaryDirectory(prefix="zewdpc-") as name:
        folder = Path(name)
        painted = generate(RECIPES["debug"], folder / "debug", workers=1, progress=False)
        splits = open_splits(painted, progress=False)
        runs: list[Rehearsal] = []
        for spelling in (spellings[0], spellings[-1]):  # the same one again where there is one
            print(f"Rehearsing with {'/'.join(SPELLED[spelling].values())} ...", file=sys.stderr)
            pair = Pair(BUDGET, minutes)
            runs.append(_rehearse(submission, splits, pair, spelling, arguments, folder / "log"))
            if runs[-1].outcome.status != "ok":
                break
    return checks + verdicts(contract, runs, LIMITS)


def _run(flags: argparse.Namespace) -> int:
    if not 0 < flags.minutes < float("inf"):
        raise ConfigurationError(
            "bad-budget", f"--minutes {flags.minutes:g}: expected a number above 0."
        )
    return show(validate(flags.submission, flags.strategy, flags.minutes), as_json=flags.json)


def _rehearse(
    submission: Path,
    splits: Splits,
    pair: Pair,
    spelling: Spelling,
    arguments: dict[str, Any],
    log: Path,
) -> Rehearsal:
    vault = LabelVault(splits.unlabelled.labels, pair.budget)
    outcome = run_submission(
        submission,
        splits,
        pair,
        vault,
        log,
        arguments=arguments,
        spelling=spelling,
        limits=LIMITS,
    )
    purchased = tuple(vault.purchased)
    return Rehearsal(spelling, pair, outcome, purchased, vault.refused, last_lines(log))
