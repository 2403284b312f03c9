"""Runs the tasks of an evaluation on a Ray cluster (`--engine ray`, requirements-cluster.txt).

Ray places tasks where there are processors and GPUs, and starts a task again elsewhere when its
worker or node is lost. Images travel through Ray's object store and are put into a file once per
node.
"""

import fcntl
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from evaluator.data.cache import load_images
from evaluator.data.dataset import Splits, ZEWDPCBaseDataset
from evaluator.experiment.evaluation import Evaluation
from evaluator.experiment.plan import Plan
from evaluator.experiment.run_trial import Workspace, configurations
from evaluator.experiment.scheduler import TrialExecutor
from evaluator.experiment.submissions import Submission
from evaluator.temp_dirs import private_folder
from evaluator.training.pipelines import Pipeline
from evaluator.training.scoring import Scorer
from evaluator.training.trainer import Steps
from evaluator.worker.cpu_affinity import reserve_cores
from evaluator.worker.runner import Runner
from shared.errors import ConfigurationError
from shared.images.layout import SPLITS

RETRIES = 3  # of a task whose worker or node was lost
FOLDERS = ("logs", "notes", "vault")  # what a purchase writes besides its record

_SCORERS: dict[tuple[str, str, str | None, Steps], Scorer] = {}  # of this worker process


@dataclass(frozen=True)
class Resources:
    """What one task, purchase or training, is given. A GPU may be shared: 0.5 of one."""

    cpus: int = 4
    gpus: float = 0.0
    address: str | None = None  # of a running cluster; None starts one on this machine


class RayExecutor(TrialExecutor):
    """Runs tasks on the workers of a cluster, each with a workspace of its own."""

    def __init__(self, evaluation: Evaluation, resources: Resources) -> None:
        """Connect, and let the evaluation know the scores that the cluster's machines make."""
        connect(resources)
        self._resources, self._out = resources, evaluation.out
        self._remote = remote_function(run_task, resources)
        job = remote_job(evaluation, resources)
        self._job = ray.put(job)
        expected = self.submit(configurations).result()
        self._job = ray.put(replace(job, expected=expected))
        evaluation.scorer = RemoteScorer(evaluation.scorer, expected)

    def slots(self) -> int:
        return room(nodes_now(), self._resources)

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        reference = self._remote.remote(self._job, task, args, kwargs)
        reference.future().add_done_callback(lambda done: self._deliver(done, future))
        return future

    def _deliver(self, done: "Future[Any]", future: "Future[Any]") -> None:
        try:
            result, files = done.result()
            for name, content in files.items():
                path = self._out / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        except Exception as error:
            future.set_exception(explain(error))
        else:
            future.set_result(result)


class RemoteScorer(Scorer):
    """The scorer of the driver, which may lack the workers' GPU: it knows what they answered."""

    def __init__(self, scorer: Scorer, known: Mapping[str, str]) -> None:
        super().__init__(
            scorer.splits, weights=scorer.weights, device=scorer.device, steps=scorer.steps
        )
        self._known = known

    def configuration(self, pipeline: Pipeline) -> str:
        return self._known[pipeline.name]


# ---- The cluster ---------------------------------------------------------------------------------


def connect(resources: Resources) -> None:
    """Join the cluster at `resources.address`, or start one here.

    Raises ConfigurationError where there is none, no node could ever run a task, or all tasks
    would run on the same GPU.
    """
    if not ray.is_initialized():
        # With no address Ray would join, or wait for, whatever was last started on this machine.
        address = resources.address or "local"
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ray.exceptions.AuthenticationError) as error:
            raise ConfigurationError(
                "cluster-absent",
                f"--ray-address {address}: no Ray cluster answers ({error}). Start one with `ray "
                "start --head`, set RAY_AUTH_MODE=token where it asks for a token, or leave the "
                "flag out for one on this machine.",
            ) from error
        signal.signal(signal.SIGTERM, on_sigterm or signal.SIG_DFL)  # Ray's own handler aborts
    check_nodes(nodes_now(), resources)


def nodes_now() -> list[Mapping[str, float]]:
    """What each node has that is up now: {"CPU": 4.0, "GPU": 1.0, ...}."""
    return [node["Resources"] for node in cast(Any, ray).nodes() if node["Alive"]]


