"""Walking over a pool in blocks of rows, so that working memory does not grow with the pool."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

BLOCK_NUMBERS = 2**23
"""Numbers in a working block: 32 MiB of float32."""


def row_blocks(rows: int, width: int, numbers: int = BLOCK_NUMBERS) -> Iterator[slice]:
    """Slices that cover `rows`, each of at most `numbers` / `width` rows (and at least one)."""
    step = max(1, numbers // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


def by_rows(score: Callable[[Tensor], Tensor], matrix: Tensor) -> Tensor:
    """`score` of each row of `matrix` (N, C) -> (N,), in float32, one block of rows at a time."""
    scores = torch.empty(matrix.shape[0], device=matrix.device)
    for rows in row_blocks(*matrix.shape):
        scores[rows] = score(matrix[rows].float())
    return scores
