"""Where a network's first weights come from: from scratch, torchvision's ImageNet, or a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn
from torchvision.models import EfficientNet_B0_Weights, EfficientNet_B4_Weights

from core.pretrained.imagenet_weights import (
    WeightsError,
    load_timm_weights,
    read_state_dict,
    refuse_misfit,
)
from evaluator.training.networks import head_prefix, is_lite
from evaluator.training.pipelines import Architecture
from shared.errors import ConfigurationError

_IMAGENET = {
    "efficientnet_b0": EfficientNet_B0_Weights.IMAGENET1K_V1,
    "efficientnet_b4": EfficientNet_B4_Weights.IMAGENET1K_V1,
}


def load_weights(network: nn.Module, architecture: Architecture, weights: str) -> None:
    """Fill `network` in place; `weights` is "none", "imagenet" or the path of a state dict.

    The head of a state dict made for other classes is left out: the network keeps its fresh one.
    Anything else that does not fit raises `ConfigurationError`; nothing falls back silently.
    """
    if weights == "none":
        return
    head = head_prefix(architecture)
    if weights == "imagenet" and is_lite(architecture):
        with weights_refused():
            found = load_timm_weights(architecture)
        state = {f"model.{key}": value for key, value in found.state.items()}
        source = found.source
    elif weights == "imagenet":
        state, source = _imagenet_state(architecture), "torchvision's ImageNet weights"
    else:
        state, source = _file_state(Path(weights)), weights
    fresh = network.state_dict()
    head_fits = all(
        key in state and state[key].shape == value.shape
        for key, value in fresh.items()
        if key.startswith(head)
    )
    if not head_fits:
        state = {key: value for key, value in state.items() if not key.startswith(head)}
    expected = {key: value for key, value in fresh.items() if head_fits or not key.startswith(head)}
    _refuse_misfit(state, expected, source, architecture)
    network.load_state_dict(state, strict=False)


def _imagenet_state(architecture: Architecture) -> dict[str, torch.Tensor]:
    if architecture not in _IMAGENET:
        raise ConfigurationError(
            "weights-misfit",
            f"there are no ImageNet weights for {architecture}; use --weights none",
        )
    source = _IMAGENET[architecture]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(source.url).name
    try:
        # The hash in the file's name is checked after a download.
        state: dict[str, torch.Tensor] = source.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        if cached.exists():
            raise ConfigurationError(
                "imagenet-weights",
                f"the ImageNet weights in {cached} cannot be read ({error}); delete that file so "
                f"that it is downloaded again, or use --weights none or --weights FILE",
            ) from error
        raise ConfigurationError(
            "imagenet-weights",
            f"the ImageNet weights of {architecture} could not be downloaded ({error}); put "
            f"{source.url} at {cached}, or use --weights none or --weights FILE",
        ) from error
    return state


def _file_state(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise ConfigurationError(
            "weights-file",
            f"--weights {path}: no such file; give none, imagenet or the path of a state dict",
        )
    try:
        return read_state_dict(path)
    except WeightsError as error:
        raise ConfigurationError("weights-file", f"--weights {error}") from error


def _refuse_misfit(
    state: dict[str, torch.Tensor],
    expected: dict[str, torch.Tensor],
    source: str,
    architecture: Architecture,
) -> None:
    library = "timm" if is_lite(architecture) else "torchvision"
    try:
        refuse_misfit(state, expected, source, architecture)
    except WeightsError as error:
        raise ConfigurationError(
            "weights-misfit", f"{error}; give a state dict of {library}'s {architecture}"
        ) from error


@contextmanager
def weights_refused() -> Iterator[None]:
    """Report weights that are missing or damaged as the evaluator reports its own errors."""
    try:
        yield
    except WeightsError as error:
        raise ConfigurationError("imagenet-weights", f"{error}. Or use --weights FILE") from error
