"""The buyer's networks: the small one that it shares with the evaluator, and any of timm's."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.max_pool_mil import N_FEATURES, MaxPoolMIL, NetworkOutput, small_features
from core.pretrained.imagenet_weights import cached_timm_file

SMALL = "small"
TIMM_DEFAULT = "efficientnet_b0"
SMALLEST_IMAGE = 8  # pixels of a side, of which the small network makes one place


class AcquisitionNetwork(nn.Module):
    """The buyer's network: normalises uint8 images, and answers with logits and features.

    Parameters
    ----------
    mil : local class logits over some features.
    mean, std : what normalises images in [0, 1], per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mil: MaxPoolMIL,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.25, 0.25, 0.25),
    ) -> None:
        super().__init__()
        self.mil = mil
        self.register_buffer("mean", 255 * torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std)[:, None, None], persistent=False)

    def muon_parameters(self) -> list[Tensor]:
        """Weights under Muon; none of a pretrained backbone."""
        return self.mil.muon_parameters()

    def forward(self, images: Tensor) -> NetworkOutput:
        """uint8 (B, 3, S, S) to logits and features."""
        return self.mil.logits_and_features((images - self.mean) / self.std)


def build_network(
    backbone: str,
    n_classes: int,
    image_size: int,
    rng: torch.Generator,
    weights: Path | None = None,
) -> AcquisitionNetwork:
    """A network by name, `small` or one of timm's, with fresh weights drawn from `rng`.

    `image_size` is the side of its images in pixels. `weights` is a file that timm can load into
    the backbone. The global generator is left as it was found.
    """
    with torch.random.fork_rng(devices=[]):
        seed = int(torch.randint(2**62, (), generator=rng))
        torch.default_generator.manual_seed(seed)  # torch's own would seed the GPU's as well
        if backbone == SMALL:
            if image_size < SMALLEST_IMAGE:
                raise ValueError(
                    f"Backbone {SMALL!r} cannot take images of {image_size} pixels; it needs at "
                    f"least {SMALLEST_IMAGE}. Give larger images, or set `image_size` in "
                    "submission.toml."
                )
            mil = MaxPoolMIL(small_features(), N_FEATURES, n_classes, head="linear")
            return AcquisitionNetwork(mil)
        return _timm_network(backbone, n_classes, image_size, weights)


def find_weights(backbone: str, asked: str) -> Path | None:
    """The file of ImageNet weights to start from, or None for a fresh start.

    asked : "auto", what this machine has; "yes", the same, and ValueError where it has none; "no";
        or a file, and ValueError where that is none.
    """
    if backbone == SMALL or asked == "no":
        return None
    if asked not in ("auto", "yes"):
        if not Path(asked).is_file():
            raise ValueError(
                f'`pretrained` must be "auto", "yes", "no" or a file; {asked!r} is no file.'
            )
        return Path(asked)
    found = cached_timm_file(backbone)
    if found is None and asked == "yes":
        raise ValueError(
            f"There are no ImageNet weights of {backbone} on this machine. "
            f"{how_to_fetch(backbone)}, "
            'or set `pretrained = "auto"` in submission.toml to train from scratch.'
        )
    return found


def how_to_fetch(backbone: str) -> str:
    """How to put the backbone's ImageNet weights where `cached_timm_file` finds them."""
    code = f"import timm; timm.create_model('{backbone}', pretrained=True)"
    return f'Put them there with `python -c "{code}"`'


class _TimmBody(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.model.forward_features(images)
        if maps.ndim == 4 and maps.shape[-1] == self.model.num_features != maps.shape[1]:
            return maps.flatten(1, 2)  # channels-last transformers: (B, h, w, D) to (B, T, D)
        return maps


def _timm_network(
    backbone: str, n_classes: int, image_size: int, weights: Path | None
) -> AcquisitionNetwork:
    import timm  # 2 s to import, and the CPU's small net does without

    if not timm.is_model(backbone):
        close = timm.list_models(f"{backbone.split('_')[0]}*")[:12]
        raise ValueError(
            f"There is no backbone {backbone!r}. Use {SMALL!r} or a timm model name"
            + (f", such as {', '.join(close)}." if close else f", such as {TIMM_DEFAULT!r}.")
        )
    overlay = None if weights is None else {"file": str(weights)}
    try:
        model: Any = timm.create_model(
            backbone,
            pretrained=weights is not None,
            pretrained_cfg_overlay=overlay,
            num_classes=0,
            drop_rate=0.0,  # dropout would draw from the device's global generator
        )
    except Exception as error:  # timm, torch and safetensors have no error in common
        if weights is None:
            raise
        raise ValueError(
            f"{weights} cannot be read as weights of {backbone} ({error}). Set another "
            "`pretrained` in submission.toml."
        ) from error
    for module in model.modules():
        if getattr(module, "drop_prob", None):
            module.drop_prob = 0.0  # so would dropped paths
    if hasattr(model, "set_input_size"):  # a transformer, which takes one size of image only
        model.set_input_size(img_size=(image_size, image_size))
    cfg = model.pretrained_cfg
    mil = MaxPoolMIL(_TimmBody(model), model.num_features, n_classes, head="linear")
    network = AcquisitionNetwork(mil, tuple(cfg["mean"]), tuple(cfg["std"]))
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8))
    except (RuntimeError, AssertionError, AttributeError, TypeError) as error:
        raise ValueError(
            f"Backbone {backbone!r} cannot take images of {image_size} pixels ({error}). Set "
            "another `image_size` or `backbone` in submission.toml."
        ) from error
    return network
