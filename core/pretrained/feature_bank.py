"""Features of images, computed once and kept on disk by what the images show.

A bank is a folder with two files for each network, view and image size: `NAME.f16`, rows of D
float16 values, and `NAME.ids`, the 16-byte content hash of each row. Rows are only ever appended,
features before their hash, under a lock; what a killed process left half written is cut off. So a
bank can be interrupted, resumed and shared by processes, and is read through a memory map.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from core.pretrained.frozen_network import FrozenNetwork

BATCH = 64  # images computed, and kept, at a time
HASH_BYTES = 16
MAGIC = b"FEATBNK1"  # then D as 8 bytes: the header of a file of hashes

Images = Callable[[Sequence[int]], Tensor]  # rows to uint8 (B, 3, H, W)
Features = npt.NDArray[np.float16]  # (N, D)


class Progress(Protocol):
    """What is called after each batch with the images done and all there are to do."""

    def __call__(self, done: int, total: int) -> object: ...


def content_hashes(images: npt.NDArray[np.uint8] | Tensor) -> list[bytes]:
    """One hash for each image's pixels, of uint8 `images` (N, ...); equal pixels, equal hash."""
    shape = repr(tuple(images.shape[1:])).encode()

    def one(row: int) -> bytes:
        pixels = np.ascontiguousarray(images[row])
        return hashlib.blake2b(pixels.data, digest_size=HASH_BYTES, person=shape[:16]).digest()

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashing leaves the interpreter free
        return list(threads.map(one, range(len(images))))


class FeatureBank:
    """Features of one frozen network at one image size, kept below `folder`.

    Parameters
    ----------
    folder : made where it is not there; several networks, sizes and processes may share it.
    name : of network, weights, preprocessing and size: `network_key` and what else differs.
    network : builds the network that computes what is not kept yet, the first time it is needed.
    """

    def __init__(self, folder: Path, name: str, network: Callable[[], FrozenNetwork]) -> None:
        self.folder = folder
        self.name = name
        self._network = network
        self._known: dict[str, dict[bytes, int]] = {}

    def features(
        self,
        hashes: Sequence[bytes],
        images: Images,
        view: str = "plain",
        *,
        out_of_time: Callable[[], bool] = lambda: False,
        progress: Progress | None = None,
    ) -> Features:
        """Features (N, D) of the images with these `hashes`, shown as `view`.

        `images` is asked for the rows that are not kept. Raises TimeoutError once `out_of_time`
        answers True; what was computed until then is kept.
        """
        kept = self._rows(view)
        missing = list({h: row for row, h in enumerate(hashes) if h not in kept}.values())
        for start in range(0, len(missing), BATCH):
            if out_of_time():
                raise TimeoutError(f"{start} of {len(missing)} images have features")
            rows = missing[start : start + BATCH]
            found = self._network().features(images(rows), view).numpy().astype(np.float16)
            if not np.isfinite(found).all():
                raise FloatingPointError(f"{self.name} gave features beyond the range of float16")
            self._append(view, [hashes[row] for row in rows], found)
            if progress is not None:
                progress(start + len(rows), len(missing))
        if not hashes:
            return np.zeros((0, self._network().n_features), np.float16)
        kept = self._rows(view)
        return self._map(view)[[kept[h] for h in hashes]]

    def missing(self, hashes: Sequence[bytes], view: str = "plain") -> int:
        """How many different images have no features of `view` yet."""
        return len(set(hashes) - self._rows(view).keys())

    def _path(self, view: str, suffix: str) -> Path:
        return self.folder / f"{self.name}-{view.replace(' ', '-')}{suffix}"

    def _rows(self, view: str) -> dict[bytes, int]:
        """The row of every hash that is kept; read again where another process has added some."""
        known = self._known.setdefault(view, {})
        try:
            with self._path(view, ".ids").open("rb") as file:
                header = file.read(HASH_BYTES)
                if len(header) < HASH_BYTES:  # cut off in its first bytes
                    return known
                row_bytes = 2 * _n_features(header, self._path(view, ".ids"))
                n_kept = min(
                    os.fstat(file.fileno()).st_size // HASH_BYTES - 1,
                    self._path(view, ".f16").stat().st_size // row_bytes,
                )
                file.seek((1 + len(known)) * HASH_BYTES)
                new = file.read(max(0, n_kept - len(known)) * HASH_BYTES)
        except FileNotFoundError:
            return known
        # No hash comes twice: who appends holds the lock, and has read what is there.
        for at in range(0, len(new), HASH_BYTES):
            known[new[at : at + HASH_BYTES]] = len(known)
        return known

    def _map(self, view: str) -> Features:
        with self._path(view, ".ids").open("rb") as file:
            n_features = _n_features(file.read(HASH_BYTES), self._path(view, ".ids"))
        shape = (len(self._known[view]), n_features)
        return np.memmap(self._path(view, ".f16"), np.float16, "r", shape=shape)

    def _append(self, view: str, hashes: Sequence[bytes], features: Features) -> None:
        """Add the rows that no other process has added meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self._path(view, ".lock")):
            kept = self._rows(view)
            new = [row for row, h in enumerate(hashes) if h not in kept]
            row_bytes = features[:1].nbytes
            with (
                self._path(view, ".f16").open("ab") as values,
                self._path(view, ".ids").open("ab") as ids,
            ):
                if ids.tell() < HASH_BYTES:  # new, or cut off in its first bytes
                    ids.truncate(0)
                    ids.write(MAGIC + features.shape[1].to_bytes(8, "little"))
                    ids.flush()
                # What a killed process wrote without finishing is cut off.
                values.truncate(len(kept) * row_bytes)
                ids.truncate((1 + len(kept)) * HASH_BYTES)
                values.write(np.ascontiguousarray(features[new]).tobytes())
                values.flush()
                os.fsync(values.fileno())
                ids.write(b"".join(hashes[row] for row in new))
            self._rows(view)


def _n_features(header: bytes, path: Path) -> int:
    if header[:8] != MAGIC:
        raise ValueError(
            f"{path} is not a file of a feature bank; delete it, or use another folder"
        )
    return int.from_bytes(header[8:], "little")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
