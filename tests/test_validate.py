"""Every rule of the contract is checked, and every way to break one comes with a fix."""

import inspect
import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from base_run import ZEWDPCBaseRun
from evaluator.checks.check import Check
from evaluator.checks.contract_checks import (
    HINTS,
    REASONS,
    DryRun,
    contract_checks,
    failure,
    import_check,
    phases_check,
)
from evaluator.checks.validate import LIMITS, validate
from evaluator.records.trial import Pair, Status
from evaluator.worker.contract import Contract, bind, describe
from evaluator.worker.outcome import Outcome
from evaluator.worker.runner import SubprocessRunner
from evaluator.worker.worker import import_run
from shared.errors import ConfigurationError
from tests.conftest import REPO_ROOT

SUBMISSION = """
import numpy as np
from base_run import ZEWDPCBaseRun as Contract

class Mine(Contract):
    def pre_training_phase(self, training_dataset, time_available=None, register_progress=None,
                           compute_budget=None):
        self.classes = len(training_dataset[0]["label"])

    def purchase_phase(self, unlabelled_dataset, training_dataset, budget=None,
                       time_available=None, register_progress=None, purchase_budget=None,
                       compute_budget=None):
        assert (budget is None) != (purchase_budget is None), "one spelling at a time"
        assert (time_available is None) != (compute_budget is None), "one spelling at a time"
        n = budget or purchase_budget
        {purchase}
        return {{i: unlabelled_dataset.purchase_label(i) for i in range(n)}}

    def prediction_phase(self, test_dataset, register_progress=None):
        return np.zeros((len(test_dataset), self.classes), dtype=np.uint8)

{at_the_end}
"""
PLACES = {"purchase": "", "at_the_end": "ZEWDPCBaseRun = Mine"}


def write_submission(folder: Path, **places: str) -> Path:
    (folder / "run.py").write_text(SUBMISSION.format(**{**PLACES, **places}))
    return folder / "run.py"


def checks_of(submission: Path, **how: Any) -> dict[str, Check]:
    return {check.name: check for check in validate(submission, **how)}


def test_validate_runs_a_good_submission_under_both_spellings(tmp_path: Path) -> None:
    checks = checks_of(write_submission(tmp_path))
    assert {check.status for check in checks.values()} == {"ok"}, checks
    assert "of 24 s" in checks["deadline"].detail
    assert ", ".join(checks) == (
        "import, phases, arguments, returned, purchases, predictions, deadline, same seed, "
        "processes, memory"
    )
    assert checks["arguments"].detail == (
        "ran as budget/time_available and as purchase_budget/compute_budget"
    )
    assert checks["purchases"].detail == "10 of 10 labels bought"


BEFORE_ANY_RUN: dict[str, tuple[dict[str, str], str, str, str]] = {
    # case: (what is put where, the check that fails, words of the detail, words of the fix)
    "no name": (
        {"at_the_end": ""},
        "import",
        "has no name `ZEWDPCBaseRun`",
        "ZEWDPCBaseRun = Your",
    ),
    "a phase that is missing": (
        {"at_the_end": "Mine.prediction_phase = None\nZEWDPCBaseRun = Mine"},
        "phases",
        "Mine has no prediction_phase",
        "base_run.py",
    ),
}


@pytest.mark.parametrize("case", BEFORE_ANY_RUN)
def test_validate_stops_before_a_dry_run(case: str, tmp_path: Path) -> None:
    places, name, detail, fix = BEFORE_ANY_RUN[case]
    checks = checks_of(write_submission(tmp_path, **places))
    assert list(checks)[-1] == name
    assert checks[name].status == "fail"
    assert detail in checks[name].detail
    assert fix in checks[name].fix


def test_validate_looks_at_the_python_that_the_platform_is_asked_for(tmp_path: Path) -> None:
    run_py = write_submission(
        tmp_path, at_the_end=BEFORE_ANY_RUN["a phase that is missing"][0]["at_the_end"]
    )
    assert "python version" not in checks_of(run_py)  # nothing says what its image is built from
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.11"\n')
    (tmp_path / "runtime.txt").write_text("python-3.8\n")
    check = checks_of(run_py)["python version"]
    assert check.status == "fail"
    assert "runtime.txt asks for 3.8; pyproject.toml needs >=3.11" in check.detail


