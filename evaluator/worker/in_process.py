"""`--runner local`: the submission in the evaluator's own process, for `breakpoint()` and print.

Nothing stands between the two: no deadline, no memory limit, no log file, and labels are in the
same memory. The other runners are for measuring.
"""

import contextlib
import logging
import math
import sys
import threading
import time
import traceback
from bdb import BdbQuit
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch

from evaluator.worker.contract import Contract
from evaluator.worker.outcome import (
    Limits,
    Outcome,
    TrialFailedError,
    failure_of,
    readable_reason,
)
from evaluator.worker.protocol import Message
from evaluator.worker.runner import (
    REPO_ROOT,
    SubmissionInfo,
    TrialInputs,
    require_submission,
    run_phases,
    trial_job,
)
from evaluator.worker.worker import (
    ArgumentsRefusedError,
    PhaseRunner,
    failure_message,
    inspect_submission,
    whole_number,
)
from shared.errors import ConfigurationError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class InProcessRunner:
    """Runs a submission in this process: its output is the terminal's, and a debugger works."""

    limits: Limits = field(default_factory=Limits)  # of the other runners; none is enforced here

    name: ClassVar[str] = "local"
    trusted: ClassVar[bool] = True

    def with_limits(self, limits: Limits) -> "InProcessRunner":
        return replace(self, limits=limits)

    def run(self, submission: Path, trial: TrialInputs) -> Outcome:
        """See Runner."""
        outcome = Outcome()
        trial.log.parent.mkdir(parents=True, exist_ok=True)
        trial.log.write_text("(its output went to the terminal: --runner local)\n")
        run_py = submission.resolve()
        try:
            with _fresh_imports(run_py):
                phases = _Phases(run_py, trial, outcome)
                run_phases(phases.run_phase, trial, self.limits, outcome)
        except TrialFailedError as failed:
            outcome.status, outcome.reason = failed.status, readable_reason(failed.reason)
        finally:
            trial.vault.open = False
        return outcome

    def preflight(self, submission: Path, variants: Sequence[Mapping[str, Any]]) -> SubmissionInfo:
        """See Runner."""
        require_submission(submission)
        run_py = submission.resolve()
        try:
            with _fresh_imports(run_py):
                message = inspect_submission(run_py, list(variants))
        except ArgumentsRefusedError as error:
            reason = readable_reason(str(error))
            raise ConfigurationError(
                "arguments-refused", f"{submission} refuses: {reason}"
            ) from error
        except BdbQuit:
            raise KeyboardInterrupt from None
        except (Exception, SystemExit) as error:
            logger.error("%s", traceback.format_exc())
            reason = readable_reason(failure_message(error)["reason"])
            raise ConfigurationError(
                "submission-unusable", f"{submission} cannot be used: {reason}"
            ) from error
        return SubmissionInfo(message["strategies"], Contract.from_message(message["contract"]))


class _Phases:
    """The phases of one trial, each called directly; sells labels straight from the vault."""

    def __init__(self, run_py: Path, trial: TrialInputs, outcome: Outcome) -> None:
        self._trial, self._outcome = trial, outcome
        self._phase = "start-up"
        self._lock = threading.Lock()
        with self._failing_as("start-up"):
            self._runner = PhaseRunner(trial_job(run_py, trial), self)

    def run_phase(
        self, phase: str, allowed: float, arguments: dict[str, Any]
    ) -> tuple[Message, bytes]:
        self._phase = phase
        started = time.monotonic()
        try:
            with self._failing_as(phase):
                return self._runner.run_phase(phase, arguments)
        finally:
            spent = time.monotonic() - started
            self._outcome.seconds[phase] = round(spent, 3)
            if spent > allowed:
                self._outcome.warnings.append(
                    f"{phase} took {spent:.1f} s of {allowed:.1f} s: with another runner it would "
                    "have ended as timeout."
                )

    def purchase(self, index: Any) -> list[int]:
        with self._lock:
            return list(self._trial.vault.purchase(whole_number(index)))

    def progress(self, share: float) -> None:
        if math.isfinite(share):
            self._trial.progress(self._phase, min(max(float(share), 0.0), 1.0))

    @contextlib.contextmanager
    def _failing_as(self, phase: str) -> Iterator[None]:
        """Turn an exception of the submission into a failed trial, with its traceback shown."""
        try:
            yield
        except BdbQuit:  # `q` in the debugger ends the evaluation, like Ctrl-C
            raise KeyboardInterrupt from None
        except (Exception, SystemExit) as error:
            trace = traceback.format_exc()
            logger.error("%s", trace)
            with self._trial.log.open("a") as log:
                log.write(trace)
            refused = self._trial.vault.refused
            raise failure_of(failure_message(error), phase, refused) from error


@contextlib.contextmanager
def _fresh_imports(run_py: Path) -> Iterator[None]:
    """Work in the folder of `run_py`; forget afterwards what was imported from there.

    So each trial imports the code afresh, as a process of its own would, and two submissions may
    both have a module `run`.
    """
    path, before = list(sys.path), dict(sys.modules)
    # torch's number of threads is part of a score's configuration; a submission may change it.
    threads = torch.get_num_threads()
    namesake = before.get(run_py.stem)
    if namesake and _is_own_code(namesake):  # of another submission, or of a test
        del sys.modules[run_py.stem]
    # As in a process of its own, a submission cannot import what lies beside the evaluator.
    hidden = {"", str(REPO_ROOT), str(run_py.parent)}
    sys.path[:] = [str(run_py.parent), *(entry for entry in path if entry not in hidden)]
    try:
        with contextlib.chdir(run_py.parent):
            yield
    finally:
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            if name not in before and _is_own_code(module, run_py.parent):
                del sys.modules[name]
        if namesake:
            sys.modules[run_py.stem] = namesake
        else:
            sys.modules.pop(run_py.stem, None)
        torch.set_num_threads(threads)


def _is_own_code(module: ModuleType, folder: Path = Path("/")) -> bool:
    """Whether a module below `folder` is a submission's: not installed, not the evaluator."""
    file = getattr(module, "__file__", None)
    package = module.__name__.partition(".")[0]
    if not file or package == "evaluator" or package in sys.stdlib_module_names:
        return False
    path = Path(file)
    installed = {"site-packages", "dist-packages"}.intersection(path.parts)
    return path.is_relative_to(folder) and not installed
