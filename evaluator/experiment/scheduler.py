"""One scheduler for one machine and for a cluster: it starts tasks and journals their results.

An executor of `concurrent.futures` runs the tasks: `SerialExecutor` one at a time in this process,
`evaluator.experiment.ray_executor.RayExecutor` many at once on other machines. The scheduler is
the only writer of the journals.
"""

import concurrent.futures
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import Any

from tqdm import tqdm

from evaluator.experiment.evaluation import Evaluation
from evaluator.experiment.run_trial import Workspace, purchase, training
from shared.console import event

POLL_SECONDS = 5.0  # a cluster may grow while all its tasks take minutes

Step = tuple[int, int]  # (i, 0): the purchase of the plan's trial i; (i, n): its nth training

logger = logging.getLogger(__name__)


class TrialExecutor(Executor):
    """Runs tasks, functions whose first argument is a `Workspace`, which the executor provides."""

    def slots(self) -> int:
        """How many tasks can run at once as of now."""
        raise NotImplementedError

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        raise NotImplementedError


class SerialExecutor(TrialExecutor):
    """Runs each task when it is submitted, in the calling thread: a debugger can step into it."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def slots(self) -> int:
        return 1

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(task(self._workspace, *args, **kwargs))
        except Exception as error:  # KeyboardInterrupt ends the evaluation at once
            future.set_exception(error)
        return future


def run(
    evaluation: Evaluation, executor: TrialExecutor | None = None, *, progress: bool = False
) -> None:
    """Do what the journals do not hold yet, in the plan's order, as much at once as fits.

    Raises the first error of a task, once the tasks that ran by then have ended and are journalled.
    """
    with _progress_bar(evaluation, progress) as bar:
        if executor is None:
            workspace = Workspace(
                evaluation.plan,
                evaluation.out,
                evaluation.runner,
                evaluation.scorer,
                show=bar.set_description,
            )
            executor = SerialExecutor(workspace)
        _Scheduler(evaluation, executor, bar).run()


class _Scheduler:
    def __init__(self, evaluation: Evaluation, executor: TrialExecutor, bar: "tqdm[Any]") -> None:
        self.evaluation, self.executor, self.bar = evaluation, executor, bar
        self.trials = evaluation.plan.trials()
        # A heap: the plan's first step is on top. The trainings of a trial are due once its
        # purchase is made, and so come before the purchases of later trials.
        self.due: list[Step] = [(i, 0) for i in range(len(self.trials))]
        self.running: dict[Future[Any], Step] = {}

    def run(self) -> None:
        errors: list[BaseException] = []
        while self.running or (self.due and not errors):
            # Nothing is queued, because queued tasks would still start after an error. Where the
            # last machine of a cluster is lost, one task waits for the next.
            while self.due and not errors and len(self.running) < max(1, self.executor.slots()):
                step = heappop(self.due)
                if future := self._start(step):
                    self.running[future] = step
                else:
                    self._finish(step)
            finished, _ = concurrent.futures.wait(self.running, POLL_SECONDS, FIRST_COMPLETED)
            for future in finished:
                step = self.running.pop(future)
                if error := future.exception():
                    errors.append(error)
                    if self.running or len(errors) > 1:  # else it is shown where it is caught
                        self._log_error(error)
                else:
                    self._keep(step, future.result())
                    self._finish(step)
        if errors:
            raise errors[0]

    def _start(self, step: Step) -> "Future[Any] | None":
        """The task of a step; None where it is done already, or needs no task."""
        evaluation, (i, n) = self.evaluation, step
        trial = self.trials[i]
        if n == 0:
            if evaluation.purchase(trial):
                return None
            return self.executor.submit(purchase, trial)
        pipeline, seed = evaluation.plan.trainings(trial)[n - 1]
        if not evaluation.is_due(trial, pipeline, seed):
            return None
        if known := evaluation.score_of_equal_purchase(trial, pipeline, seed):
            evaluation.keep_score(trial, known)
            return None
        return self.executor.submit(training, trial, evaluation.bought(trial), pipeline, seed)

    def _keep(self, step: Step, result: Any) -> None:
        trial = self.trials[step[0]]
        if self.running:
            self.bar.set_description(f"{trial.title}; {len(self.running)} running")
        if step[1] == 0:
            self.evaluation.keep_purchase(trial, result)
        else:
            self.evaluation.keep_score(trial, result)

    def _finish(self, step: Step) -> None:
        """Count a step; the trainings that follow a purchase are due now."""
        self.bar.update()
        i, n = step
        if n == 0:
            for nth, _ in enumerate(self.evaluation.plan.trainings(self.trials[i]), 1):
                heappush(self.due, (i, nth))

    def _log_error(self, error: BaseException) -> None:
        logger.error(
            "%s\nNothing new is started; still running: %d.",
            error,
            len(self.running),
            extra=event("task_failed", error=type(error).__name__, running=len(self.running)),
        )


@contextmanager
def _progress_bar(evaluation: Evaluation, progress: bool) -> "Iterator[tqdm[Any]]":
    """A bar over the steps of the plan, silent where no progress is wanted or nobody looks."""
    trials = evaluation.plan.trials()
    steps = sum(1 + len(evaluation.plan.trainings(trial)) for trial in trials)
    with tqdm(total=steps, unit="step", disable=None if progress else True) as bar:
        yield bar
