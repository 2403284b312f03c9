"""The trial grid on a Ray cluster: one task per purchase, one per training.

The driver plans, is the only writer of the journals, and does nothing else. Ray places the tasks
where there are processors and GPUs, and starts a task again elsewhere when its worker or node is
lost. Images travel through Ray's object store and are put into a file once per node. Ray is asked
for only when `--engine ray` is (requirements-cluster.txt).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
from tqdm import tqdm

from evaluator.data.dataset import ZEWDPCBaseDataset
from evaluator.data.layout import SPLITS
from evaluator.errors import ConfigurationError
from evaluator.experiment.evaluation import Evaluation, say
from evaluator.experiment.ray_cluster import Resources, connect, nodes_now, room
from evaluator.experiment.ray_tasks import Job, Shipment, configurations, purchase, training
from evaluator.records.journal import Record
from evaluator.training.pipelines import Pipeline
from evaluator.training.scoring import Scorer

RETRIES = 3  # of a task whose worker or node was lost
LOOK_FOR_NODES = 5.0  # seconds; a cluster may grow while all its tasks take minutes


class KnownScorer(Scorer):
    """A scorer on the driver, which may lack the workers' GPU: it knows what they said."""

    def __init__(self, scorer: Scorer, configurations: Mapping[str, str]) -> None:
        super().__init__(
            scorer.splits, weights=scorer.weights, device=scorer.device, steps=scorer.steps
        )
        self._configurations = configurations

    def configuration(self, pipeline: Pipeline) -> str:
        return self._configurations[pipeline.name]


def run_on_ray(evaluation: Evaluation, resources: Resources) -> None:
    """Do what the journals do not hold yet, in the plan's order, as much at once as there is room.

    Raises the first error of a task, once what is at work by then has ended and is journaled.
    """
    connect(resources)
    job = ray.put(_job(evaluation, resources))
    expected = _result(_task(configurations, resources).remote(job))
    evaluation.scorer = KnownScorer(evaluation.scorer, expected)
    with evaluation.bar() as bar:
        Driver(evaluation, resources, job, expected, bar).run()


@dataclass
class Driver:
    """Starts tasks in the plan's order and journals what they return.

    A step is (i, 0), the purchase of the plan's trial i, or (i, n), its nth training. Trainings
    are due once their purchase is made, and so come before the purchases of later trials.
    """

    evaluation: Evaluation
    resources: Resources
    job: Any  # in the object store
    expected: Mapping[str, str]  # pipeline -> configuration
    bar: "tqdm[Any]"

    def __post_init__(self) -> None:
        self.purchase = _task(purchase, self.resources)
        self.training = _task(training, self.resources)
        self.trials = self.evaluation.plan.trials()
        self.due = [(i, 0) for i in range(len(self.trials))]  # a heap, the plan's first step on top
        self.at_work: dict[Any, tuple[int, int]] = {}  # task -> step

    def run(self) -> None:
        """Make every step; after an error of a task only those at work, then raise it."""
        errors: list[Exception] = []
        while self.at_work or (self.due and not errors):
            while self.due and not errors and self._has_room():
                step = heappop(self.due)
                if task := self._start(*step):
                    self.at_work[task] = step
                else:
                    self._made(*step)
            for task in ray.wait(list(self.at_work), timeout=LOOK_FOR_NODES)[0]:
                try:
                    self._journal(*self.at_work.pop(task), task)
                except (ConfigurationError, ray.exceptions.RayError) as error:
                    errors.append(error)
                    say(f"{error}\nNothing new is started; still at work: {len(self.at_work)}.")
        if errors:
            raise errors[0]

    def _has_room(self) -> bool:
        """Whether a task would start at once, for none may be queued when another fails.

        Where the last node is lost, one task is given to Ray to wait for the next node.
        """
        return len(self.at_work) < max(1, room(nodes_now(), self.resources))

    def _start(self, i: int, n: int) -> Any:
        """The task of a step; None where it is made already, or made without a task."""
        evaluation, trial = self.evaluation, self.trials[i]
        if n == 0:
            return None if evaluation.purchase(trial) else self.purchase.remote(self.job, trial)
        pipeline, seed = evaluation.plan.trainings(trial)[n - 1]
        if not evaluation.is_due(trial, pipeline, seed):
            return None
        if known := evaluation.score_of_equal_purchase(trial, pipeline, seed):
            evaluation.keep_score(trial, known)
            return None
        bought = evaluation.bought(trial)
        return self.training.remote(self.job, trial.identity, bought, pipeline, seed)

    def _journal(self, i: int, n: int, task: Any) -> None:
        """Keep what the task of a step returned, or raise its error."""
        trial, result = self.trials[i], _result(task)
        self.bar.set_description(f"{trial.title}; {len(self.at_work)} at work")
        if n == 0:
            made, files = result
            _write(files, self.evaluation.out)
            self.evaluation.keep_purchase(trial, made)
        else:
            expected = self.expected[result["pipeline"]]
            self.evaluation.keep_score(trial, _same_code(result, expected))
        self._made(i, n)

    def _made(self, i: int, n: int) -> None:
        """Count a step; what follows a purchase is due now."""
        self.bar.update()
        if n == 0:
            for nth, _ in enumerate(self.evaluation.plan.trainings(self.trials[i]), 1):
                heappush(self.due, (i, nth))


