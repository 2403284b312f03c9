"""The networks behind the pipelines: the small one of `quick`, and torchvision's EfficientNets."""

import torch
import torchvision
from torch import nn

from evaluator.training.pipelines import Architecture

# Smallest image side, in pixels, that leaves each network at least one last feature cell.
MINIMUM_SIZE: dict[Architecture, int] = {
    "local_logits": 16,
    "efficientnet_b0": 32,
    "efficientnet_b4": 32,
}


class LocalLogits(nn.Module):
    """A small net that asks for each class at each place, and answers with the surest place.

    A defect covers a few pixels of a sheet: averaged over the sheet its signal drowns, and the net
    stays for long where it started. The maximum over places keeps it (multiple-instance learning:
    a sheet has the defect if any place has it).
    """

    def __init__(self, n_classes: int, width: int = 24) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, width, stride=2),
            *_convolution(width, width),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            *_convolution(2 * width, 2 * width),
            nn.MaxPool2d(2),
            *_convolution(2 * width, 4 * width),
        )
        self.classifier = nn.Conv2d(4 * width, n_classes, 1)

    def hidden_weights(self) -> list[torch.Tensor]:
        """Weights of the convolutions between the pixels and the classifier."""
        convolutions = [m for m in self.features if isinstance(m, nn.Conv2d)]
        return [convolution.weight for convolution in convolutions[1:]]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of normalised `images` (B, 3, H, W)."""
        places: torch.Tensor = self.classifier(self.features(images))  # (B, C, h, w)
        return places.amax((2, 3))  # (B, C)


def _convolution(channels_in: int, channels_out: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    ]


def build_network(architecture: Architecture, n_classes: int) -> nn.Module:
    """The network for logits (B, n_classes), its fresh weights drawn from the global generator."""
    if architecture == "local_logits":
        return LocalLogits(n_classes)
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
