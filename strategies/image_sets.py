"""What a session works on: the labelled images, and the pool of those without a label."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from core.random_streams import stream
from models.image_bank import CHUNK, Clock, Encode, ImageBank, fitting_size
from models.learner import Learner

READING_OVERRUN = 1.5  # reading the pool may take so many times what was planned


@dataclass
class LabelledSet:
    """Labelled images: the training set first, then what was added, in order.

    inputs : (L, ...), as the learner encodes them; labels : (L, C) of 0/1.
    size : S, the side in pixels at which images are read.
    n_calibration : how many of the first rows were drawn at random, like the pool.
    seconds_per_image : what reading one took.
    """

    inputs: Tensor
    labels: Tensor
    n_calibration: int
    size: int
    seconds_per_image: float = 0.0

    @classmethod
    def read(
        cls, dataset: Any, learner: Learner, n_calibration: int | None, clock: Clock
    ) -> "LabelledSet":
        """Decode `dataset` at the size of its images, or at the learner's, if that is less.

        n_calibration : None takes all for drawn at random.
        """
        size = fitting_size(dataset, learner.resolved.image_size)
        bank = ImageBank.from_dataset(
            dataset,
            size,
            with_labels=True,
            threads=learner.settings.threads,
            clock=clock,
            encode=learner.encode,
        )
        return cls(
            bank.images,
            cast(Tensor, bank.labels),
            len(bank) if n_calibration is None else n_calibration,
            size,
            bank.seconds_per_image,
        )

    def __len__(self) -> int:
        return int(self.inputs.shape[0])

    def add(self, inputs: Tensor, labels: Tensor) -> None:
        """Append encoded images (k, ...) and their labels (k, C)."""
        self.inputs = torch.cat([self.inputs, inputs])
        self.labels = torch.cat([self.labels, labels])


class UnlabelledPool:
    """Images of a data set that can be selected, as rows.

    Rows are the data set's positions until `read` puts what it reads first, in random order.

    inputs : (M, ...), encoded images of the rows 0..M-1, which were read.
    indices : (N,), what `purchase_label` takes for each row; -1 where its image was not read.
    available : (N,) bool, whether a row has no label yet.
    """

    def __init__(
        self,
        dataset: Any,
        size: int,
        *,
        threads: int = 4,
        clock: Clock = time.monotonic,
        encode: Encode = lambda images: images,
    ) -> None:
        self._dataset = dataset
        self._size = size
        self._threads = threads
        self._clock = clock
        self._encode = encode
        self._positions = torch.arange(len(dataset))  # (N,) of each row, in the data set
        self._read_late: dict[int, Tensor] = {}  # encoded images of rows beyond M
        self.inputs = torch.empty(0)
        self.indices = torch.full((len(dataset),), -1)
        self.available = torch.ones(len(dataset), dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.available)

    @property
    def n_read(self) -> int:
        """The number M of rows that can be looked at."""
        return len(self.inputs)

    @property
    def candidates(self) -> Tensor:
        """The rows that were read and have no label yet."""
        return self.available[: self.n_read].nonzero().flatten()

    def read(self, ends: float, share: float, seconds_per_image: float, seed: int) -> float:
        """Read the images, or the share of them that there is time to read, drawn at random.

        ends : when all work must be done, on the clock; reading takes a `share` of the time until
            then, and has its own deadline, because `seconds_per_image` was measured on other
            images, and the pool may lie on slower storage.

        Returns the seconds that an image took. Sorted only inside chunks, what has been read by
        the deadline is still a random sample.
        """
        if self.n_read or not bool(self.available.all()):
            raise RuntimeError("The pool was read before, or labelled in part.")
        seconds = share * (ends - self._clock())
        affordable = seconds / max(seconds_per_image, 1e-9)
        order = torch.randperm(len(self), generator=stream(seed, "pool/order")).tolist()
        wanted = order[: max(1, int(min(affordable, len(self))))]
        chunks = [wanted[start : start + CHUNK] for start in range(0, len(wanted), CHUNK)]
        positions = [position for chunk in chunks for position in sorted(chunk)]
        bank = self._decode(positions, self._clock() + READING_OVERRUN * seconds)
        n = len(bank)
        self._set_indices(torch.arange(n), bank.indices)
        self._positions = torch.tensor(positions[:n] + order[n:])
        self.inputs = bank.images
        return bank.seconds_per_image

    def load(self, rows: Tensor) -> None:
        """Read those of `rows` that were not, so that their `indices` are known."""
        late = rows[self.indices[rows] < 0]
        if not len(late):
            return
        bank = self._decode(self._positions[late].tolist())
        self._set_indices(late, bank.indices)
        self._read_late.update(zip(late.tolist(), bank.images, strict=True))

    def take(self, rows: Tensor) -> Tensor:
        """The encoded images (k, ...) of `rows`, which are not available any more."""
        self.available[rows] = False
        late = [self._read_late.pop(row) for row in rows.tolist() if row >= self.n_read]
        if not late:
            return self.inputs[rows]
        inputs = late[0].new_empty((len(rows), *late[0].shape))
        read = rows < self.n_read
        if bool(read.any()):
            inputs[read] = self.inputs[rows[read]]
        inputs[~read] = torch.stack(late)
        return inputs

    def _decode(self, positions: Sequence[int], deadline: float | None = None) -> ImageBank:
        return ImageBank.from_dataset(
            self._dataset,
            self._size,
            positions=positions,
            threads=self._threads,
            deadline=deadline,
            clock=self._clock,
            encode=self._encode,
        )

    def _set_indices(self, rows: Tensor, indices: Tensor) -> None:
        known = torch.cat([self.indices[self.indices >= 0], indices])
        if len(set(known.tolist())) != len(known):
            raise ValueError("Two images of the pool have the same idx; each needs its own.")
        self.indices[rows] = indices
