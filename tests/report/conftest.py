"""The data set that the made-up journals are said to be of."""

from pathlib import Path

import pytest

from evaluator.data.dataset import Splits, open_splits


@pytest.fixture(scope="session")
def splits(squares: Path) -> Splits:
    return open_splits(squares, progress=False)
