"""The Ray cluster that the grid runs on: joined or started, and checked."""

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
        try:
            ray.init(address=resources.address, log_to_driver=False, configure_logging=False)
        except ConnectionError as error:
            raise ConfigurationError(
                "cluster-absent",
                f"--ray-address {resources.address}: no Ray cluster answers ({error}). Start one "
                "with `ray start --head`, or leave the flag out for one on this machine.",
            ) from error
    check_nodes([node["Resources"] for node in cast(Any, ray).nodes() if node["Alive"]], resources)


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
    if not any(
        node.get("CPU", 0) >= resources.cpus and node.get("GPU", 0) >= resources.gpus
        for node in nodes
    ):
        found = ", ".join(
            f"{node.get('CPU', 0):g} CPUs {node.get('GPU', 0):g} GPUs" for node in nodes
        )
        raise ConfigurationError(
            "cluster-too-small",
            f"No node has the {resources.cpus} CPUs and {resources.gpus:g} GPUs of one trial; "
            f"there are {found}. Lower --cpus-per-trial or --gpus-per-trial.",
        )