def room(nodes: Sequence[Mapping[str, float]], resources: Resources) -> int:
    """How many tasks of `resources` can run on `nodes` at once."""
    tasks = 0.0
    for node in nodes:
        cpus, gpus = node.get("CPU", 0), node.get("GPU", 0)
        if 0 < resources.gpus < 1:  # a share is of one GPU: with 0.6, the rest of each stays idle
            by_gpus = gpus * int(1 / resources.gpus)
        else:
            by_gpus = gpus // resources.gpus if resources.gpus else float("inf")
        tasks += min(cpus // resources.cpus, by_gpus)
    return int(tasks)


def check_nodes(nodes: Sequence[Mapping[str, float]], resources: Resources) -> None:
    """Raise ConfigurationError where tasks of `resources` cannot run on `nodes` as they should."""
    gpus = sum(node.get("GPU", 0) for node in nodes)
    if gpus and not resources.gpus:  # Ray limits what a task sees only where it asks
        raise ConfigurationError(
            "cluster-gpus",
            f"--gpus-per-trial 0, but the cluster has {gpus:g} GPUs: every trial would see all of "
            "them and crowd the first. Add --gpus-per-trial 1 (or 0.5, for two trials on each), or "
            "start Ray without GPUs: CUDA_VISIBLE_DEVICES= before the command.",
        )
    if not room(nodes, resources):
        found = ", ".join(
            f"{node.get('CPU', 0):g} CPUs {node.get('GPU', 0):g} GPUs" for node in nodes
        )
        raise ConfigurationError(
            "cluster-too-small",
            f"No node has the {resources.cpus} CPUs and {resources.gpus:g} GPUs of one trial; "
            f"there are {found}. Lower --cpus-per-trial or --gpus-per-trial.",
        )


def remote_function(function: Callable[..., Any], resources: Resources) -> Any:
    """`function` as a Ray task with these resources."""
    decorate = ray.remote(
        num_cpus=resources.cpus,
        num_gpus=resources.gpus,
        max_retries=RETRIES,
        retry_exceptions=False,
        # torch keeps the GPU that it opened, so the next task, on another, gets another worker.
        max_calls=1 if resources.gpus else 0,
    )
    return decorate(function)


def explain(error: Exception) -> Exception:
    """What a task failed with: our own error where it raised one, an explained one where known."""
    if isinstance(error, ray.exceptions.RayTaskError):
        if isinstance(error.cause, ConfigurationError):
            return error.cause
        if isinstance(error.cause, ModuleNotFoundError):
            return ConfigurationError(
                "cluster-import",
                f"A worker cannot import what it needs ({error.cause}). On every machine, install "
                "requirements-cluster.txt and start Ray inside the repository with PYTHONPATH set "
                "to it (docs/cluster.md).",
            )
    lost = (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
    )
    if isinstance(error, lost):
        return ConfigurationError(
            "cluster-lost",
            f"A task was lost with its worker or machine {RETRIES + 1} times ({error}). What is "
            "finished is kept: the same command resumes, once the machines stay up and have memory "
            "enough.",
        )
    return error


# ---- What travels to a worker, and what runs there -----------------------------------------------


@dataclass(frozen=True)
class DatasetRef:
    """A data set on its way to a node: labels, and where to get the images."""

    name: str
    class_names: tuple[str, ...]
    fingerprint: str
    labels: Mapping[str, NDArray[Any]]  # split -> (N, C)
    files: Mapping[str, str]  # split -> where its images lie on the driver's machine
    images: Mapping[str, Any]  # split -> reference to (N, H, W, 3) in the object store


@dataclass(frozen=True)
class RemoteJob:
    """What every task needs; sent once per node."""

    dataset: DatasetRef
    plan: Mapping[str, Any]  # the fields of the plan but for its splits
    weights: str
    steps: Steps
    device: str | None
    runner: Runner
    cpus: int  # of a task; torch's threads, too: part of a score's configuration on a CPU
    expected: Mapping[str, str] = field(default_factory=dict)  # see Workspace


def remote_job(evaluation: Evaluation, resources: Resources) -> RemoteJob:
    plan, splits, runner = evaluation.plan, evaluation.plan.splits, evaluation.runner
    parts = {name: cast(ZEWDPCBaseDataset, getattr(splits, name)) for name in SPLITS}
    dataset = DatasetRef(
        splits.name,
        splits.class_names,
        splits.fingerprint,
        {name: part.labels for name, part in parts.items()},
        {name: str(splits.image_files[name].resolve()) for name in SPLITS},
        {name: ray.put(np.asarray(part.images)) for name, part in parts.items()},
    )
    fields = {name: value for name, value in vars(plan).items() if name != "splits"}
    # Without the digest that this machine computed: a worker's files may differ.
    fields["submissions"] = tuple(
        Submission(one.path.resolve(), one.name) for one in plan.submissions
    )
    return RemoteJob(
        dataset,
        fields,
        evaluation.scorer.weights,
        evaluation.scorer.steps,
        evaluation.scorer.device,
        runner.with_limits(replace(runner.limits, cpus=resources.cpus)),
        resources.cpus,
    )


def run_task(
    job: RemoteJob, task: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Any, dict[str, bytes]]:
    """On a worker: the result of `task`, and the files it wrote by their names inside OUT."""
    torch.set_num_threads(job.cpus)
    with tempfile.TemporaryDirectory(prefix="zewdpc-") as folder, reserve_cores(job.cpus):
        out = Path(folder)
        scorer = _scorer(job)
        plan = Plan(splits=scorer.splits, **job.plan)
        workspace = Workspace(plan, out, job.runner, scorer, expected=job.expected)
        result = task(workspace, *args, **kwargs)
        written = [path for part in FOLDERS for path in (out / part).glob("*") if path.is_file()]
        return result, {str(path.relative_to(out)): path.read_bytes() for path in written}


def _scorer(job: RemoteJob) -> Scorer:
    key = job.dataset.fingerprint, job.weights, job.device, job.steps
    if key not in _SCORERS:  # a worker serves many tasks; its images are resized once
        _SCORERS[key] = Scorer(
            materialise_splits(job.dataset),
            weights=job.weights,
            device=job.device,
            steps=job.steps,
        )
    return _SCORERS[key]


def materialise_splits(dataset: DatasetRef) -> Splits:
    """The data set on this node, its images mapped from a file that is made once per node."""
    files = {name: _file_here(dataset, name) for name in SPLITS}
    parts = {
        name: ZEWDPCBaseDataset(load_images(path), dataset.labels[name], dataset.class_names)
        for name, path in files.items()
    }
    return Splits(
        name=dataset.name,
        root=next(iter(files.values())).parent,
        class_names=dataset.class_names,
        image_files=files,
        fingerprint=dataset.fingerprint,
        **parts,
    )


def _file_here(dataset: DatasetRef, split: str) -> Path:
    original = Path(dataset.files[split])  # its name holds a digest of the files it was made of
    if original.is_file():
        return original
    folder = private_folder(dataset.fingerprint)
    path = folder / original.name
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            partial = path.with_suffix(".part")
            with partial.open("wb") as file:
                np.save(file, ray.get(dataset.images[split]))
            partial.replace(path)
    return path
