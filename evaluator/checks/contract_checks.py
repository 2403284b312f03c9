"""What dry runs show of a submission: each rule of the contract, kept or broken, and the fix."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from evaluator.checks.check import LABELS, Check
from evaluator.records.trial import Pair, Status
from evaluator.worker.contract import METHODS, NAMES_IN, ArgNames, Contract
from evaluator.worker.outcome import Limits, Outcome, check_claim
from shared.errors import ConfigurationError

HEADROOM = 0.9  # of the compute budget or of the memory; a bad day takes more than this run did
CONTRACT = "see the class in base_run.py"

# A trial's status: (the check that fails, what to do).
HINTS: dict[Status, tuple[str, str]] = {
    "timeout": (
        "deadline",
        "look at the clock while you work: time_available is what is left, in seconds, of one "
        "budget for pre-training and purchase together.\nWhere it is only too short for a "
        "dry run, allow more: --minutes 5",
    ),
    "over_budget": (
        "purchases",
        "count what you buy and stop at the budget, or catch OutOfBudgetError and go on",
    ),
    "out_of_memory": (
        "memory",
        "hold less at once: images as uint8, smaller batches, fewer worker processes; what all "
        "processes hold together counts",
    ),
    "crashed": ("run", "the traceback above ends where it broke; fix that line"),
    "bad_output": (
        "predictions",
        "return one row per image and one column per class, of whole numbers 0 and 1:\n"
        "return (probabilities > 0.5).astype(np.uint8)",
    ),
}
# A pattern of a reason, where more can be said than its status does: (pattern, what to do).
REASONS: tuple[tuple[str, str], ...] = (
    (
        r"No module named '(?P<name>\w+)",
        "put {name} into requirements.txt and install it; a module of your own belongs beside "
        "run.py, committed",
    ),
    ("no name `ZEWDPCBaseRun`", "add at the end of run.py: ZEWDPCBaseRun = YourClass"),
    ("finds another module|does not find", "mv that file to a name of its own, such as run.py"),
    ("is not a callable object", "ZEWDPCBaseRun is instantiated: bind it to the class, uncalled"),
    (
        "abstract class",
        "give the class the phases it still lacks, and bind ZEWDPCBaseRun to that class",
    ),
    (
        "requires a parameter",
        f"name the parameters as the contract does, or give them defaults: {CONTRACT}",
    ),
    (
        "outside the pool",
        'buy by the sample\'s own index: unlabelled_dataset.purchase_label(sample["idx"])',
    ),
    ("takes a whole number", "buy one index at a time, an int: purchase_label(int(idx))"),
    ("purchase phase only", "buy inside purchase_phase; keep the labels, not the data set"),
    ("worker process", "buy in the process that runs purchase_phase; workers may load images"),
    ("killed by SIGKILL", "the system killed it, most likely for its memory: hold less at once"),
    ("ended with exit code", "return from the phase; do not call sys.exit or os._exit"),
    ("did not start within", "do no work at import; load and train in pre_training_phase"),
)


@dataclass(frozen=True)
class DryRun:
    """One run of a submission on a few images.

    purchased : indices, in the order of purchase. refused : labels asked for past the budget.
    log : the end of what it printed.
    """

    arg_names: ArgNames
    pair: Pair
    outcome: Outcome
    purchased: tuple[int, ...]
    refused: int
    log: str


def import_check(error: ConfigurationError) -> Check:
    """What to do about a submission that cannot be imported or instantiated."""
    broke = error.code == "submission-unusable"
    otherwise = HINTS["crashed"][1] if broke else "give what it asks for"
    return Check("import", "fail", str(error), _hint(str(error)) or otherwise)


def phases_check(contract: Contract) -> Check:
    """Whether `ZEWDPCBaseRun` in run.py is a class that has the three phases."""
    if not contract.missing:
        return Check("phases", "ok", f"{contract.class_name} has {', '.join(METHODS)}")
    if len(contract.missing) == len(METHODS):
        return Check(
            "phases",
            "fail",
            f"ZEWDPCBaseRun in run.py is {contract.class_name}, which has none of the three "
            "phases; expected your class, for the evaluator instantiates that name",
            "add at the end of run.py: ZEWDPCBaseRun = YourClass",
        )
    lacking = ", ".join(contract.missing)
    return Check("phases", "fail", f"{contract.class_name} has no {lacking}", f"add it: {CONTRACT}")


def failure(run: DryRun) -> Check:
    """The check that says why a dry run failed."""
    name, fix = HINTS[run.outcome.status]
    reason = f"{run.outcome.status}: {run.outcome.reason}"
    return Check(name, "fail", f"{reason}\n{run.log}", _hint(reason) or fix)


def contract_checks(contract: Contract, runs: Sequence[DryRun], limits: Limits) -> list[Check]:
    """Every rule, over dry runs with the same seed; where a run failed, why it did instead."""
    failed = [failure(run) for run in runs if run.outcome.status != "ok"]
    if failed:
        return failed
    return [
        _arguments(contract, runs),
        _worst(_returned, runs),
        _worst(_purchases, runs),
        _worst(_predictions, runs),
        _deadline(runs),
        _same_seed(runs),
        _processes(runs),
        _memory(runs, limits),
    ]


def _worst(check_of: Callable[[DryRun], Check], runs: Sequence[DryRun]) -> Check:
    """The worst check of all runs; where they differ, it says of which run."""
    checks = [check_of(run) for run in runs]
    worst = max(checks, key=lambda check: list(LABELS).index(check.status))
    if worst.status == "ok" or checks.count(worst) == len(checks):
        return worst
    number = checks.index(worst)
    where = f"run {number + 1} of {len(runs)}, as {_spelled(runs[number].arg_names)}"
    return replace(worst, detail=f"{worst.detail} ({where})")


def _arguments(contract: Contract, runs: Sequence[DryRun]) -> Check:
    ran = " and as ".join(dict.fromkeys(_spelled(run.arg_names) for run in runs))
    if "page" not in contract.arg_names:
        detail = f"ran as {ran}; the challenge's page says {_spelled('page')}"
        return Check("arguments", "warn", detail, "take both spellings, as run.py does")
    return Check("arguments", "ok", f"ran as {ran}")


def _returned(run: DryRun) -> Check:
    if run.outcome.claimed is None:
        detail = "purchase_phase returned no dict; expected {index: label} of what it bought"
        return Check("returned", "fail", detail, "return {index: label} of every label bought")
    warnings = check_claim(run.outcome.claimed, dict.fromkeys(run.purchased))
    if warnings:
        return Check("returned", "warn", warnings[0], "return every index bought, and no other")
    return Check("returned", "ok", f"a dict of the {len(run.purchased)} labels bought")


def _purchases(run: DryRun) -> Check:
    bought = f"{len(run.purchased)} of {run.pair.budget} labels bought"
    if run.refused:
        detail = f"{bought}, and {run.refused} more asked for and refused"
        return Check("purchases", "warn", detail, HINTS["over_budget"][1])
    if len(run.purchased) < run.pair.budget:
        detail = f"{bought}; a label left over is worth nothing"
        return Check(
            "purchases", "warn", detail, "buy until the budget is spent, at random if need be"
        )
    return Check("purchases", "ok", bought)


def _predictions(run: DryRun) -> Check:
    predictions = run.outcome.predictions
    assert predictions is not None, "no run ends with ok before its predictions are checked"
    detail = f"{' x '.join(map(str, predictions.shape))} of 0 and 1, {predictions.mean():.0%} ones"
    return Check("predictions", "ok", detail)


def _deadline(runs: Sequence[DryRun]) -> Check:
    spent = max(_seconds(run) for run in runs)
    allowed = runs[0].pair.minutes * 60
    detail = f"{spent:.1f} s of {allowed:.0f} s used by pre-training and purchase"
    if spent > HEADROOM * allowed:
        fix = "plan with less: on a slower machine this is a time-out, and a time-out fails all"
        return Check("deadline", "warn", detail, fix)
    return Check("deadline", "ok", detail)


def _same_seed(runs: Sequence[DryRun]) -> Check:
    bought = [set(run.purchased) for run in runs]
    images = set[int]().union(*bought)
    differing = len(images - images.intersection(*bought))
    if differing:
        detail = (
            f"two runs with the same seed bought different images: {differing} of {len(images)} "
            "only one of them bought"
        )
        fix = (
            "draw every random number from a generator made from `seed`, an argument of __init__; "
            "a plan that follows the clock makes runs differ too, and that is as it should be"
        )
        return Check("same seed", "warn", detail, fix)
    return Check("same seed", "ok", f"{len(runs)} runs bought the same images")


def _processes(runs: Sequence[DryRun]) -> Check:
    left = max(run.outcome.left_running for run in runs)
    if left:
        detail = f"{left} of its processes were still running at the end, and were killed"
        return Check("processes", "warn", detail, "end your workers before a phase returns")
    return Check("processes", "ok", "none left running")


def _memory(runs: Sequence[DryRun], limits: Limits) -> Check:
    peak = max(run.outcome.peak_memory for run in runs)
    detail = f"{peak / 2**30:.2f} GiB at most; the node has {limits.memory / 2**30:g} GiB"
    if peak > HEADROOM * limits.memory:
        return Check("memory", "warn", detail, HINTS["out_of_memory"][1])
    return Check("memory", "ok", detail)


def _seconds(run: DryRun) -> float:
    return run.outcome.seconds["pre_training"] + run.outcome.seconds["purchase"]


def _spelled(arg_names: ArgNames) -> str:
    return "/".join(NAMES_IN[arg_names].values())


def _hint(reason: str) -> str:
    for words, hint in REASONS:
        found = re.search(words, reason)
        if found:
            return hint.format(**found.groupdict()) if found.groupdict() else hint
    return ""
