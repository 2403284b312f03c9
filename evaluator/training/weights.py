"""Where a network's first weights come from: from scratch, torchvision's ImageNet, or a file."""

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn
from torchvision.models import EfficientNet_B0_Weights, EfficientNet_B4_Weights

from evaluator.errors import ConfigurationError
from evaluator.training.pipelines import Architecture

_IMAGENET = {
    "efficientnet_b0": EfficientNet_B0_Weights.IMAGENET1K_V1,
    "efficientnet_b4": EfficientNet_B4_Weights.IMAGENET1K_V1,
}
_HEAD = "classifier."  # of torchvision's EfficientNets: the layer that belongs to the old classes


def load_weights(network: nn.Module, architecture: Architecture, weights: str) -> None:
    """Fill `network` in place; `weights` is "none", "imagenet" or the path of a state dict.

    The head of a state dict made for other classes is left out: the network keeps its fresh one.
    Anything else that does not fit raises `ConfigurationError`; nothing falls back silently.
    """
    if weights == "none":
        return
    if weights == "imagenet":
        state, source = _imagenet_state(architecture), "torchvision's ImageNet weights"
    else:
        state, source = _file_state(Path(weights)), weights
    fresh = network.state_dict()
    head_fits = all(
        key in state and state[key].shape == value.shape
        for key, value in fresh.items()
        if key.startswith(_HEAD)
    )
    if not head_fits:
        state = {key: value for key, value in state.items() if not key.startswith(_HEAD)}
    expected = {
        key: value for key, value in fresh.items() if head_fits or not key.startswith(_HEAD)
    }
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
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise ConfigurationError(
            "weights-file",
            f"--weights {path}: not a file that torch.load reads with weights_only=True "
            f"({str(error).splitlines()[0]}); save it with torch.save(model.state_dict(), path)",
        ) from error
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise ConfigurationError(
            "weights-file",
            f"--weights {path}: holds {_contents(state)}, expected a state dict (parameter names "
            f"to tensors); save it with torch.save(model.state_dict(), path)",
        )
    return state


def _contents(loaded: object) -> str:
    if isinstance(loaded, dict):
        return f"a dict with the keys {', '.join(map(str, list(loaded)[:3]))}"
    return f"a {type(loaded).__name__}"


def _refuse_misfit(
    state: dict[str, torch.Tensor],
    expected: dict[str, torch.Tensor],
    source: str,
    architecture: Architecture,
) -> None:
    missing = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in expected]
    reshaped = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    faults = [
        f"{len(found)} {what} (first: {found[0]})"
        for what, found in (
            ("missing", missing),
            ("unknown", unknown),
            ("of another shape", reshaped),
        )
        if found
    ]
    if faults:
        raise ConfigurationError(
            "weights-misfit",
            f"{source} does not fit {architecture}: of {len(expected)} tensors "
            f"{', '.join(faults)}; give a state dict of torchvision's {architecture}",
        )