def test_phases_check_refuses_the_bare_contract() -> None:
    check = phases_check(Contract.from_message(describe(ZEWDPCBaseRun)))
    assert check.status == "fail"
    assert "is ZEWDPCBaseRun, which has none of the three phases" in check.detail
    assert "ZEWDPCBaseRun = YourClass" in check.fix


class Abstract(ZEWDPCBaseRun, ABC):
    @abstractmethod
    def more(self): ...


INSTANTIATED = {
    # what ZEWDPCBaseRun is: (what the child does with it, words of the fix for what Python says)
    "an abstract class": (Abstract, "bind ZEWDPCBaseRun to that class"),
    "an instance": (lambda: inspect.signature(ZEWDPCBaseRun()), "bind it to the class"),
}


@pytest.mark.parametrize("case", INSTANTIATED)
def test_import_check_explains_what_cannot_be_instantiated(case: str) -> None:
    action, fix = INSTANTIATED[case]
    with pytest.raises(TypeError) as refused:
        action()
    reason = f"TypeError: {refused.value}"
    assert fix in import_check(ConfigurationError("submission-unusable", reason)).fix


NAMES = {
    # the file's name: words of the refusal
    "random.py": "`import random` finds another module than random.py: /",
    "time.py": "finds another module than time.py: a part of Python itself. Rename time.py",
    "base_run.py": "finds another module than base_run.py",
    "evaluator.py": "finds another module than evaluator.py",
    "my.run.py": "`import my.run` does not find my.run.py. Rename it",
}


@pytest.mark.parametrize("name", NAMES)
def test_import_run_refuses_the_name_of_another_module(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])  # which it changes
    submission = write_submission(tmp_path).rename(tmp_path / name)
    with pytest.raises(ImportError) as caught:
        import_run(submission)
    assert NAMES[name] in str(caught.value)


def test_preflight_checks_the_name_of_the_file_first(tmp_path: Path) -> None:
    submission = write_submission(tmp_path).rename(tmp_path / "numpy.py")
    with pytest.raises(ConfigurationError, match=r"finds another module than numpy\.py"):
        SubprocessRunner().preflight(submission, [{}])
    submission = submission.rename(tmp_path / "baseline-v2.py")
    assert SubprocessRunner().preflight(submission, [{}]).contract.class_name == "Mine"


def test_validate_stops_at_a_run_that_fails(tmp_path: Path) -> None:
    checks = checks_of(write_submission(tmp_path, purchase="raise MemoryError"))
    assert list(checks) == ["import", "phases", "memory"]
    assert checks["memory"].status == "fail"
    assert checks["memory"].detail.startswith("out_of_memory: ")
    assert "hold less at once" in checks["memory"].fix


GOOD = DryRun(
    arg_names="page",
    pair=Pair(4, 0.5),
    outcome=Outcome(
        seconds={"pre_training": 4.0, "purchase": 6.0, "prediction": 1.0},
        claimed=[7, 1, 2, 3],
        predictions=np.eye(3, dtype=np.uint8),
        peak_memory=2**30,
    ),
    purchased=(1, 2, 3, 7),
    refused=0,
    log="",
)
ENDINGS: dict[Status, tuple[str, str]] = {
    # status: (the promise that is broken, words of the fix)
    "timeout": ("deadline", "--minutes 5"),
    "over_budget": ("purchases", "stop at the budget"),
    "out_of_memory": ("memory", "hold less at once"),
    "crashed": ("run", "fix that line"),
    "bad_output": ("predictions", "one row per image"),
}


@pytest.mark.parametrize("status", ENDINGS)
def test_failure_names_the_check_and_a_fix(status: Status) -> None:
    name, fix = ENDINGS[status]
    check = failure(replace(GOOD, outcome=Outcome(status=status, reason="purchase: boom")))
    assert (check.name, check.status) == (name, "fail")
    assert check.detail.startswith(f"{status}: purchase: boom")
    assert fix in check.fix


def test_hints_cover_every_status() -> None:
    assert set(HINTS) == set(ENDINGS) == set(get_args(Status)) - {"ok"}


