"""Settings of the learner, checked when they are made."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from pydantic.dataclasses import dataclass as pydantic_dataclass

from core.precision import half_precision
from models.networks import SMALL, TIMM_DEFAULT, find_weights, how_to_fetch
from models.validation import STRICT

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}  # None: no autocast


@pydantic_dataclass(frozen=True, config=STRICT)
class LearnerSettings:
    """How the buyer's learner is built and trained. Zero means "chosen for the device".

    device : "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1" ...
    backbone : "auto" (`small` on a CPU, `efficientnet_b0` on a GPU), `small`, or a timm name.
    pretrained : "auto" (the backbone's ImageNet weights where this machine has them already,
        else from scratch, said in the log), "yes" (refuse to start without), "no", or a file.
        `small` always starts from scratch.
    image_size : pixels; larger images are shrunk to it, smaller ones stay as they are.
    batch_size : images per training step.
    learning_rate : the peak of the one-cycle schedule.
    positive_weight : how many absent classes one present class outweighs in the loss.
    members : nets in the learner. Each holds out its share of what is labelled, so that
        together they cross-validate; their mean predicts, their spread is the committee.
    warm_start : begin a fit from the nets of the one before.
    precision : "auto" (bf16 where the hardware computes in it, else fp16 on a GPU and fp32 on
        a CPU), or one of fp32, bf16, fp16.
    threads : threads that read images; 1 for data sets that are not thread-safe.
    """

    device: str = "auto"
    backbone: str = "auto"
    pretrained: str = "auto"
    image_size: Annotated[int, Interval(ge=0)] = 0
    batch_size: Annotated[int, Interval(ge=0)] = 0
    learning_rate: Annotated[float, Interval(ge=0)] = 0.0
    weight_decay: Annotated[float, Interval(ge=0)] = 0.05
    positive_weight: Annotated[float, Interval(gt=0)] = 3.0
    members: Annotated[int, Interval(ge=1)] = 3
    warm_start: bool = True
    precision: Literal["auto"] | Precision = "auto"
    threads: Annotated[int, Interval(ge=1)] = 4

    def missing_weights(self) -> str:
        """What to say where a large network starts without the weights that it should start with.

        Nothing, where it has them, or is set to do without.
        """
        backbone = self.resolved().backbone
        if self.pretrained != "auto" or backbone == SMALL or find_weights(backbone, "auto"):
            return ""
        return (
            f"there are no ImageNet weights of {backbone} on this machine: the learner starts from "
            f"scratch and will see less. {how_to_fetch(backbone)}."
        )

    def resolved(self) -> "ResolvedSettings":
        """These settings with every "auto" and zero decided for this machine."""
        found = "cuda" if torch.cuda.is_available() else "cpu"
        device = _device(found if self.device == "auto" else self.device)
        gpu = device.type == "cuda"
        backbone = self.backbone
        if backbone == "auto":
            backbone = TIMM_DEFAULT if gpu else SMALL
        small = backbone == SMALL
        return ResolvedSettings(
            device=device,
            backbone=backbone,
            image_size=self.image_size or (80 if small else 224),
            batch_size=self.batch_size or (32 if small else 64),
            learning_rate=self.learning_rate or (3e-3 if small else 1e-3),
            precision=_precision(self.precision, device),
        )


@dataclass(frozen=True)
class ResolvedSettings:
    """What `LearnerSettings` leaves open, decided for one machine."""

    device: torch.device
    backbone: str
    image_size: int
    batch_size: int
    learning_rate: float
    precision: Precision


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"`device` must be auto, cpu, cuda or cuda:N; got {name!r}.") from None
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f'`device` {name!r} is none of this machine ({error}). Use "auto" or "cpu".'
        ) from error
    return device


def _precision(asked: Literal["auto"] | Precision, device: torch.device) -> Precision:
    if asked == "fp16" and device.type != "cuda":
        raise ValueError('`precision` "fp16" needs a GPU; use "auto", "bf16" or "fp32".')
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if half_precision(device) is torch.bfloat16 else "fp16"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native and device.type == "cpu" else "fp32"
