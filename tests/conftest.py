"""Small real data sets on disk, made once for all tests."""

import csv
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.console import configure_logging

CLASSES = ("dark", "bright", "striped")
REPO_ROOT = Path(__file__).resolve().parent.parent
SIZES = {"training": 24, "unlabelled": 40, "validation": 16}


def write_split(
    folder: Path, n: int, seed: int, *, size: int = 16, classes: tuple[str, ...] = CLASSES
) -> Path:
    """A split of n grey squares whose labels can be seen in them; returns its folder."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    labels = rng.integers(0, 2, (n, len(classes)))
    labels[: len(classes)] = np.eye(len(classes), dtype=int)[:n]
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", *classes])
        for row, label in enumerate(labels):
            pixels = rng.normal(128, 10, (size, size, 3))
            pixels[: size // 2] -= 80 * label[0]
            pixels[size // 2 :] += 80 * label[1]
            pixels[:, ::4] += 60 * label[2]
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            picture.save(folder / "images" / f"{row:04}.png")
            writer.writerow([f"{row:04}.png", *label])
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Captured output as processes that run tests side by side can hand it on: in UTF-8."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def console() -> None:
    """Every test sees the log on standard error, as a person does."""
    configure_logging()


@pytest.fixture(autouse=True)
def torch_threads() -> Iterator[None]:
    """A test leaves torch's threads as they were: more than there are cores stall later tests."""
    before = torch_threads_now()
    yield
    after = torch_threads_now()
    assert before in (None, after), f"torch had {before} threads before the test and {after} after"


def torch_threads_now() -> int | None:
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else None


@pytest.fixture
def make_data(tmp_path: Path) -> Callable[[], Path]:
    """Make a fresh data set that a test may spoil."""

    def make(name: str = "squares") -> Path:
        for seed, (split, n) in enumerate(SIZES.items()):
            write_split(tmp_path / name / split, n, seed)
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set to read only: 24 training, 40 unlabelled, 16 validation images of 16 px."""
    root = tmp_path_factory.mktemp("data") / "squares"
    for seed, (split, n) in enumerate(SIZES.items()):
        write_split(root / split, n, seed)
    return root
