"""Every image decoded once: a split as one uint8 array on disk, mapped into memory when opened."""

import hashlib
import os
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import Base
from tqdm import tqdm

from evaluator.datasets.layout import SplitFiles
from evaluator.errors import DatasetError

FORMAT = 2  # raise it when what is stored for the same files changes
FOLDER = ".zewdpc-cache"
TURNS = {  # what makes an image upright, by its orientation tag; from 5 on it lies on its side
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ABANDONED = 6 * 3600.0  # seconds without a write after which nobody is decoding into a file


def cache_folder(root: Path) -> Path:
    """Beside the data where that can be written, else in the user's cache folder."""
    beside = root / FOLDER
    try:
        beside.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=beside):
            return beside
    except OSError:
        digest = hashlib.blake2b(str(root.resolve()).encode(), digest_size=8).hexdigest()
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        elsewhere = home / "zewdpc" / f"{root.name}-{digest}"
        elsewhere.mkdir(parents=True, exist_ok=True)
        return elsewhere


def split_digest(split: SplitFiles) -> str:
    """Changes when an image of the split is added, removed, renamed, resized or touched."""
    digest = hashlib.blake2b(f"{FORMAT}".encode(), digest_size=8)
    for path in split.images:
        status = path.stat()
        digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def cached_images(
    split: SplitFiles, folder: Path, *, workers: int | None = None, progress: bool = True
) -> Path:
    """The path of the split's decoded images, `.npy` of (N, H, W, 3) uint8, made if needed.

    Photographs are turned upright, images of another mode become RGB; images of another size than
    the commonest one are resized to it (bilinear). Written beside and renamed, so a cache is whole
    or absent. Raises DatasetError naming the file and line of an image that cannot be read.
    """
    path = folder / f"{split.name}-{split_digest(split)}.npy"
    if path.exists():
        return path
    handle, name = tempfile.mkstemp(prefix=f".{split.name}-", suffix=".npy", dir=folder)
    os.close(handle)
    half_made = Path(name)
    try:
        _decode_all(split, half_made, workers or _cpu_count(), progress)
        half_made.chmod(0o666 & ~_umask())  # mkstemp made it private; the data may be shared
        half_made.replace(path)
    finally:
        half_made.unlink(missing_ok=True)
    _tidy(split, folder, path)
    return path


def _tidy(split: SplitFiles, folder: Path, newest: Path) -> None:
    """Remove older caches of the split, and halves that a killed decoding left behind."""
    stale = [path for path in folder.glob(f"{split.name}-*.npy") if path != newest]
    for half in folder.glob(f".{split.name}-*.npy"):
        try:
            if time.time() - half.stat().st_mtime > ABANDONED:
                stale.append(half)
        except FileNotFoundError:  # somebody else's, and finished just now
            continue
    for path in stale:
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _decode_all(split: SplitFiles, target: Path, workers: int, progress: bool) -> None:
    # Pillow's decoders release the interpreter lock, so threads are enough and need no pickling.
    with ThreadPoolExecutor(workers) as threads:
        sizes = Counter(threads.map(lambda row: _size(split, row), range(len(split.images))))
        (width, height), _ = sizes.most_common(1)[0]
        shape = (len(split.images), height, width, 3)
        images = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)

        def decode(row: int) -> None:
            images[row] = _decode(split, row, (width, height))

        rows: Iterable[None] = threads.map(decode, range(len(split.images)))
        description = f"decoding {split.name}"
        for _ in tqdm(rows, description, len(split.images), disable=None if progress else True):
            pass
        images.flush()
    if len(sizes) > 1:
        others = len(split.images) - sizes[(width, height)]
        line = f"{split.name}: {others} images of another size resized to {width} x {height}."
        tqdm.write(line, file=sys.stderr)


def _open(split: SplitFiles, row: int) -> Image.Image:
    try:
        return Image.open(split.images[row])
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(split, row, error) from error


def _size(split: SplitFiles, row: int) -> tuple[int, int]:
    """Width and height of an image as it is shown, from its header."""
    with _open(split, row) as image:
        return (image.height, image.width) if orientation(image) >= 5 else image.size


def _decode(split: SplitFiles, row: int, size: tuple[int, int]) -> np.ndarray:
    with _open(split, row) as image:
        try:
            rgb = to_rgb(image)
        except (OSError, ValueError, SyntaxError) as error:
            raise _unreadable(split, row, error) from error
        if rgb.size != size:
            rgb = rgb.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(rgb)


def orientation(image: Image.Image) -> int:
    """The orientation tag of an image that was opened and not decoded; 1, upright, without one.

    A tag that cannot be read is none: its pixels are sound.
    """
    if image.format == "TIFF":  # Pillow itself turns it
        return 1
    if image.format == "PNG" and "exif" not in image.info:  # it would be decoded whole to look
        return 1
    try:
        return int(image.getexif().get(Base.Orientation, 1))
    except (SyntaxError, ValueError, TypeError, OSError, KeyError, struct.error):
        return 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image upright and as 8-bit RGB; 16-bit grey is scaled, where Pillow would clip it."""
    if turn := TURNS.get(orientation(image)):
        image = image.transpose(turn)
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        image = Image.fromarray(grey)
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _unreadable(split: SplitFiles, row: int, error: Exception) -> DatasetError:
    return DatasetError(
        "unreadable-image",
        f"{split.labels_csv}, line {split.lines[row]}: the image {split.images[row]} cannot be "
        f"read ({error}). Replace it or remove its line and file.",
    )


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
