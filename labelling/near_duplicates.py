"""Images that show nearly the same: alike in a perceptual hash and in a network's features.

The hash alone takes plain surfaces for one, features alone whatever is of one kind; both together
are cheap, for features are compared only where the hash is alike.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HASH_SIDE = 8
MOST_BITS = 4  # of 64 that may differ
LEAST_COSINE = 0.95


def difference_hash(image: Image.Image) -> int:
    """64 bits: whether each cell is brighter than its neighbour (Krawetz 2013)."""
    cells = image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    values = np.asarray(cells, np.int16)
    bits = (values[:, 1:] > values[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


class NearDuplicates:
    """Groups of near-duplicates, each around the image that came first.

    Every member is alike to that one, so that groups do not grow from neighbour to neighbour.
    """

    def __init__(self) -> None:
        self._first = list[int]()  # rows around which groups may form
        self._hashes = np.zeros(0, np.uint64)
        self._directions = np.zeros((0, 0), np.float16)
        self._members: dict[int, list[int]] = {}
        self._of: dict[int, int] = {}

    def add(
        self, rows: Iterable[int], hashes: NDArray[np.uint64], features: NDArray[np.float16]
    ) -> None:
        """Take in images with their `hashes` (B,) and `features` (B, D)."""
        norms = np.linalg.norm(features.astype(np.float32), axis=1, keepdims=True)
        directions = (features / np.maximum(norms, 1e-6)).astype(np.float16)
        for row, bits, direction in zip(rows, hashes, directions, strict=True):
            known = self._hashes[: len(self._first)]
            near = np.flatnonzero(np.bitwise_count(known ^ bits) <= MOST_BITS)
            if len(near):
                cosines = self._directions[near].astype(np.float32) @ direction.astype(np.float32)
                best = int(cosines.argmax())
                if cosines[best] >= LEAST_COSINE:
                    first = self._first[near[best]]
                    self._members.setdefault(first, [first]).append(row)
                    self._of[first] = self._of[row] = first
                    continue
            self._grow(row, bits, direction)

    @property
    def groups(self) -> Mapping[int, list[int]]:
        """Row -> the rows of its group, itself too; only of rows in a group of two or more."""
        return {row: self._members[first] for row, first in self._of.items()}

    def _grow(self, row: int, bits: np.uint64, direction: NDArray[np.float16]) -> None:
        n = len(self._first)
        if n == len(self._hashes):  # room for as many again
            room = max(64, n)
            self._hashes = np.concatenate([self._hashes, np.full(room, 0, np.uint64)])
            wide = np.zeros((n + room, len(direction)), np.float16)
            if n:
                wide[:n] = self._directions
            self._directions = wide
        self._first.append(row)
        self._hashes[n] = bits
        self._directions[n] = direction
