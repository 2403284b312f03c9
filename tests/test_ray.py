"""The Ray engine gives what the local one gives, on a cluster that loses a node too."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluator.cli import main
from evaluator.data.dataset import open_splits
from evaluator.experiment import scheduler
from evaluator.experiment.evaluation import Evaluation
from evaluator.experiment.plan import Plan
from evaluator.experiment.run_trial import Purchase, Workspace, purchase
from evaluator.experiment.scheduler import run
from evaluator.experiment.submissions import name_submissions
from evaluator.records.journal import Journal, Record
from evaluator.records.trial import Pair, Trial
from evaluator.training.pipelines import PIPELINES
from evaluator.training.scoring import Scorer
from evaluator.worker.runner import SubprocessRunner
from shared.errors import ConfigurationError
from tests.conftest import REPO_ROOT

ray = pytest.importorskip("ray", reason="Ray is not installed (requirements-cluster.txt)")
pytestmark = pytest.mark.slow

SHORT = replace(PIPELINES["quick"], epochs=2, minimum_steps=0)
SUBMISSION = """
import time
import numpy as np

class ZEWDPCBaseRun:
    def __init__(self, strategy, seed):
        self.strategy, self.seed = strategy, seed

    def pre_training_phase(self, training_dataset):
        pass

    def purchase_phase(self, unlabelled_dataset, budget):
        time.sleep(PAUSE)
        n = len(unlabelled_dataset)
        order = range(n) if self.strategy == "first" else reversed(range(n))
        rows = [i for i in order if i % 3 != self.seed][:budget]
        self.purchase_notes = {i: {"round": 1} for i in rows}
        return {i: unlabelled_dataset.purchase_label(i) for i in rows}

    def prediction_phase(self, test_dataset):
        return np.zeros((len(test_dataset), 3), dtype=np.uint8)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(REPO_ROOT)  # as docs/cluster.md says to start a node
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": 10**8, "include_dashboard": False},
    )
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def evaluation(
    squares: Path, folder: Path, out: str, pause: float = 0.0, **changes: Any
) -> Evaluation:
    run_py = folder / "submission" / "run.py"
    run_py.parent.mkdir(exist_ok=True)
    run_py.write_text(SUBMISSION.replace("PAUSE", str(pause)))
    splits = open_splits(squares, progress=False)
    plan = Plan(
        splits,
        name_submissions([run_py]),
        strategies=("first", "last"),
        pairs=(Pair(5, 1),),
        seeds=2,
        training_seeds=2,
        pipelines=(SHORT,),
    )
    plan = replace(plan, **changes)
    scorer = Scorer(splits, weights="none")
    return Evaluation(plan, folder / out, scorer, SubprocessRunner())


@contextmanager
def node_for(cluster: Any, n: int) -> Iterator[Any]:
    """The resources of a task that fits on one node only, which has room for `n` of them."""
    from evaluator.experiment.ray_executor import Resources

    node = cluster.add_node(num_cpus=2 * n, object_store_memory=10**8)
    try:
        yield Resources(cpus=2, address=cluster.address)
    finally:
        cluster.remove_node(node)


def run_on_ray(far: Evaluation, resources: Any) -> None:
    from evaluator.experiment.ray_executor import RayExecutor

    run(far, RayExecutor(far, resources))


def essence(out: Path) -> list[Any]:
    """What must not depend on the engine: everything but clocks and memory."""
    varies = ("seconds", "peak_memory", "copied_from")
    return [
        sorted(
            json.dumps({name: value for name, value in record.items() if name not in varies})
            for record in Journal(out / name).records
        )
        for name in ("purchases.jsonl", "scores.jsonl")
    ]


