"""`python -m evaluator validate`: does a submission keep the contract? Known in a minute.

A dry run on the 100 images of the recipe `debug`, as an evaluation runs it, twice with the same
seed, under each spelling of its arguments that it understands.
"""

import argparse
import logging
import tempfile
from pathlib import Path
from typing import Any

from evaluator.checks.build_files import build_checks, has_build_files
from evaluator.checks.check import Check, add_json_flag, exit_code, show
from evaluator.checks.contract_checks import (
    DryRun,
    contract_checks,
    import_check,
    phases_check,
)
from evaluator.data.dataset import Splits, open_splits
from evaluator.records.trial import Pair
from evaluator.synthetic import RECIPES, generate
from evaluator.worker.capped_log import last_lines
from evaluator.worker.contract import NAMES_IN, ArgNames
from evaluator.worker.outcome import Limits
from evaluator.worker.runner import SubprocessRunner, TrialInputs
from evaluator.worker.vault import LabelVault
from shared.errors import ConfigurationError

logger = logging.getLogger(__name__)

BUDGET = 10  # labels, of the 40 in the pool
MINUTES = 0.4  # of compute, for each of the two runs
LIMITS = Limits(start_up=120.0, prediction=60.0)
RUNNER = SubprocessRunner(LIMITS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `validate`."""
    parser.add_argument("--submission", type=Path, default=Path("run.py"), metavar="RUN_PY")
    parser.add_argument("--strategy", metavar="NAME", help="one of the submission's strategies")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"of compute per dry run ({MINUTES})"
    )
    add_json_flag(parser)
    parser.set_defaults(run=_run)


def validate(
    submission: Path, strategy: str | None = None, minutes: float = MINUTES
) -> list[Check]:
    """Every rule of the contract, kept or broken."""
    arguments: dict[str, Any] = {"strategy": strategy, "seed": 0}
    try:
        contract = RUNNER.preflight(submission, [arguments]).contract
    except ConfigurationError as error:
        return [import_check(error)]
    chosen = f"strategy {strategy}" if strategy else "as it is set; --strategy NAME tries another"
    checks = [Check("import", "ok", f"{submission}, {chosen}"), phases_check(contract)]
    built = build_checks(submission.parent) if has_build_files(submission.parent) else []
    if exit_code(checks):
        return checks + built
    conventions = contract.arg_names or ("page",)
    with tempfile.TemporaryDirectory(prefix="zewdpc-") as name:
        folder = Path(name)
        data = generate(RECIPES["debug"], folder / "debug", workers=1, progress=False)
        splits = open_splits(data, progress=False)
        runs: list[DryRun] = []
        # Under the same convention twice where it takes one only.
        for arg_names in (conventions[0], conventions[-1]):
            logger.info("Dry run with %s ...", "/".join(NAMES_IN[arg_names].values()))
            pair = Pair(BUDGET, minutes)
            runs.append(_dry_run(submission, splits, pair, arg_names, arguments, folder / "log"))
            if runs[-1].outcome.status != "ok":
                break
    return checks + contract_checks(contract, runs, LIMITS) + built


def _run(flags: argparse.Namespace) -> int:
    if not 0 < flags.minutes < float("inf"):
        raise ConfigurationError(
            "bad-budget", f"--minutes {flags.minutes:g}: expected a number above 0."
        )
    return show(validate(flags.submission, flags.strategy, flags.minutes), as_json=flags.json)


def _dry_run(
    submission: Path,
    splits: Splits,
    pair: Pair,
    arg_names: ArgNames,
    arguments: dict[str, Any],
    log: Path,
) -> DryRun:
    vault = LabelVault(splits.unlabelled.labels, pair.budget)
    outcome = RUNNER.run(
        submission, TrialInputs(splits, pair, vault, log, arguments, arg_names=arg_names)
    )
    purchased = tuple(vault.purchased)
    return DryRun(arg_names, pair, outcome, purchased, vault.refused, last_lines(log))
