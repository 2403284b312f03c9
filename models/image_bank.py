"""Any data set, decoded once into one small block of uint8 images."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Clock = Callable[[], float]
Encode = Callable[[Tensor], Tensor]

CHUNK = 256  # images decoded and resized together: about 50 MB at 256 px


@dataclass(frozen=True)
class ImageBank:
    """Images of a data set, all in memory, with what `purchase_label` takes for each.

    images : uint8 (N, 3, S, S), channels-last in memory; or what was made of each, (N, ...).
    indices : (N,) the samples' own `idx`, which need not be their positions.
    labels : (N, C) of 0/1 as float32, or None where labels were not asked for.
    seconds_per_image : what reading, decoding and resizing one image took.
    """

    images: Tensor
    indices: Tensor
    labels: Tensor | None
    seconds_per_image: float

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        size: int,
        *,
        positions: Sequence[int] | None = None,
        with_labels: bool = False,
        threads: int = 4,
        deadline: float | None = None,
        clock: Clock = time.monotonic,
        encode: Encode = lambda images: images,
    ) -> "ImageBank":
        """Decode `dataset` (or its `positions`) and shrink every image to `size` x `size` pixels.

        `encode` makes of a block of images (B, 3, S, S) what is kept instead of them, (B, ...).

        Stops after the chunk in which `deadline` (seconds on `clock`) passes; the bank then
        holds the images read so far, at least one chunk. `threads` = 1 reads one image after
        another, for data sets whose `__getitem__` may not be called from several threads.
        """
        wanted = list(range(len(dataset)) if positions is None else positions)
        images = _room(len(wanted), encode(torch.empty((0, 3, size, size), dtype=torch.uint8)))
        indices: list[int] = []
        labels: list[Tensor] = []
        started = clock()
        with ThreadPoolExecutor(max(1, threads)) as pool:
            for start in range(0, len(wanted), CHUNK):
                chunk = wanted[start : start + CHUNK]
                samples = _read(dataset, chunk, pool if threads > 1 else None)
                block = _shrink_all([pixels for pixels, _, _ in samples], size)
                images[start : start + len(chunk)] = encode(block)
                indices += [idx for _, idx, _ in samples]
                if with_labels:
                    labels += [as_label(label, f"sample {idx}") for _, idx, label in samples]
                if deadline is not None and clock() >= deadline:
                    break
        done = len(indices)
        return cls(
            images[:done],
            torch.tensor(indices, dtype=torch.long),
            _stacked(labels) if with_labels else None,
            (clock() - started) / max(1, done),
        )


def _room(n: int, like: Tensor) -> Tensor:
    """Room for `n` rows like those of `like`; images lie channels-last."""
    room = like.new_empty((n, *like.shape[1:]))
    return room.contiguous(memory_format=torch.channels_last) if room.ndim == 4 else room


def fitting_size(dataset: Any, limit: int) -> int:
    """The side in pixels at which to keep a data set's images: the longest of any, up to `limit`.

    Reads images until one is as large. A few of them would not do: where the others are smaller,
    all would be kept so small.
    """
    if len(dataset) == 0:
        raise ValueError("The training set is empty; at least one labelled image is needed.")
    longest = 0
    for position in range(len(dataset)):
        longest = max(longest, *as_rgb(dataset[position]["image"]).shape[:2])
        if longest >= limit:
            return limit
    return longest


def as_rgb(image: Any) -> Array:
    """One image as uint8 (H, W, 3), whatever it came as.

    Takes a PIL image, an array (H, W), (H, W, 1 | 3 | 4) or a tensor (1 | 3 | 4, H, W); uint8,
    or floats in [0, 1]. An alpha channel is dropped.
    """
    if hasattr(image, "convert"):  # PIL
        return np.asarray(image.convert("RGB"))
    channels_first = isinstance(image, Tensor)
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise ValueError(
            f"An image must be (H, W), (H, W, channels) or a (channels, H, W) tensor; "
            f"got shape {array.shape}."
        )
    first, last = array.shape[0] in (1, 3, 4), array.shape[2] in (1, 3, 4)
    if (channels_first and first) or (first and not last):
        array = array.transpose(1, 2, 0)
    if array.shape[2] not in (1, 3, 4):
        raise ValueError(f"An image must have 1, 3 or 4 channels; got shape {array.shape}.")
    array = _as_bytes(array)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[:, :, :3]


def as_label(label: Any, where: str) -> Tensor:
    """One label as float32 (C,) of 0/1; anything else is refused, naming `where`."""
    if label is None:
        raise ValueError(f"{where} has no label, but labelled images are needed here.")
    value = np.asarray(label, dtype=np.float32).reshape(-1)
    if not ((value == 0) | (value == 1)).all():
        raise ValueError(
            f"{where} has the label {value.tolist()}; expected one 0 or 1 for each class."
        )
    return torch.from_numpy(value.copy())


def _as_bytes(array: Array) -> Array:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if np.issubdtype(array.dtype, np.floating) and array.min() >= 0 and array.max() <= 1:
        return (array * 255).round().astype(np.uint8)
    if np.issubdtype(array.dtype, np.integer) and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    raise ValueError(
        f"An image must hold uint8 values, or floats in [0, 1]; got {array.dtype} from "
        f"{array.min()} to {array.max()}. Pass the image before any normalisation."
    )


def _read(
    dataset: Any, positions: Sequence[int], pool: ThreadPoolExecutor | None
) -> list[tuple[Array, int, Any]]:
    def read(position: int) -> tuple[Array, int, Any]:
        sample = dataset[position]
        image = as_rgb(sample["image"])
        return image, int(sample["idx"]), sample.get("label")

    in_memory = isinstance(getattr(dataset, "images", None), np.ndarray)
    if in_memory or pool is None:  # threads would only add overhead
        return [read(position) for position in positions]
    return list(pool.map(read, positions))


def _shrink_all(images: Sequence[Array], size: int) -> Tensor:
    """uint8 (B, 3, size, size); images of one shape are resized together."""
    out = torch.empty((len(images), 3, size, size), dtype=torch.uint8)
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for row, image in enumerate(images):
        by_shape.setdefault(image.shape, []).append(row)
    for rows in by_shape.values():
        block = torch.from_numpy(np.stack([images[row] for row in rows]))  # (b, H, W, 3)
        out[rows] = _shrink(block.permute(0, 3, 1, 2), size)
    return out


def _shrink(block: Tensor, size: int) -> Tensor:
    if block.shape[-2:] == (size, size):
        return block
    return F.interpolate(block, size=(size, size), mode="bilinear", antialias=True)


def _stacked(labels: Sequence[Tensor]) -> Tensor:
    classes = {len(label) for label in labels}
    if len(classes) != 1:
        raise ValueError(f"All labels must have the same number of classes; got {sorted(classes)}.")
    return torch.stack(list(labels))  # (N, C)
