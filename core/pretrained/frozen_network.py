"""A pretrained network that is not trained any further, as a function from images to features."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from core.pretrained.imagenet_weights import load_timm_weights, weights_digest

Layers = Literal["last", "all"]
REVISION = 1  # raised when the same network would give other features

BLUR_SIGMA = 1.05  # pixels: the middle of torchvision's default range from 0.1 to 2
_BLUR_RADIUS = 2  # pixels: a kernel of 5 x 5


def _blurred(images: Tensor) -> Tensor:
    """`images` (B, C, H, W) float, blurred by a Gaussian of BLUR_SIGMA over five pixels."""
    offsets = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, dtype=images.dtype)
    taps = torch.exp(-0.5 * (offsets / BLUR_SIGMA) ** 2)  # (5,)
    taps = (taps / taps.sum()).to(images.device)
    channels = images.shape[1]
    padded = F.pad(images, [_BLUR_RADIUS] * 4, mode="reflect")
    across = taps.view(1, 1, 1, -1).expand(channels, -1, -1, -1)
    return F.conv2d(F.conv2d(padded, across, groups=channels), across.mT, groups=channels)


# The ways in which an image may be shown to a frozen network. A training draws one for each image
# and epoch, so features of eight views serve any number of epochs and seeds.
_MIRRORS: dict[str, tuple[int, ...]] = {"plain": (), "across": (3,), "down": (2,), "both": (2, 3)}


def _show(images: Tensor, axes: tuple[int, ...], blur: bool) -> Tensor:
    mirrored = images.flip(axes) if axes else images
    return _blurred(mirrored) if blur else mirrored


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    ("blurred " if blur else "") + name: partial(_show, axes=axes, blur=blur)
    for blur in (False, True)
    for name, axes in _MIRRORS.items()
}


class FrozenNetwork:
    """Pooled features of a network that is not trained.

    Parameters
    ----------
    body : normalised images (B, 3, H, W) to features (B, D).
    mean, std : of each channel, of pixels in [0, 1], that the network was trained with.
    key : a name that changes with what it computes.
    source : where its weights were found.
    device : where it computes.
    """

    def __init__(
        self,
        body: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        key: str,
        source: str,
        device: torch.device | str = "cpu",
    ) -> None:
        self.key, self.source, self.device = key, source, torch.device(device)
        self._mean = (255 * torch.tensor(mean)).view(1, 3, 1, 1).to(self.device)
        self._std = (255 * torch.tensor(std)).view(1, 3, 1, 1).to(self.device)
        # Half again as fast on a CPU, and equal to 1e-5: norms are folded into convolutions.
        self._body = (
            _fused(body.eval())
            .to(self.device)
            .to(  # type: ignore[call-overload]
                memory_format=torch.channels_last
            )
        )

    @torch.no_grad()
    def features(self, images: Tensor, view: str = "plain") -> Tensor:
        """(B, D) float32 on the CPU, of uint8 `images` (B, 3, H, W) shown as one of VIEWS."""
        batch = images.to(self.device, non_blocking=True).float()
        batch = VIEWS[view]((batch - self._mean) / self._std)
        pooled: Tensor = self._body(batch.contiguous(memory_format=torch.channels_last))
        return pooled.float().cpu()

    @cached_property
    def n_features(self) -> int:
        return self.features(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape[1]


class _Pooled(nn.Module):
    """Means over the last layer of a timm network, or means and maxima of every stage as well."""

    def __init__(self, model: Any, layers: Layers) -> None:
        super().__init__()
        self.model, self.layers = model, layers

    def forward(self, images: Tensor) -> Tensor:
        if self.layers == "last":
            pooled: Tensor = self.model.global_pool(self.model.forward_features(images))
            return pooled
        last, stages = self.model.forward_intermediates(images)
        maps = [*stages, last]
        return torch.cat([m.mean((2, 3)) for m in maps] + [m.amax((2, 3)) for m in maps], 1)


@cache
def frozen_network(
    architecture: str, layers: Layers = "last", device: torch.device | str = "cpu"
) -> FrozenNetwork:
    """A convolutional network of timm with ImageNet weights, built once in a process.

    `layers` "last" gives the means of the last layer over the image, which an ImageNet head reads;
    "all" gives means and maxima of every stage, for what is small or simple. Raises
    MissingWeightsError where the weights cannot be had.
    """
    import timm

    weights = load_timm_weights(architecture)
    model: Any = timm.create_model(architecture, pretrained=False)
    model.load_state_dict(weights.state)
    return FrozenNetwork(
        _Pooled(model, layers),
        mean=model.pretrained_cfg["mean"],
        std=model.pretrained_cfg["std"],
        key=_key(architecture, layers, weights.digest),
        source=weights.source,
        device=device,
    )


def network_key(architecture: str, layers: Layers = "last") -> str | None:
    """The key that `frozen_network` would have; None where this machine has no weights yet."""
    digest = weights_digest(architecture)
    return None if digest is None else _key(architecture, layers, digest)


def _key(architecture: str, layers: Layers, digest: str) -> str:
    settings = f"{REVISION}|{layers}|{BLUR_SIGMA}|{digest}"
    return f"{architecture}-{hashlib.blake2b(settings.encode(), digest_size=6).hexdigest()}"


def _fused(model: nn.Module) -> nn.Module:
    """`model` with every batch norm that follows a convolution folded into it, in place."""
    children = list(model.named_children())
    for (first, conv), (second, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(model, first, fuse_conv_bn_eval(conv, norm))
            setattr(model, second, getattr(norm, "act", nn.Identity()))  # timm's norms carry theirs
    for _, child in model.named_children():
        _fused(child)
    return model
