"""Settings of the learner, checked when they are made."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from pydantic.dataclasses import dataclass as pydantic_dataclass

from core.precision import half_precision
from core.pretrained.imagenet_weights import weights_digest
from models.networks import SMALL, TIMM_DEFAULT, find_weights, how_to_fetch
from models.validation import STRICT

FROZEN = "frozen"
FROZEN_DEFAULT = "tf_efficientnet_lite0"  # its weights come with requirements.txt
Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}  # None: no autocast


@pydantic_dataclass(frozen=True, config=STRICT)
class LearnerSettings:
    """How the buyer's learner is built and trained. Zero means "chosen for the device".

    device : "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1" ...
    backbone : "small", a network of 0.1 million parameters that is trained from scratch; "frozen",
        linear heads on features of a frozen `tf_efficientnet_lite0` with ImageNet weights, or
        "frozen:NAME" of another of timm's; a timm name, a network all of which is trained. "auto"
        compares those that suit this machine (`candidates`).
    pretrained : "auto" (the backbone's ImageNet weights where this machine has them already,
        else from scratch, said in the log), "yes" (refuse to start without), "no", or a file.
        `small` always starts from scratch, "frozen" never does.
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

    def candidates(self) -> tuple["LearnerSettings", ...]:
        """Settings of each learner that "auto" stands for here; these, where a backbone is named.

        Heads on frozen features and a large network take part only where this machine has ImageNet
        weights, a large network on a GPU alone. Raises ValueError where pretraining is asked for
        with `pretrained` and cannot be had.
        """
        if self.backbone != "auto":
            return (self,)
        gpu = self.resolved().device.type == "cuda"
        wants_weights = self.pretrained != "no"
        frozen = wants_weights and weights_digest(FROZEN_DEFAULT) is not None
        if self.pretrained == "yes" and not frozen:
            find_weights(TIMM_DEFAULT if gpu else FROZEN_DEFAULT, "yes")  # says how to get them
        large = gpu and wants_weights and find_weights(TIMM_DEFAULT, self.pretrained) is not None
        names = [FROZEN] * frozen + [SMALL] + [TIMM_DEFAULT] * large
        return tuple(replace(self, backbone=name) for name in names)

    @property
    def largest_image_size(self) -> int:
        """The side in pixels beyond which no learner that these settings stand for sees more."""
        return max(one.resolved().image_size for one in self.candidates())

    def missing_weights(self) -> str:
        """What to say where a large network starts without the weights that it should start with.

        Nothing, where it has them, or is set to do without.
        """
        found = self.resolved()
        if (
            self.pretrained != "auto"
            or found.is_frozen
            or found.backbone == SMALL
            or find_weights(found.backbone, "auto")
        ):
            return ""
        return (
            f"there are no ImageNet weights of {found.backbone} on this machine: the learner "
            f"starts from scratch and will see less. {how_to_fetch(found.backbone)}."
        )

    def resolved(self) -> "ResolvedSettings":
        """These settings with every "auto" and zero decided for this machine.

        The backbone "auto" is "small" here, which every machine can train.
        """
        found = "cuda" if torch.cuda.is_available() else "cpu"
        device = _device(found if self.device == "auto" else self.device)
        gpu = device.type == "cuda"
        kind, _, name = self.backbone.partition(":")
        frozen, small = kind == FROZEN, kind in (SMALL, "auto")
        backbone = SMALL if small else (name or FROZEN_DEFAULT if frozen else self.backbone)
        size = (224 if gpu else 160) if frozen else 224
        return ResolvedSettings(
            device=device,
            backbone=backbone,
            is_frozen=frozen,
            image_size=self.image_size or (80 if small else size),
            batch_size=self.batch_size or (32 if small else 64),
            learning_rate=self.learning_rate or (3e-3 if small else 1e-3),
            precision=_precision(self.precision, device),
        )


@dataclass(frozen=True)
class ResolvedSettings:
    """What `LearnerSettings` leaves open, decided for one machine; `backbone` names a network."""

    device: torch.device
    backbone: str
    is_frozen: bool
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