def _task(function: Callable[..., Any], resources: Resources) -> Any:
    decorate = ray.remote(
        num_cpus=resources.cpus,
        num_gpus=resources.gpus,
        max_retries=RETRIES,
        retry_exceptions=False,
        # torch stays with the GPU it has opened, so the next task, on another, has another worker.
        max_calls=1 if resources.gpus else 0,
    )
    return decorate(function)


def _result(task: Any) -> Any:
    """What a task returned; where it raised one of our own errors, that one."""
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ConfigurationError):
            raise error.cause from None
        if isinstance(error.cause, ModuleNotFoundError):
            raise ConfigurationError(
                "cluster-import",
                f"A worker cannot import what it needs ({error.cause}). On every machine, install "
                "requirements-cluster.txt and start Ray inside the repository with PYTHONPATH set "
                "to it (docs/cluster.md).",
            ) from None
        raise
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
    ) as error:
        raise ConfigurationError(
            "cluster-lost",
            f"A task was lost with its worker or machine {RETRIES + 1} times ({error}). What is "
            "finished is kept: the same command goes on, once the machines stay up and have memory "
            "enough.",
        ) from error


def _same_code(record: Record, expected: str) -> Record:
    """`record`, if the worker that made it judges as the first one said it would."""
    if record["configuration"] != expected:
        raise ConfigurationError(
            "cluster-differs",
            f"Two machines of the cluster judge differently ({record['device']} at revision "
            f"{record['revision'] or 'unknown'} is one of them): their scores would not compare. "
            "Bring all to the same code, libraries and kind of processor.",
        )
    return record


def _job(evaluation: Evaluation, resources: Resources) -> Job:
    plan, splits, runner = evaluation.plan, evaluation.plan.splits, evaluation.runner
    parts = {name: cast(ZEWDPCBaseDataset, getattr(splits, name)) for name in SPLITS}
    shipment = Shipment(
        splits.name,
        splits.class_names,
        splits.fingerprint,
        {name: part.labels for name, part in parts.items()},
        {name: str(splits.image_files[name].resolve()) for name in SPLITS},
        {name: ray.put(np.asarray(part.images)) for name, part in parts.items()},
    )
    fields = {name: value for name, value in vars(plan).items() if name not in ("splits", "code")}
    return Job(
        shipment,
        fields | {"submission": plan.submission.resolve()},
        evaluation.scorer.weights,
        evaluation.scorer.steps,
        evaluation.scorer.device,
        runner.with_limits(replace(runner.limits, cpus=resources.cpus)),
        resources.cpus,
    )


def _write(files: Mapping[str, bytes], out: Path) -> None:
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