BOTH = Contract("Mine", (), ("page", "kit"))
RULES: dict[str, tuple[dict[str, Any], dict[str, Any], str, str, str]] = {
    # case: (changes of the run, of its outcome, the check, its status, words of its detail)
    "all is well": ({}, {}, "returned", "ok", "a dict of the 4 labels bought"),
    "no dict": ({}, {"claimed": None}, "returned", "fail", "returned no dict"),
    "another dict": ({}, {"claimed": [1]}, "returned", "warn", "1 indices, but 4 were bought"),
    "labels left": (
        {"purchased": (1, 2)},
        {"claimed": [1, 2]},
        "purchases",
        "warn",
        "2 of 4 labels",
    ),
    "asked for more": ({"refused": 3}, {}, "purchases", "warn", "and 3 more asked for and refused"),
    "predictions": ({}, {}, "predictions", "ok", "3 x 3 of 0 and 1, 33% ones"),
    "room to spare": ({}, {}, "deadline", "ok", "10.0 s of 30 s"),
    "hardly any room": (
        {},
        {"seconds": {"pre_training": 20.0, "purchase": 8.5}},
        "deadline",
        "warn",
        "28.5 s of 30 s",
    ),
    "workers left": ({}, {"left_running": 2}, "processes", "warn", "2 of its processes"),
    "much memory": ({}, {"peak_memory": 15 * 2**30}, "memory", "warn", "15.00 GiB at most"),
}


@pytest.mark.parametrize("case", RULES)
def test_contract_checks_single_rule(case: str) -> None:
    changes, of_the_outcome, name, status, words = RULES[case]
    run = replace(GOOD, outcome=replace(GOOD.outcome, **of_the_outcome), **changes)
    checks = {check.name: check for check in contract_checks(BOTH, [run, run], LIMITS)}
    assert (checks[name].status, words in checks[name].detail) == (status, True), checks[name]
    assert [check.name for check in checks.values() if check.status != "ok"] in ([], [name])


@pytest.mark.parametrize(
    ("purchased", "words"),
    [((1, 2, 3, 9), "2 of 5 only one"), ((1, 2, 3, 7, 9), "1 of 5"), ((1, 2, 3), "1 of 4")],
)
def test_contract_checks_compare_runs_of_one_seed(purchased: tuple[int, ...], words: str) -> None:
    other = replace(GOOD, arg_names="kit", purchased=purchased)
    (found,) = (c for c in contract_checks(BOTH, [GOOD, other], LIMITS) if c.name == "same seed")
    assert (found.status, words in found.detail) == ("warn", True), found.detail


@pytest.mark.parametrize("case", [case for case in RULES if RULES[case][3] != "ok"])
def test_contract_checks_second_run_counts(case: str) -> None:
    changes, of_the_outcome, name, status, words = RULES[case]
    outcome = replace(GOOD.outcome, **of_the_outcome)
    other = replace(GOOD, arg_names="kit", outcome=outcome, **changes)
    checks = {check.name: check for check in contract_checks(BOTH, [GOOD, other], LIMITS)}
    assert (checks[name].status, words in checks[name].detail) == (status, True), checks[name]
    if name in ("returned", "purchases"):
        assert "(run 2 of 2, as purchase_budget/compute_budget)" in checks[name].detail


def test_contract_checks_of_a_failed_run_say_why() -> None:
    failed = replace(GOOD, outcome=Outcome(status="crashed", reason="purchase: boom"), log="a line")
    (found,) = contract_checks(BOTH, [GOOD, failed], LIMITS)
    assert (found.name, found.detail) == ("run", "crashed: purchase: boom\na line")


def test_contract_checks_warn_of_the_kits_spelling_alone() -> None:
    kit = replace(GOOD, arg_names="kit")
    found = contract_checks(replace(BOTH, arg_names=("kit",)), [kit, kit], LIMITS)[0]
    assert (found.name, found.status) == ("arguments", "warn")
    assert "ran as purchase_budget/compute_budget; the challenge's page says" in found.detail