def test_ray_journals_equal_local_ones(cluster: Any, squares: Path, tmp_path: Path) -> None:
    from evaluator.experiment.ray_executor import Resources

    cluster.add_node(num_cpus=1, object_store_memory=10**8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what each task is given on the cluster
    try:
        local = evaluation(squares, tmp_path, "local")
        run(local)
        far = evaluation(squares, tmp_path, "ray")
        run_on_ray(far, Resources(cpus=1, address=cluster.address))
    finally:
        torch.set_num_threads(threads)
    assert essence(far.out) == essence(local.out)
    assert len(far.scores.records) == 2 * (2 * (1 + 2) + 1)  # trainings: none, own, and all once
    for part in ("logs", "notes", "vault"):
        assert len(list((far.out / part).iterdir())) == 4
    assert not list(far.missing())
    again = replace(far, out=far.out)
    run_on_ray(again, Resources(cpus=1, address=cluster.address))  # nothing is left to do
    assert essence(again.out) == essence(local.out)


def test_main_same_results_with_either_engine(
    cluster: Any, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_py = tmp_path / "run.py"
    run_py.write_text(SUBMISSION.replace("PAUSE", "0"))
    engines = {
        "local": [],
        "ray": ["--engine", "ray", "--cpus-per-trial", "1", "--ray-address", cluster.address],
    }
    common = ["--data", str(squares), "--submission", str(run_py), "--pipeline", "quick", "--quiet"]
    common += ["--pairs", "5:1", "--strategy", "first", "last", "--training-seeds", "2", "--json"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what each task is given on the cluster
    try:
        printed = []
        for name, more in engines.items():
            assert main([*common, "--out", str(tmp_path / name), *more]) == 0
            printed.append(json.loads(capsys.readouterr().out))
        torch.set_num_threads(2)  # the command's own, which train nothing
        assert main([*common, "--out", str(tmp_path / "ray"), *engines["ray"], "--plan"]) == 0
        assert "to do       0 steps\n" in capsys.readouterr().out
    finally:
        torch.set_num_threads(threads)
    assert essence(tmp_path / "ray") == essence(tmp_path / "local")
    assert len(essence(tmp_path / "ray")[1]) == 2 * (1 + 2 + 1)  # none, own, all
    assert printed[0] == printed[1]


def test_ray_order_with_one_slot_equals_local_order(
    cluster: Any, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: dict[str, list[Any]] = {"local": [], "ray": []}
    append = Journal.append

    def noting(journal: Journal, record: Record) -> None:
        if journal.path.parent.name in order:  # and not a vault's
            seed = record.get("training_seed", "bought")
            order[journal.path.parent.name].append((record["trial"], seed))
        append(journal, record)

    monkeypatch.setattr(Journal, "append", noting)
    run(evaluation(squares, tmp_path, "local", references=()))
    with node_for(cluster, 1) as resources:
        run_on_ray(evaluation(squares, tmp_path, "ray", references=()), resources)
    assert order["ray"] == order["local"]
    assert [what for _, what in order["ray"]][:3] == ["bought", 0, 1000]


def test_ray_first_error_waits_for_running_tasks(
    cluster: Any,
    squares: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = tmp_path / "broken"

    def breaking(workspace: Workspace, trial: Trial) -> Purchase:
        if trial.strategy == "breaks":
            broken.touch()
            raise ConfigurationError("changed-while-running", "this is the first error")
        while not broken.exists():
            time.sleep(0.1)
        if trial.strategy == "breaks later":
            time.sleep(2)
            raise RuntimeError("this is the second error")
        return purchase(workspace, trial)

    monkeypatch.setattr(scheduler, "purchase", breaking)
    strategies = ("breaks", "breaks later", "last")
    far = evaluation(squares, tmp_path, "ray", pause=3.0, strategies=strategies, references=())
    with (
        node_for(cluster, 3) as resources,
        pytest.raises(ConfigurationError, match="this is the first error"),
    ):
        run_on_ray(far, resources)
    kept = Journal(far.out / "purchases.jsonl").records
    assert [(r["strategy"], r["seed"], r["status"]) for r in kept] == [("last", 0, "ok")]
    assert not far.scores.records  # its trainings were due, and not started
    assert "this is the second error" in caplog.text


def test_ray_uses_a_node_that_joins(
    cluster: Any, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evaluator.experiment.ray_executor import connect

    def meeting(workspace: Workspace, trial: Trial) -> Purchase:
        (tmp_path / f"{trial.strategy}.began").touch()
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("*.began"))) < 2:
            if time.monotonic() > deadline:
                raise RuntimeError("the other purchase has not begun")
            time.sleep(0.1)
        return purchase(workspace, trial)

    monkeypatch.setattr(scheduler, "purchase", meeting)
    far = evaluation(squares, tmp_path, "ray", seeds=1, training_seeds=1, references=())
    with node_for(cluster, 1) as resources, ThreadPoolExecutor() as driver:
        connect(resources)  # Ray joins a cluster, and grows one, in the main thread only
        run = driver.submit(run_on_ray, far, resources)
        while not list(tmp_path.glob("*.began")) and not run.done():
            time.sleep(0.1)
        with node_for(cluster, 1):
            run.result()
    assert not list(far.missing())


def test_ray_retries_after_a_lost_node(cluster: Any, squares: Path, tmp_path: Path) -> None:
    from evaluator.experiment.ray_executor import Resources

    doomed = cluster.add_node(num_cpus=1, object_store_memory=10**8)
    far = evaluation(squares, tmp_path, "ray", pause=3.0)

    def lose() -> None:
        while not far.purchases.records:
            time.sleep(0.1)
        cluster.remove_node(doomed, allow_graceful=False)

    loser = threading.Thread(target=lose)
    loser.start()
    run_on_ray(far, Resources(cpus=1, address=cluster.address))
    loser.join()
    assert {record["status"] for record in far.purchases.records} == {"ok"}
    assert not list(far.missing())
    keys = [(r["trial"], r["training_seed"]) for r in far.scores.records]
    assert len(keys) == len(set(keys))


def test_materialise_splits_on_another_machine(
    cluster: Any, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evaluator.experiment.ray_executor import (
        Resources,
        connect,
        materialise_splits,
        remote_job,
    )

    resources = Resources(cpus=1, address=cluster.address)
    connect(resources)
    far = evaluation(squares, tmp_path, "ray")
    dataset = remote_job(far, resources).dataset
    elsewhere = {name: f"/elsewhere/{Path(file).name}" for name, file in dataset.files.items()}
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    there = materialise_splits(replace(dataset, files=elsewhere))
    assert there.fingerprint == far.plan.splits.fingerprint
    for name, file in there.image_files.items():
        assert file.is_relative_to(tmp_path)
        here = getattr(far.plan.splits, name)
        assert np.array_equal(getattr(there, name).images, here.images)
        assert np.array_equal(getattr(there, name).labels, here.labels)


def process_and_gpu() -> tuple[int, str]:
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]


def test_remote_function_new_worker_per_gpu_task(cluster: Any) -> None:
    from evaluator.experiment.ray_executor import Resources, connect, remote_function

    resources = Resources(cpus=1, gpus=1, address=cluster.address)
    node = cluster.add_node(num_cpus=2, num_gpus=2, object_store_memory=10**8)
    try:
        connect(resources)
        seen = [ray.get(remote_function(process_and_gpu, resources).remote()) for _ in range(3)]
    finally:
        cluster.remove_node(node)
    assert len({process for process, _ in seen}) == 3
    assert {gpu for _, gpu in seen} <= {"0", "1"}


NODES: dict[str, tuple[list[dict[str, float]], float, str]] = {
    "no GPU there, none asked for": ([{"CPU": 4}], 0, ""),
    "one each": ([{"CPU": 4}, {"CPU": 4, "GPU": 8}], 1, ""),
    "all would use the first of eight": ([{"CPU": 4, "GPU": 8}], 0, "cluster-gpus"),
    "on any machine": ([{"CPU": 4}, {"CPU": 2, "GPU": 1}], 0, "cluster-gpus"),
    "more than there is": ([{"CPU": 4, "GPU": 1}], 2, "cluster-too-small"),
}


@pytest.mark.parametrize("case", NODES)
def test_check_nodes(case: str) -> None:
    from evaluator.experiment.ray_executor import Resources, check_nodes

    nodes, gpus, code = NODES[case]
    with pytest.raises(ConfigurationError) if code else nullcontext() as refused:
        check_nodes(nodes, Resources(cpus=4, gpus=gpus))
    assert not code or refused.value.code == code


ROOM: dict[str, tuple[list[dict[str, float]], float, int]] = {
    "cores decide": ([{"CPU": 9}, {"CPU": 3}, {"CPU": 4}], 0, 3),
    "GPUs decide": ([{"CPU": 64, "GPU": 8}, {"CPU": 64}], 1, 8),
    "cores decide beside GPUs": ([{"CPU": 8, "GPU": 8}], 1, 2),
    "two on each GPU": ([{"CPU": 64, "GPU": 2}], 0.5, 4),
    "ten on one GPU": ([{"CPU": 64, "GPU": 1}], 0.1, 10),
    "a share never spans two GPUs": ([{"CPU": 64, "GPU": 8}], 0.6, 8),
    "two GPUs of one node": ([{"CPU": 64, "GPU": 3}, {"CPU": 64, "GPU": 1}], 2, 1),
    "nodes that count for nothing": ([{}, {"memory": 1}], 0, 0),
}


@pytest.mark.parametrize("case", ROOM)
def test_room(case: str) -> None:
    from evaluator.experiment.ray_executor import Resources, room

    nodes, gpus, expected = ROOM[case]
    assert room(nodes, Resources(cpus=4, gpus=gpus)) == expected


def test_ray_errors_are_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from evaluator.experiment import ray_executor

    def fail(error: Exception) -> Any:
        def raises(*_: object, **__: object) -> None:
            raise error

        return raises

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail(ConnectionError("nobody is there")))
    with pytest.raises(ConfigurationError, match="nobody is there"):
        ray_executor.connect(ray_executor.Resources(address="auto"))
    monkeypatch.setattr(ray, "init", fail(ray.exceptions.AuthenticationError("a token is missing")))
    with pytest.raises(ConfigurationError, match="a token is missing"):
        ray_executor.connect(ray_executor.Resources(address="auto"))
    explained = ray_executor.explain(ray.exceptions.WorkerCrashedError())
    assert isinstance(explained, ConfigurationError)
    assert "lost with its worker or machine 4 times" in str(explained)


def test_connect_without_address_starts_a_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from evaluator.experiment import ray_executor

    asked: list[Any] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **_: asked.append(address))
    monkeypatch.setattr(ray_executor, "nodes_now", lambda: [{"CPU": 4}])
    for address in (None, "auto"):
        ray_executor.connect(ray_executor.Resources(address=address))
    assert asked == ["local", "auto"]  # Ray itself takes None for the cluster that it finds


def test_connect_keeps_the_sigterm_handler(cluster: Any) -> None:
    joins = f"""
import os, signal
from evaluator.experiment.ray_executor import Resources, connect

signal.signal(signal.SIGTERM, signal.default_int_handler)
connect(Resources(cpus=1, address={cluster.address!r}))
try:
    os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    print("stopped")
"""
    command = [sys.executable, "-c", joins]
    done = subprocess.run(command, cwd=REPO_ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr


def test_ray_refuses_a_trial_that_fits_nowhere(cluster: Any, squares: Path, tmp_path: Path) -> None:
    from evaluator.experiment.ray_executor import Resources

    with pytest.raises(ConfigurationError, match="No node has the 512 CPUs"):
        run_on_ray(
            evaluation(squares, tmp_path, "ray"), Resources(cpus=512, address=cluster.address)
        )
