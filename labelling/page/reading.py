"""Features of a pool's images: read, checked and computed once, in the order that is asked for."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from core.pretrained.feature_bank import BATCH, FeatureBank, content_hashes
from core.pretrained.frozen_network import frozen_network, network_key
from labelling.near_duplicates import difference_hash
from shared.images.soundness import examine

ARCHITECTURE = "tf_efficientnet_lite0"  # its ImageNet weights come with requirements.txt
THREADS = 2  # that decode; the rest of the machine is the person's


class Batch(NamedTuple):
    """What was found out about some images.

    rows : those that can be used; damaged : row -> why another cannot.
    """

    rows: list[int]
    damaged: dict[int, str]
    contents: list[bytes]  # (B,) equal for equal pixels, as the network sees them
    hashes: NDArray[np.uint64]  # (B,) perceptual
    features: NDArray[np.float16]  # (B, D)


class FeatureReader:
    """Computes features batch by batch, and remembers which file has which.

    folder : where features are kept, by what images show; and `images.jsonl`, by which a file that
        has neither changed in size nor in time is not decoded again.
    files : of all images; rows are positions in it.
    pixels : of a side at which the network sees them, squeezed to a square.
    """

    def __init__(self, folder: Path, files: Sequence[Path], pixels: int) -> None:
        self.files = files
        self.pixels = pixels
        device = "cuda" if torch.cuda.is_available() else "cpu"
        key = network_key(ARCHITECTURE, "all")
        name = f"{key or ARCHITECTURE}-{pixels}"
        self._bank = FeatureBank(folder, name, lambda: frozen_network(ARCHITECTURE, "all", device))
        folder.mkdir(parents=True, exist_ok=True)
        self._index = folder / f"images-{pixels}.jsonl"
        self._known = dict(self._read_index())

    def read(self, rows: Sequence[int]) -> Batch:
        """Features of the images at `rows`, of at most BATCH at once."""
        if len(rows) > BATCH:
            raise ValueError(f"At most {BATCH} images at once; got {len(rows)}.")
        with ThreadPoolExecutor(THREADS) as threads:
            found = dict(zip(rows, threads.map(self._look, rows), strict=True))
        damaged = {row: one for row, one in found.items() if isinstance(one, str)}
        usable = {row: one for row, one in found.items() if not isinstance(one, str)}
        fresh = [row for row, one in usable.items() if one.content == b""]
        if fresh:
            pixels = np.stack([usable[row].pixels for row in fresh])
            for row, content in zip(fresh, content_hashes(pixels), strict=True):
                usable[row] = usable[row]._replace(content=content)
        kept = list(usable)

        def images(wanted: Sequence[int]) -> torch.Tensor:
            decoded = [self._pixels(kept[at], usable[kept[at]]) for at in wanted]
            return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)

        contents = [usable[row].content for row in kept]
        features = self._bank.features(contents, images)
        self._remember([(self.files[row], usable[row]) for row in fresh])
        hashes = np.array([usable[row].difference for row in kept], np.uint64)
        return Batch(kept, damaged, contents, hashes, features)

    def _look(self, row: int) -> "_Seen | str":
        """What is known of an image without decoding it, or what decoding shows; or its damage."""
        file = self.files[row]
        try:
            status = file.stat()
        except OSError as error:
            return error.strerror or str(error)
        stamp = (status.st_size, status.st_mtime_ns)
        known = self._known.get(str(file))
        if known is not None and known.stamp == stamp:
            return known
        examined = examine(file, self.pixels)
        if examined.picture is None:
            return examined.damage
        rgb = examined.picture.rgb
        return _Seen(stamp, b"", difference_hash(rgb), _square(rgb, self.pixels))

    def _pixels(self, row: int, seen: "_Seen") -> NDArray[np.uint8]:
        if len(seen.pixels):
            return seen.pixels
        examined = examine(self.files[row], self.pixels)  # the bank was lost, and not the index
        if examined.picture is None:
            raise OSError(f"{self.files[row]} has changed while it was read: {examined.damage}")
        return _square(examined.picture.rgb, self.pixels)

    def _remember(self, seen: "list[tuple[Path, _Seen]]") -> None:
        with self._index.open("a", encoding="utf-8") as file:
            for path, one in seen:
                record = [str(path), *one.stamp, one.content.hex(), f"{one.difference:016x}"]
                file.write(json.dumps(record) + "\n")
                self._known[str(path)] = one._replace(pixels=_NONE)

    def _read_index(self) -> "Iterator[tuple[str, _Seen]]":
        if not self._index.exists():
            return
        for line in self._index.read_text(encoding="utf-8").splitlines():
            try:
                path, size, time, content, difference = json.loads(line)
                seen = _Seen((size, time), bytes.fromhex(content), int(difference, 16), _NONE)
            except (ValueError, TypeError):  # cut off by a kill: the image is decoded again
                continue
            yield path, seen


class _Seen(NamedTuple):
    """Of a file: its size and time, a hash of its pixels, and these (S, S, 3), if they are kept."""

    stamp: tuple[int, int]
    content: bytes
    difference: int
    pixels: NDArray[np.uint8]


_NONE = np.zeros((0, 0, 3), np.uint8)


def _square(image: Image.Image, side: int) -> NDArray[np.uint8]:
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0))
