"""Small pools of pictures, and sessions over them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelling.page.session import LabellingSession, Project

CLASSES = ("dark", "bright", "striped")


def make_pool(
    folder: Path, n: int, seed: int = 0, side: int = 32, blobs: float = 0
) -> dict[str, tuple[int, ...]]:
    """Write n grey pictures whose labels can be seen in them; returns the labels by name.

    blobs : contrast of what else is in them, so that no two of one label look alike.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    labels = {}
    for number in range(n):
        label = rng.integers(0, 2, len(CLASSES))
        pixels = rng.normal(128, 10, (side, side, 3))
        coarse = rng.normal(0, blobs, (8, 8, 1))
        pixels += np.kron(coarse, np.ones((side // 8, side // 8, 1)))
        pixels[: side // 2] -= 80 * label[0]
        pixels[side // 2 :] += 80 * label[1]
        pixels[:, ::4] += 60 * label[2]
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        picture.save(folder / f"{number:03}.png")
        labels[f"{number:03}.png"] = tuple(label.tolist())
    return labels


@pytest.fixture
def open_session(tmp_path: Path) -> Callable[..., LabellingSession]:
    """Open, and open again, a session over ten pictures."""
    make_pool(tmp_path / "pool", 10)
    names = tuple(sorted(path.name for path in (tmp_path / "pool").iterdir()))

    def open_it(**changed: object) -> LabellingSession:
        settings: dict[str, object] = {
            "pool": tmp_path / "pool",
            "out": tmp_path / "out",
            "class_names": CLASSES,
            "names": names,
        }
        return LabellingSession(Project(**{**settings, **changed}))  # type: ignore[arg-type]

    return open_it
