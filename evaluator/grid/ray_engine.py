"""The trial grid on a Ray cluster: one task per purchase, one per training.

The driver plans, is the only writer of the journals, and does nothing else. Ray places the tasks
where there are processors and GPUs, and starts a task again elsewhere when its worker or node is
lost. Images travel through Ray's object store and are put into a file once per node. Ray is asked
for only when `--engine ray` is (requirements-cluster.txt).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray

from evaluator.datasets.dataset import ZEWDPCBaseDataset
from evaluator.datasets.layout import SPLITS
from evaluator.errors import ConfigurationError
from evaluator.grid.evaluation import Evaluation
from evaluator.grid.journal import Record
from evaluator.grid.ray_cluster import Resources, connect
from evaluator.grid.ray_tasks import Job, Shipment, configurations, purchase, training
from evaluator.grid.trial import Trial
from evaluator.training.pipelines import Pipeline
from evaluator.training.scoring import Scorer

RETRIES = 3  # of a task whose worker or node was lost


class KnownScorer(Scorer):
    """A scorer on the driver, which may lack the workers' GPU: it knows what they said."""

    def __init__(self, scorer: Scorer, configurations: Mapping[str, str]) -> None:
        super().__init__(
            scorer.splits, weights=scorer.weights, device=scorer.device, compile=scorer.compile
        )
        self._configurations = configurations

    def configuration(self, pipeline: Pipeline) -> str:
        return self._configurations[pipeline.name]


def run_on_ray(evaluation: Evaluation, resources: Resources) -> None:
    """Do what the journals do not hold yet, as much at once as the cluster has room for."""
    connect(resources)
    options = {
        "num_cpus": resources.cpus,
        "num_gpus": resources.gpus,
        "max_retries": RETRIES,
        "retry_exceptions": False,
    }
    purchase_task = ray.remote(purchase).options(**options)
    training_task = ray.remote(training).options(**options)
    job = ray.put(_job(evaluation, resources))
    expected = _result(ray.remote(configurations).options(**options).remote(job))
    evaluation.scorer = KnownScorer(evaluation.scorer, expected)
    waiting: dict[Any, tuple[Trial, bool]] = {}  # task -> trial, and whether it is a training

    with evaluation.bar() as bar:

        def train_what_is_due(trial: Trial) -> None:
            for pipeline, seed in evaluation.plan.trainings(trial):
                if not evaluation.is_due(trial, pipeline, seed):
                    bar.update()
                elif known := evaluation.score_of_equal_purchase(trial, pipeline, seed):
                    evaluation.keep_score(trial, known)
                    bar.update()
                else:
                    bought = evaluation.bought(trial)
                    task = training_task.remote(job, trial.identity, bought, pipeline, seed)
                    waiting[task] = trial, True

        for trial in evaluation.plan.trials():
            if evaluation.purchase(trial):
                bar.update()
                train_what_is_due(trial)
            else:
                waiting[purchase_task.remote(job, trial)] = trial, False
        while waiting:
            (done, *_), _rest = ray.wait(list(waiting), num_returns=1)
            trial, is_training = waiting.pop(done)
            bar.set_description(f"{trial.title}; {len(waiting)} at work or waiting")
            bar.update()
            if is_training:
                record = _result(done)
                evaluation.keep_score(trial, _same_code(record, expected[record["pipeline"]]))
            else:
                made, files = _result(done)
                _write(files, evaluation.out)
                evaluation.keep_purchase(trial, made)
                train_what_is_due(trial)


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
    plan, splits = evaluation.plan, evaluation.plan.splits
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
        evaluation.scorer.compile,
        evaluation.scorer.device,
        replace(evaluation.limits, cpus=resources.cpus),
        resources.cpus,
    )


def _write(files: Mapping[str, bytes], out: Path) -> None:
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
