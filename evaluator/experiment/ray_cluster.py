"""The Ray cluster that the grid runs on: joined or started, checked, and its room for tasks."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import ray

from evaluator.errors import ConfigurationError


@dataclass(frozen=True)
class Resources:
    """What one task, purchase or training, is given. A GPU may be shared: 0.5 of one."""

    cpus: int = 4
    gpus: float = 0.0
    address: str | None = None  # of a running cluster; None starts one on this machine


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
        signal.signal(signal.SIGTERM, on_sigterm or signal.SIG_DFL)  # by Ray's own it aborts
    check_nodes(nodes_now(), resources)


def nodes_now() -> list[Mapping[str, float]]:
    """What each node has that is up now: {"CPU": 4.0, "GPU": 1.0, ...}."""
    return [node["Resources"] for node in cast(Any, ray).nodes() if node["Alive"]]


def room(nodes: Sequence[Mapping[str, float]], resources: Resources) -> int:
    """How many tasks of `resources` can be at work on `nodes` at once."""
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
