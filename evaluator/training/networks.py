"""The networks behind the pipelines: the small one of `quick`, and EfficientNets.

EfficientNet-b0 and b4 are torchvision's, the Lite ones timm's.
"""

from typing import Any, cast

import torch
import torchvision
from torch import Tensor, nn

from core.max_pool_mil import N_FEATURES, MaxPoolMIL, small_features
from evaluator.training.pipelines import Architecture, Pipeline

# Smallest image side, in pixels, that leaves each network at least one last feature cell.
MINIMUM_SIZE: dict[Architecture, int] = {
    "max_pool_mil": 16,
    "efficientnet_b0": 32,
    "efficientnet_b4": 32,
    "tf_efficientnet_lite0": 32,
    "tf_efficientnet_lite1": 32,
    "tf_efficientnet_lite2": 32,
}
# Of pixels in [0, 1], for each channel: what the ImageNet weights were trained with. Any fixed
# constants serve a network trained from scratch.
IMAGENET_STATISTICS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LITE_STATISTICS = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def is_lite(architecture: Architecture) -> bool:
    return architecture.startswith("tf_efficientnet_lite")


def pixel_statistics(
    architecture: Architecture,
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation by which pixels in [0, 1] are normalised."""
    return LITE_STATISTICS if is_lite(architecture) else IMAGENET_STATISTICS


def build_network(
    architecture: Architecture, n_classes: int, dropout: float | None = None
) -> nn.Module:
    """The network for logits (B, n_classes), its fresh weights drawn from the global generator.

    It takes images that `augmentation.normalise` has normalised.
    """
    if architecture == "max_pool_mil":
        return MaxPoolMIL(small_features(), N_FEATURES, n_classes, head="convolution")
    if is_lite(architecture):
        import timm  # 2 s to import, and no other network needs it

        rate = 0.2 if dropout is None else dropout
        return _Lite(timm.create_model(architecture, num_classes=n_classes, drop_rate=rate))
    options: dict[str, Any] = {} if dropout is None else {"dropout": dropout}
    network: nn.Module = getattr(torchvision.models, architecture)(
        weights=None, num_classes=n_classes, **options
    )
    return network


class _Lite(nn.Module):
    """A Lite network behind the normalisation that the other networks were trained with."""

    shift: Tensor
    scale: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        (mean, std), (own_mean, own_std) = map(_as_tensors, (IMAGENET_STATISTICS, LITE_STATISTICS))
        self.register_buffer("scale", std / own_std, persistent=False)
        self.register_buffer("shift", (mean - own_mean) / own_std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.model(images * self.scale + self.shift))


def _as_tensors(statistics: tuple[tuple[float, ...], tuple[float, ...]]) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in statistics)
    return mean, std


def body_of(network: nn.Module) -> nn.Module:
    """From images, normalised by the architecture's own statistics, to the head's input (B, D)."""
    if isinstance(network, _Lite):
        model = cast(Any, network.model)
        model.reset_classifier(0)
        return cast(nn.Module, model)
    pooled = network.get_submodule("avgpool")
    return nn.Sequential(network.get_submodule("features"), pooled, nn.Flatten())


def head_prefix(architecture: Architecture) -> str:
    """What the names of the tensors begin with that belong to the classes."""
    return "model.classifier." if is_lite(architecture) else "classifier."


def set_training(network: nn.Module, *, frozen_features: bool) -> None:
    """Put `network` into training mode; with `frozen_features` only its classifier learns.

    Frozen features also keep their batch-norm statistics. Whether the organisers' frozen model let
    them drift is not known; keeping them is our choice, because it makes the features a fixed
    function of the image.
    """
    network.train()
    if frozen_features:
        model = network.model if isinstance(network, _Lite) else network
        for name, part in model.named_children():
            if name != "classifier":
                part.requires_grad_(False)
                part.eval()


def check_images(images: torch.Tensor, pipeline: Pipeline) -> None:
    """Raise ValueError unless `images` are uint8 (N, 3, S, S) of a size that `pipeline` takes."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"images came as {images.dtype} {tuple(images.shape)}, expected uint8 (N, 3, S, S)"
        )
    smallest, longest = min(images.shape[2:]), max(images.shape[2:])
    least = MINIMUM_SIZE[pipeline.architecture]
    if smallest < least:
        raise ValueError(
            f"images are {smallest} pixels small, {pipeline.architecture} needs at least "
            f"{least}; use larger images or another pipeline"
        )
    if pipeline.size is not None and longest > pipeline.size:
        raise ValueError(
            f"images are {longest} pixels large, pipeline {pipeline.name!r} takes at "
            f"most {pipeline.size}; call resize_images(images, pipeline.size) first"
        )
