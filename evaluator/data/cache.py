"""Every image decoded once: a split as one uint8 array on disk, mapped into memory when opened."""

import errno
import fcntl
import hashlib
import logging
import math
import os
import secrets
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from evaluator.temp_dirs import private_folder
from shared.errors import DatasetError
from shared.images.decoding import BROKEN, decode, open_image, orientation
from shared.images.layout import SplitFiles
from shared.images.remarks import Remark
from shared.images.soundness import hidden_damage, in_words

FORMAT = 4  # raise it when what is stored for the same files changes
FOLDER = ".zewdpc-cache"
_DIGEST = 16  # bytes
_RECORD = np.dtype([("digest", f"V{_DIGEST}"), ("remarks", np.uint8)])  # of one image
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a disk, one's share of it, or a file
ABANDONED = 6 * 3600.0  # seconds without a write after which nobody is decoding into a file

logger = logging.getLogger(__name__)


def cache_folder(root: Path) -> Path:
    """Beside the data where that can be written, else in the user's cache, else a temporary one.

    Raises DatasetError where none of them can be written to.
    """
    beside = root / FOLDER
    digest = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=8).hexdigest()
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    elsewhere = home / "zewdpc" / f"{root.resolve().name}-{digest}"
    refusals = []
    for folder in (beside, elsewhere):
        if not (refusal := _refusal_to_write(folder)):
            return folder
        refusals.append(refusal)
    try:
        temporary = private_folder("cache") / elsewhere.name
        temporary.mkdir(exist_ok=True)
    except OSError as error:
        raise DatasetError(
            "no-cache-folder",
            f"The decoded images of {root} cannot be kept anywhere ({'; '.join(refusals)}; "
            f"{error}). Let XDG_CACHE_HOME name a folder that can be written to.",
        ) from error
    logger.warning(
        "Decoded images are kept in %s, which may be cleared any time: %s. Let XDG_CACHE_HOME name "
        "a folder that can be written to.",
        *(temporary, "; ".join(refusals)),
    )
    return temporary


