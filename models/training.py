"""Training one net step by step, under a schedule that follows the clock as well as the count."""

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

TURN = 0.025  # Muon's peak rate: share of a filter's norm turned in one step
WARM_UP = 0.1  # share of the schedule in which the rate rises
START, END = 0.1, 0.002  # the rate at both ends, as a share of its peak


class DeadlineReached(Exception):  # noqa: N818  (it is news, not an error)
    """The clock passed the deadline before there was anything to hand back."""


def one_cycle(progress: float) -> float:
    """Share of the peak learning rate at `progress` in [0, 1] (Smith and Topin, 2018)."""
    if progress < WARM_UP:
        low, high, at = START, 1.0, progress / WARM_UP
    else:
        low, high, at = 1.0, END, (min(progress, 1.0) - WARM_UP) / (1 - WARM_UP)
    return low + (high - low) * (1 - math.cos(math.pi * at)) / 2


class Fetch:
    """Tensors on their way from the device to the CPU.

    To wait for them is to wait for what the device was asked before, and for nothing after.
    """

    def __init__(self, *tensors: Tensor) -> None:
        self._copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # pinned
        self._done: torch.cuda.Event | None = None
        if tensors[0].is_cuda:
            stream = torch.cuda.current_stream(tensors[0].device)
            self._done = stream.record_event()  # type: ignore[no-untyped-call]

    def arrived(self) -> list[Tensor]:
        """The tensors, on the CPU, in memory that is not pinned."""
        if self._done is None:
            return self._copies
        self._done.synchronize()
        return [copy.clone() for copy in self._copies]


@dataclass
class Trainee:
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
        self.renew_optimiser()

    def renew_optimiser(self) -> None:
        """Forget momenta, as at the start of a schedule; the loss scale stays as it was found."""
        turned = self.network.muon_parameters()
        rest = [p for p in self.network.parameters() if all(p is not t for t in turned)]
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
        if turned:
            self.optimisers.append(Muon(turned, lr=TURN))

    def batches(self, rows: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch over `rows`: (rows of a batch, how each image is laid down), shuffled."""
        order = rows[torch.randperm(len(rows), generator=self.rng)]
        ways = torch.randint(N_SYMMETRIES, (len(rows),), generator=self.rng)
        n_batches = max(1, round(len(rows) / batch_size))
        yield from zip(order.tensor_split(n_batches), ways.tensor_split(n_batches), strict=True)

    def step(self, images: Tensor, labels: Tensor, ways: Tensor, progress: float) -> None:
        """One optimiser step on uint8 images (B, 3, S, S) and labels (B, C) of 0/1."""
        self.network.train()
        share = one_cycle(progress)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = optimiser.defaults["lr"] * share
        if len(images) == 1:  # of which batch norm knows no variance where a map is one place
            images, labels, ways = (torch.cat([one, one]) for one in (images, labels, ways))
        choices = symmetry_choices(ways).to(self.device, non_blocking=True)  # (B, 3)
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
