"""One member of the learner's ensemble: a network, its optimisers, and a training step."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from core.muon import Muon
from core.precision import autocast
from core.symmetries import N_SYMMETRIES, apply_symmetries, symmetry_choices
from models.networks import AcquisitionNetwork
from models.settings import DTYPES, Precision

MUON_LR = 0.025  # peak: share of a filter bank's norm turned in one step
WARM_UP = 0.1  # share of the schedule in which the rate rises
INFERENCE_BATCHES = 4  # an inference batch is this many training batches long
START, END = 0.1, 0.002  # the rate at both ends, as a share of its peak


def one_cycle(progress: float) -> float:
    """Share of the peak learning rate at `progress` in [0, 1] (Smith and Topin, 2018)."""
    if progress < WARM_UP:
        low, high, at = START, 1.0, progress / WARM_UP
    else:
        low, high, at = 1.0, END, (min(progress, 1.0) - WARM_UP) / (1 - WARM_UP)
    return low + (high - low) * (1 - math.cos(math.pi * at)) / 2


class HostCopy:
    """Tensors being copied from the device to the CPU, without holding up the device.

    `wait` waits for what the device was asked before the copy, and for nothing after.
    """

    def __init__(self, *tensors: Tensor) -> None:
        self._copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # pinned
        self._done: torch.cuda.Event | None = None
        if tensors[0].is_cuda:
            stream = torch.cuda.current_stream(tensors[0].device)
            self._done = stream.record_event()  # type: ignore[no-untyped-call]

    def wait(self) -> list[Tensor]:
        """The tensors, on the CPU, in memory that is not pinned."""
        if self._done is None:
            return self._copies
        self._done.synchronize()
        return [copy.clone() for copy in self._copies]


@dataclass
class EnsembleMember:
    """One net with its optimisers and its own stream of batches.

    rng draws batch order and augmentation, on the CPU whatever the device.
    """

    network: AcquisitionNetwork
    device: torch.device
    precision: Precision
    learning_rate: float
    weight_decay: float
    positive_weight: float
    rng: torch.Generator
    optimisers: list[torch.optim.Optimizer] = field(init=False)
    scaler: GradScaler = field(init=False)

    def __post_init__(self) -> None:
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.scaler = GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.reset_optimisers()

    def reset_optimisers(self) -> None:
        """Forget momenta, as at the start of a schedule; the gradient scale is kept."""
        under_muon = self.network.muon_parameters()
        rest = [p for p in self.network.parameters() if all(p is not m for m in under_muon)]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in rest if p.ndim > 1]},
            {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimisers = [
            torch.optim.AdamW(
                groups,
                lr=self.learning_rate,
                weight_decay=self.weight_decay,
                fused=self.device.type in ("cpu", "cuda"),
            )
        ]
        if under_muon:
            self.optimisers.append(Muon(under_muon, lr=MUON_LR))

    def batches(self, rows: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch over `rows`, shuffled: (rows of a batch, a symmetry for each of its images)."""
        order = rows[torch.randperm(len(rows), generator=self.rng)]
        symmetries = torch.randint(N_SYMMETRIES, (len(rows),), generator=self.rng)
        n_batches = max(1, round(len(rows) / batch_size))
        yield from zip(
            order.tensor_split(n_batches), symmetries.tensor_split(n_batches), strict=True
        )

    def step(self, images: Tensor, labels: Tensor, symmetries: Tensor, progress: float) -> None:
        """One optimiser step on uint8 images (B, 3, S, S) and labels (B, C) of 0/1."""
        self.network.train()
        share = one_cycle(progress)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = optimiser.defaults["lr"] * share
        if len(images) == 1:  # batch norm needs two values, and a map may have a single place
            images, labels, symmetries = (
                torch.cat([one, one]) for one in (images, labels, symmetries)
            )
        choices = symmetry_choices(symmetries).to(self.device, non_blocking=True)  # (B, 3)
        images = apply_symmetries(images.to(self.device, non_blocking=True), choices)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = labels.to(self.device, non_blocking=True)
        with autocast(self.device, DTYPES[self.precision]):
            logits = self.network(images).logits
        loss = weighted_loss(logits, labels, self.positive_weight)
        self.network.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        for optimiser in self.optimisers:
            self.scaler.step(optimiser)
        self.scaler.update()


def weighted_loss(logits: Tensor, labels: Tensor, positive_weight: float) -> Tensor:
    """Binary cross-entropy, mean over (B, C), a present class weighing `positive_weight`."""
    return F.binary_cross_entropy_with_logits(
        logits.float(), labels, pos_weight=logits.new_full((), positive_weight).float()
    )