HINTED = {
    # words of the evaluator's reasons (see tests/test_subprocess_runner.py): words of the hint
    "ModuleNotFoundError: No module named 'timm.models'": "put timm into",
    "pre_training: TypeError: f requires a parameter 'x'; the evaluator offers budget": "name the",
    "purchase: Index 40 is outside the pool of 40 images (0 to 39).": "the sample's own index",
    "purchase: purchase_label takes a whole number; got 1.5.": "int(idx)",
    "prediction: Labels are sold in the purchase phase only.": "buy inside purchase_phase",
    "purchase_label was called in a worker process; call it in": "workers may load images",
    "purchase: the submission's process was killed by SIGKILL": "for its memory",
    "purchase: the submission's process ended with exit code 3 before": "sys.exit",
    "run.py did not start within 300 s.": "do no work at import",
    "run.py has no name `ZEWDPCBaseRun`.": "ZEWDPCBaseRun = YourClass",
    "ImportError: `import random` finds another module than random.py: /x. Rename": "mv that file",
    "TypeError: Can't instantiate abstract class Mine with": "the phases it still lacks",
    "TypeError: <run.Mine object> is not a callable object": "the class, uncalled",
    "KeyError: 'x'": "the traceback above",
}


@pytest.mark.parametrize("reason", HINTED)
def test_failure_has_a_fix_for_a_known_reason(reason: str) -> None:
    crashed = replace(GOOD, outcome=Outcome(status="crashed", reason=reason))
    assert HINTED[reason] in failure(crashed).fix
    unusable = ConfigurationError("submission-unusable", reason)
    assert HINTED[reason] in import_check(unusable).fix


def test_validate_mistyped_strategy_is_no_crash() -> None:
    (check,) = validate(REPO_ROOT / "run.py", "entrpy")
    assert (check.status, check.fix) == ("fail", "give what it asks for")
    assert "refuses: Unknown strategy: 'entrpy'. Did you mean 'entropy'?" in check.detail


def test_reasons_are_all_tested() -> None:
    assert len(HINTED) == len(REASONS) + 1  # and one that none of them fits


def page_and_kit(budget=None, *, purchase_budget=None, compute_budget=None): ...
def kit_only(purchase_budget, compute_budget): ...
def anything(**more): ...
def both_required(budget, purchase_budget): ...
def unknown_with_default(budget, colour="red"): ...


OFFERED = {"budget": 5, "time_available": 60.0}
BOUND: dict[str, tuple[Callable[..., Any], Any, dict[str, Any]]] = {
    # case: (function, spelling, what it is given)
    "one of two names": (page_and_kit, "page", {"budget": 5, "compute_budget": 60.0}),
    "the other of two": (page_and_kit, "kit", {"purchase_budget": 5, "compute_budget": 60.0}),
    "the only names": (kit_only, "page", {"purchase_budget": 5, "compute_budget": 60.0}),
    "any name": (anything, "page", OFFERED),
    "any name, kit": (anything, "kit", {"purchase_budget": 5, "compute_budget": 60.0}),
    "both names, required": (both_required, "page", {"budget": 5, "purchase_budget": 5}),
    "a default of its own": (unknown_with_default, "kit", {"budget": 5}),
}


@pytest.mark.parametrize("case", BOUND)
def test_bind_gives_each_argument_once(case: str) -> None:
    function, spelling, given = BOUND[case]
    assert bind(function, OFFERED, spelling) == given


def test_describe_names_missing_phases_and_spellings() -> None:
    class Half(ZEWDPCBaseRun):
        def purchase_phase(self, unlabelled_dataset, purchase_budget): ...

    contract = Contract.from_message(describe(Half))
    assert contract == Contract("Half", ("pre_training_phase", "prediction_phase"), ("kit",))
    assert len(Contract.from_message(describe(None)).missing) == 3
    assert len(Contract.from_message("nonsense").missing) == 3


def test_preflight_contract_of_this_submission() -> None:
    variants = [{"strategy": "random", "seed": 0}]
    contract = SubprocessRunner().preflight(REPO_ROOT / "run.py", variants).contract
    assert contract == Contract("ZEWDPCRun", (), ("page", "kit"))


def test_validate_command_exit_code(tmp_path: Path) -> None:
    def command(*flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "evaluator", "validate", *flags],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPO_ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    done = command("--json")
    assert done.returncode == 1, done.stderr
    (check,) = json.loads(done.stdout)["checks"]
    assert "There is no submission at run.py" in check["detail"]
    done = command("--minutes", "-1")
    assert done.returncode == 2
    assert "--minutes -1: expected a number above 0" in done.stderr


@pytest.mark.slow
def test_validate_this_submission() -> None:
    checks = checks_of(REPO_ROOT / "run.py", minutes=2)  # time enough on a busy machine as well
    assert checks.pop("same seed").status != "fail"  # it plans by the clock
    assert {check.status for check in checks.values()} == {"ok"}, checks
