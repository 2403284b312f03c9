"""The networks behind the pipelines: the small one of `quick`, and torchvision's EfficientNets."""

import torchvision
from torch import nn

from core.max_pool_mil import N_FEATURES, MaxPoolMIL, small_features
from evaluator.training.pipelines import Architecture

# Smallest image side, in pixels, that leaves each network at least one last feature cell.
MINIMUM_SIZE: dict[Architecture, int] = {
    "max_pool_mil": 16,
    "efficientnet_b0": 32,
    "efficientnet_b4": 32,
}


def build_network(architecture: Architecture, n_classes: int) -> nn.Module:
    """The network for logits (B, n_classes), its fresh weights drawn from the global generator."""
    if architecture == "max_pool_mil":
        return MaxPoolMIL(small_features(), N_FEATURES, n_classes, head="convolution")
    network: nn.Module = getattr(torchvision.models, architecture)(
        weights=None, num_classes=n_classes
    )
    return network


def set_training(network: nn.Module, *, frozen_features: bool) -> None:
    """Put `network` into training mode; with `frozen_features` only its classifier learns.

    Frozen features also keep their batch-norm statistics. Whether the organisers' frozen model let
    them drift is not known; keeping them is our choice, because it makes the features a fixed
    function of the image.
    """
    network.train()
    if frozen_features:
        features = network.get_submodule("features")
        features.requires_grad_(False)
        features.eval()
