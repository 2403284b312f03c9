"""Points of a pool and the squared distances between them, in bounded memory.

Everything that only needs distances (k-center, D² sampling, k-means) is written once against
`Points` and works in the embedding space as well as in BADGE's gradient space.
"""

from functools import cached_property
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from strategies.blocks import row_blocks

Rows = slice | Tensor

KEEP_NUMBERS = 2**26
"""Embeddings up to this many numbers are kept as float32 (256 MiB); larger ones are converted
block by block, every time."""

SAME = 4e-6
"""Squared distances below this share of the squared norm are rounding, and are set to 0."""


class Points(Protocol):
    """N points between which squared distances can be asked for."""

    @property
    def size(self) -> int: ...

    @property
    def width(self) -> int:
        """Numbers per point, for sizing blocks."""

    @property
    def device(self) -> torch.device: ...

    def take(self, rows: Rows) -> Self:
        """Those points, as float32 of their own."""

    def squared_distances(self, others: Self) -> Tensor:
        """(A, B) of these A points to B others; for sets of points that fit in memory."""


P = TypeVar("P", bound=Points)


class EmbeddingPoints:
    """Points of a Euclidean space: `embeddings` (N, D), any float type.

    The mean is subtracted, which changes no distance and costs less of float32's precision.
    """

    def __init__(self, embeddings: Tensor, center: Tensor | None = None) -> None:
        if embeddings.ndim != 2:
            raise ValueError(f"Embeddings must be (images, D); got {tuple(embeddings.shape)}.")
        self._center = column_means(embeddings) if center is None else center
        self._matrix = embeddings
        self._ready = embeddings.numel() <= KEEP_NUMBERS
        if self._ready:
            self._matrix = embeddings.float() - self._center

    @property
    def size(self) -> int:
        return self._matrix.shape[0]

    @property
    def width(self) -> int:
        return self._matrix.shape[1]

    @property
    def device(self) -> torch.device:
        return self._matrix.device

    def like(self, embeddings: Tensor) -> "EmbeddingPoints":
        """Other points in the same coordinates, e.g. the labelled images."""
        return EmbeddingPoints(embeddings.to(self.device), self._center)

    def coordinates(self, rows: Rows) -> Tensor:
        """Centred coordinates (rows, D), float32."""
        chosen = self._matrix[rows]
        return chosen if self._ready else chosen.float() - self._center

    def take(self, rows: Rows) -> "EmbeddingPoints":
        taken = object.__new__(EmbeddingPoints)
        taken._center, taken._ready = self._center, True
        taken._matrix = self.coordinates(rows)
        return taken

    def squared_distances(self, others: "EmbeddingPoints") -> Tensor:
        if not others._ready:
            others = others.take(slice(None))
        a_norms = self._norms.unsqueeze(1)  # (A, 1)
        squared = torch.addmm(others._norms, self._matrix, others._matrix.T, alpha=-2)  # (A, B)
        squared.add_(a_norms)
        return squared.mul_(squared > SAME * a_norms)

    @cached_property
    def _norms(self) -> Tensor:
        return self._matrix.square().sum(dim=1)


class GradientPoints:
    """BADGE's gradient embeddings g = q ⊗ h of Bernoulli outputs, never written out.

    With q = p - [p >= 0.5] (N, C), the gradient of the binary cross-entropy at the learner's own
    guess, and h (N, D) the input of the last layer, <g_i, g_j> = <q_i, q_j> <h_i, h_j>: (C + D)
    numbers an image and not C times D.
    """

    def __init__(self, probabilities: Tensor, embeddings: Tensor) -> None:
        self._h = embeddings.float() if embeddings.numel() <= KEEP_NUMBERS else embeddings
        self._q = probabilities.float() - (probabilities >= 0.5).float()

    @property
    def size(self) -> int:
        return self._h.shape[0]

    @property
    def width(self) -> int:
        return self._h.shape[1] + self._q.shape[1]

    @property
    def device(self) -> torch.device:
        return self._h.device

    def take(self, rows: Rows) -> "GradientPoints":
        taken = object.__new__(GradientPoints)
        taken._h, taken._q = self._h[rows].float(), self._q[rows]
        return taken

    def squared_norms(self) -> Tensor:
        """|g|² = |q|² |h|², (N,)."""
        norms = torch.empty(self.size, device=self.device)
        for rows in row_blocks(self.size, self.width):
            h = self._h[rows].float()
            norms[rows] = self._q[rows].square().sum(dim=1) * h.square().sum(dim=1)
        return norms

    def squared_distances(self, others: "GradientPoints") -> Tensor:
        a_norms = self.squared_norms().unsqueeze(1)  # (A, 1)
        squared = (self._h @ others._h.float().T).mul_(self._q @ others._q.T).mul_(-2)  # (A, B)
        squared.add_(a_norms).add_(others.squared_norms())
        return squared.mul_(squared > SAME * a_norms)


def update_nearest(points: P, centres: P, nearest: Tensor) -> None:
    """Lower `nearest` (N,) in place to the squared distance to the closest of `centres`."""
    if centres.size == 0:
        return
    for rows in row_blocks(points.size, points.width + centres.size):
        closest = points.take(rows).squared_distances(centres).amin(dim=1)
        nearest[rows] = torch.minimum(nearest[rows], closest)


def most_central(points: EmbeddingPoints) -> int:
    """The point closest to the mean of all."""
    norms = [
        points.coordinates(rows).square().sum(dim=1)
        for rows in row_blocks(points.size, points.width)
    ]
    return int(torch.cat(norms).argmin())


def column_means(matrix: Tensor) -> Tensor:
    """Mean of each column, float32, one block of rows at a time; zeros for an empty matrix."""
    total = torch.zeros(matrix.shape[1], device=matrix.device, dtype=torch.float64)
    for rows in row_blocks(*matrix.shape):
        total += matrix[rows].float().sum(dim=0)
    return (total / max(1, matrix.shape[0])).float()
