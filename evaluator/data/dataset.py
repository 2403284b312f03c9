"""Data sets as the challenge names them, over images decoded once and mapped from disk."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from evaluator.data.cache import cache_folder, cached_images, image_digests, load_images
from shared.errors import DatasetError, OutOfBudgetError, ZEWDPCRuntimeError
from shared.images.layout import SPLITS, find_splits, read_split

if TYPE_CHECKING:
    from torch.utils.data import ConcatDataset, Dataset

__all__ = [
    "OutOfBudgetError",
    "Splits",
    "ZEWDPCBaseDataset",
    "ZEWDPCProtectedDataset",
    "ZEWDPCRuntimeError",
    "aggregated_dataset",
    "instantiate_purchased_dataset",
    "open_splits",
]

Sample = dict[str, Any]
UNKNOWN = -1  # the label of an image nobody has paid for


class ZEWDPCBaseDataset:
    """Labelled images: `dataset[i]` is `{"idx", "image" (H, W, 3) uint8, "label" (C,) int8}`.

    Parameters
    ----------
    images : (M, H, W, 3) uint8, usually mapped from disk and shared by many data sets.
    labels : (N, C) of 0/1, one row per sample.
    class_names : C names.
    rows : which of the M images are this data set's N samples; all of them where None.
    transform : applied to each sample, as in the challenge's kit.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        class_names: Sequence[str],
        rows: np.ndarray | None = None,
        transform: Callable[[Sample], Sample] | None = None,
    ) -> None:
        self._images = images
        self.labels = labels
        self.class_names = tuple(class_names)
        self.rows = np.arange(len(images)) if rows is None else rows
        self.transform = transform
        if labels.shape != (len(self.rows), len(self.class_names)):
            raise DatasetError(
                "labels-shape",
                f"{len(self.rows)} images of {len(self.class_names)} classes came with labels of "
                f"shape {labels.shape}.",
            )

    @property
    def images(self) -> np.ndarray:
        """(M, H, W, 3) uint8: every image of the split this data set draws from."""
        return self._images

    def __getstate__(self) -> dict[str, Any]:
        """For the worker processes of a DataLoader: mapped images travel as their file's name."""
        state = dict(self.__dict__)
        file = getattr(self._images, "filename", None)
        if file is not None and load_images(Path(file)).shape == self._images.shape:
            state["_images"] = Path(file)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        images = state["_images"]
        self.__dict__.update(state)
        self._images = load_images(images) if isinstance(images, Path) else images

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside a data set of {len(self)} images")
        position = index % len(self)
        row = int(self.rows[position])
        sample: Sample = {
            "idx": row,
            "image": np.array(self._images[row]),
            "label": self._label(position),
        }
        return self.transform(sample) if self.transform else sample

    def __add__(self, other: Any) -> "ConcatDataset[Sample]":
        """As torch's data sets are added up."""
        from torch.utils.data import ConcatDataset  # seconds to import, in a submission's process

        return ConcatDataset(cast("list[Dataset[Sample]]", [self, other]))

    def set_transform(self, transform: Callable[[Sample], Sample] | None) -> None:
        """Apply `transform` to every sample from now on; None applies nothing."""
        self.transform = transform

    def _label(self, position: int) -> np.ndarray:
        return cast(np.ndarray, self.labels[position].astype(np.int8))


class ZEWDPCProtectedDataset(ZEWDPCBaseDataset):
    """Unlabelled images whose labels are bought, one unit of budget each.

    A sample's label is -1 in every class until `purchase_label(idx)` has paid for it.

    Parameters
    ----------
    purchase : returns the label of an index: the vault's method, or a client of the evaluator.
    """

    def __init__(
        self,
        images: np.ndarray,
        class_names: Sequence[str],
        purchase: Callable[[int], Sequence[int]],
    ) -> None:
        unknown = np.full((len(images), len(class_names)), UNKNOWN, dtype=np.int8)
        super().__init__(images, unknown, class_names)
        self._purchase = purchase

    def __getstate__(self) -> dict[str, Any]:
        """For the worker processes of a DataLoader: images and labels, but no way to buy."""
        return {**super().__getstate__(), "_purchase": _not_here}

    def purchase_label(self, idx: int) -> np.ndarray:
        """The label (C,) of 0/1 for `idx`; free when it was bought before.

        Raises OutOfBudgetError past the budget and ZEWDPCRuntimeError outside the pool.
        """
        label = np.array(self._purchase(idx), dtype=np.int8)
        self.labels[int(idx)] = label
        return label


def _not_here(idx: int) -> Sequence[int]:
    raise ZEWDPCRuntimeError(
        f"purchase_label({idx}) was called on a copy of the data set, in a worker process perhaps. "
        "Call it on the data set that purchase_phase was given, in the process that runs it."
    )


@dataclass(frozen=True)
class Splits:
    """A data set opened by the evaluator, labels included."""

    name: str
    root: Path
    class_names: tuple[str, ...]
    training: ZEWDPCBaseDataset
    unlabelled: ZEWDPCBaseDataset
    validation: ZEWDPCBaseDataset
    image_files: Mapping[str, Path]  # split -> .npy of its decoded images
    fingerprint: str  # of pixels and labels, wherever they lie


def open_splits(root: str | Path, *, workers: int | None = None, progress: bool = True) -> Splits:
    """Open a data set in the challenge's layout, decoding its images the first time.

    All images have the training set's commonest size. Raises DatasetError, naming file and line,
    for anything that is not what it must be.
    """
    root = Path(root)
    found = find_splits(root)
    class_names: tuple[str, ...] | None = None
    datasets, files = {}, {}
    size: tuple[int, int] | None = None
    digest = hashlib.blake2b(digest_size=8)
    folder = cache_folder(root)
    for split in SPLITS:
        read = read_split(split, found[split], class_names)
        class_names = read.class_names
        files[split] = cached_images(read, folder, size=size, workers=workers, progress=progress)
        images = load_images(files[split])
        size = images.shape[2], images.shape[1]
        datasets[split] = ZEWDPCBaseDataset(images, read.labels, class_names)
        digest.update(f"{split}{class_names}{images.shape}".encode() + read.labels.tobytes())
        digest.update(image_digests(files[split]).tobytes())
    return Splits(
        name=root.resolve().name,
        root=root,
        class_names=cast(tuple[str, ...], class_names),
        image_files=files,
        fingerprint=digest.hexdigest(),
        **datasets,
    )


def instantiate_purchased_dataset(
    unlabelled_dataset: ZEWDPCBaseDataset, purchased_labels: Mapping[int, Sequence[int]]
) -> ZEWDPCBaseDataset:
    """The bought part of the pool with its labels, in the order of the pool.

    The order of purchase does not matter: the same set bought gives the same data set.
    """
    rows = np.array(sorted(purchased_labels), dtype=np.int64)
    n_classes = len(unlabelled_dataset.class_names)
    labels = np.array([list(purchased_labels[row]) for row in rows.tolist()], dtype=np.uint8)
    return ZEWDPCBaseDataset(
        unlabelled_dataset.images,
        labels.reshape(len(rows), n_classes),
        unlabelled_dataset.class_names,
        rows,
    )


def aggregated_dataset(
    training: ZEWDPCBaseDataset, purchased: ZEWDPCBaseDataset
) -> "ConcatDataset[Sample]":
    """What the post-purchase pipeline trains on: the training set, then what was bought."""
    return training + purchased