def _refusal_to_write(folder: Path) -> str:
    """What the system says where nothing can be written into `folder`; empty where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return str(error)


def cached_images(
    split: SplitFiles,
    folder: Path,
    *,
    size: tuple[int, int] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """The path of the split's decoded images, `.npy` of (N, H, W, 3) uint8, made if needed.

    Photographs are turned upright, images of another mode become RGB; images of another size than
    `size`, (width, height), are resized to it (bilinear); None takes the commonest one. Written
    beside and renamed, so a cache is whole or absent. Raises DatasetError naming the file and line
    of an image that cannot be read, or where the disk has not the space.
    """
    path = folder / f"{split.name}-{_files_digest(split, size)}.npy"
    if not _is_whole(path):
        half_made = folder / f".{split.name}-{secrets.token_hex(8)}.npy"
        workers = workers or len(os.sched_getaffinity(0))
        try:
            records = _decode_all(split, half_made, size, workers, progress)
            records.tofile(_records_of(half_made))
            _records_of(half_made).replace(_records_of(path))
            half_made.replace(path)
        finally:
            half_made.unlink(missing_ok=True)
            _records_of(half_made).unlink(missing_ok=True)
    _tidy(split, folder, path)
    return path


def load_images(path: Path) -> np.ndarray:
    """Decoded images, (N, H, W, 3) uint8, mapped read-only.

    While they are mapped their file is held: nobody who decodes afresh takes it away.
    """
    with path.open("rb") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_SH)
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        # The map keeps the opened file, and with it the lock.
        return np.memmap(file, dtype, "r", offset=file.tell(), shape=shape)


def image_digests(path: Path) -> np.ndarray:
    """A digest (N,) of the pixels of each of the decoded images at `path`; one is a few bytes."""
    return np.ascontiguousarray(np.fromfile(_records_of(path), _RECORD)["digest"])


def image_remarks(path: Path) -> np.ndarray:
    """The remarks (N,) uint8, flags of Remark, on each of the decoded images at `path`."""
    return np.ascontiguousarray(np.fromfile(_records_of(path), _RECORD)["remarks"])


def _records_of(path: Path) -> Path:
    return path.with_suffix(".records")


def _files_digest(split: SplitFiles, size: tuple[int, int] | None) -> str:
    """Changes when an image of the split is added, removed, renamed, resized or touched."""
    digest = hashlib.blake2b(f"{FORMAT} {size}".encode(), digest_size=8)
    folder = str(split.labels_csv.parent)
    for path in split.images:
        status = path.stat()
        # A file that took another's place may keep its size and time, but not its time of change.
        times = f"{status.st_mtime_ns}\0{status.st_ctime_ns}"
        name = str(path).removeprefix(folder)
        digest.update(os.fsencode(f"{name}\0{status.st_size}\0{times}\n"))
    return digest.hexdigest()


def _is_whole(path: Path) -> bool:
    """Whether a cache is there, and nobody has cut it short."""
    try:
        return len(load_images(path)) == len(image_digests(path))
    except (OSError, ValueError, EOFError):
        return False


def _tidy(split: SplitFiles, folder: Path, newest: Path) -> None:
    """Remove older caches of the split that nobody has open, and halves that were left behind."""
    for path in folder.glob(f"{split.name}-*.npy"):
        if path != newest:
            with suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
                _records_of(path).unlink(missing_ok=True)
                path.with_suffix(".digests").unlink(missing_ok=True)  # of an older version
    for half in folder.glob(f".{split.name}-*"):
        with suppress(FileNotFoundError):  # somebody else's, and finished just now
            if time.time() - half.stat().st_mtime > ABANDONED:
                half.unlink()


def _decode_all(
    split: SplitFiles, target: Path, size: tuple[int, int] | None, workers: int, progress: bool
) -> np.ndarray:
    """Write the images to `target`; a record (N,) of each."""
    # Pillow's decoders release the interpreter lock, so threads are enough and need no pickling.
    with ThreadPoolExecutor(workers) as threads:
        sizes = Counter(threads.map(lambda row: _size(split, row), range(len(split.images))))
        width, height = size or sizes.most_common(1)[0][0]
        images = _room_for(split, target, (len(split.images), height, width, 3))

        def fill(row: int) -> tuple[bytes, Remark]:
            images[row], remarks = _decode(split, row, (width, height))
            return hashlib.blake2b(
                images[row], digest_size=_RECORD["digest"].itemsize
            ).digest(), remarks

        rows = threads.map(fill, range(len(split.images)))
        bar = tqdm(rows, f"decoding {split.name}", len(split.images), disable=not progress or None)
        records = np.array(list(bar), _RECORD)
        images.flush()
    others = len(split.images) - sizes[(width, height)]
    if others:
        logger.info(
            "%s: %d images of another size resized to %d x %d.", split.name, others, width, height
        )
    return records


def _room_for(split: SplitFiles, target: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new array (N, H, W, 3) on disk, all of whose space is there before it is written to.

    A full disk would end the process at the first write into a map, without a word.
    """
    try:
        images = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    except OSError as error:  # not even for its beginning and its last byte
        if error.errno in FULL:
            raise _no_room(split, target, shape) from error
        raise
    with target.open("rb+") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, target.stat().st_size)
        except OSError as error:
            if error.errno in FULL:  # a file system may not know how to set space aside
                raise _no_room(split, target, shape) from error
    return images


def _no_room(split: SplitFiles, target: Path, shape: tuple[int, ...]) -> DatasetError:
    return DatasetError(
        "disk-full",
        f"Decoded, the images of {split.name} take {math.prod(shape) / 1e9:.2f} GB, and "
        f"{target.parent} has no room for them. Free some, or make the data's folder read-only and "
        "let XDG_CACHE_HOME name a folder on another disk.",
    )


def _open(split: SplitFiles, row: int) -> Image.Image:
    try:
        return open_image(split.images[row])
    except BROKEN as error:
        raise _unreadable(split, row, in_words(split.images[row], error)) from error


def _size(split: SplitFiles, row: int) -> tuple[int, int]:
    """Width and height of an image as it is shown, from its header."""
    with _open(split, row) as image:
        return (image.height, image.width) if orientation(image) >= 5 else image.size


def _decode(split: SplitFiles, row: int, size: tuple[int, int]) -> tuple[np.ndarray, Remark]:
    file = split.images[row]
    with _open(split, row) as image:
        try:
            if damage := hidden_damage(file, image):
                raise _unreadable(split, row, damage)
            rgb, remarks = decode(image)
        except BROKEN as error:
            if isinstance(error, DatasetError):
                raise
            raise _unreadable(split, row, in_words(file, error)) from error
        if rgb.size != size:
            rgb = rgb.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(rgb), remarks


def _unreadable(split: SplitFiles, row: int, why: str) -> DatasetError:
    return DatasetError(
        "unreadable-image",
        f"{split.labels_csv}, line {split.lines[row]}: the image {split.images[row]} cannot be "
        f"read ({why}). Replace it or remove its line and file.",
    )
