"""The small network of buyer (`small`) and evaluator (`quick`): max-pooled local class logits.

A defect covers a few pixels: averaged over the image its signal drowns, and a network trained on a
thousand images does not leave its starting plateau. So the class logits are local and pooled by
their maximum (multiple-instance learning: an image shows what any of its places shows).
"""

from typing import Literal, NamedTuple

from torch import Tensor, nn

WIDTH = 24
N_FEATURES = 4 * WIDTH


class NetworkOutput(NamedTuple):
    """What a network makes of a batch of images."""

    logits: Tensor  # (B, C)
    features: Tensor  # (B, D), the strongest response of every feature over the image


class MaxPoolMIL(nn.Module):
    """Convolutional features, class logits at each place, then their maximum over places.

    Parameters
    ----------
    features : (B, 3, H, W) normalised images to maps (B, D, h, w), or to tokens (B, T, D).
    n_features : D.
    head : the same linear map at each place, as a 1x1 "convolution" of maps or as a "linear" layer
        over maps or tokens. Initial weights are the same; sums are not taken in the same order, so
        that results differ in their last bits.
    """

    def __init__(
        self,
        features: nn.Module,
        n_features: int,
        n_classes: int,
        head: Literal["convolution", "linear"],
    ) -> None:
        super().__init__()
        self.features = features
        self.classifier: nn.Module = (
            nn.Conv2d(n_features, n_classes, 1)
            if head == "convolution"
            else nn.Linear(n_features, n_classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C)."""
        return self._pooled_logits(self.features(images))

    def logits_and_features(self, images: Tensor) -> NetworkOutput:
        """Logits (B, C) and features (B, D), both float32."""
        maps = self.features(images)
        return NetworkOutput(self._pooled_logits(maps).float(), _places(maps).amax(1).float())

    def muon_parameters(self) -> list[Tensor]:
        """Weights of the small network's convolutions after the first, which Muon is made for."""
        if not isinstance(self.features, nn.Sequential):
            return []
        convolutions = [m for m in self.features if isinstance(m, nn.Conv2d)]
        return [convolution.weight for convolution in convolutions[1:]]

    def _pooled_logits(self, maps: Tensor) -> Tensor:
        if isinstance(self.classifier, nn.Conv2d):
            local: Tensor = self.classifier(maps)  # (B, C, h, w)
            return local.amax((2, 3))
        local = self.classifier(_places(maps)).float()  # (B, T, C)
        return local.amax(1)


def _places(maps: Tensor) -> Tensor:
    """Maps (B, D, h, w) or tokens (B, T, D) as tokens."""
    return maps if maps.ndim == 3 else maps.flatten(2).transpose(1, 2)


def small_features() -> nn.Sequential:
    """The features of the small network, (B, 3, H, W) to (B, N_FEATURES, H / 8, W / 8)."""
    return nn.Sequential(
        *_convolution(3, WIDTH, stride=2),
        *_convolution(WIDTH, WIDTH),
        nn.MaxPool2d(2),
        *_convolution(WIDTH, 2 * WIDTH),
        *_convolution(2 * WIDTH, 2 * WIDTH),
        nn.MaxPool2d(2),
        *_convolution(2 * WIDTH, 4 * WIDTH),
    )


def _convolution(channels_in: int, channels_out: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    ]
