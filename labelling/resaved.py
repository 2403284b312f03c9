"""Whether two files show one picture that was saved with loss or resized on its way.

Roboflow, a messenger or a camera's gallery compress anew and resize: no pixel stays what it was,
and the picture is the same. Pictures that only look alike must not be taken for it: frames of a
still camera, parts in one fixture, a board with and without a small defect. So candidates, whose
brightness is alike on a coarse mesh, are compared in full, block by block of 8 x 8 pixels:

- Compression changes no pixel by much, the mean of a block by little, and that of all blocks alike.
  A defect changes one block by more than the others.
- Compression takes detail away, so the difference is no larger than the detail was. What another
  moment or another part has there instead comes on top.
- Where an image is flattest, its detail is noise, which no two exposures share. A compressed copy
  still has some of it.

The bounds let pass, of photographs, binarised boards and noise, nearly all at JPEG quality 75 and
more and at a third to twice the size; and no change of 3 x 3 pixels by 80 of 255, nor, at their own
size, one of 10,000 tiles of boards for another.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelling.fingerprints import Fingerprint, meshes, nearest
from shared.images.decoding import BROKEN, read_picture

SIMILAR = 5.0  # root mean square difference of brightness on the mesh, of 255
CANDIDATES = 5  # for each image, at most
THREADS = 4
BLOCK = 8  # pixels of a side; chroma, which JPEG keeps at half the size, has twice as many
LARGEST = 1500  # pixels of a side that are compared
SMALLEST = 16  # pixels of a side, below which nothing is certain
TEXTURED = 2.0  # variance of a block's brightness, from which it has detail
TEXTURED_BLOCKS = 4  # without which there is nothing to recognise
PIXEL, RESIZED_PIXEL = 60.0, 35.0  # by which the brightness of a pixel may change, of 255
MEAN, RESIZED_MEAN = 5.0, 3.5  # by which that of a block may
EVEN = 2.0  # up to which it may in one block alone
ROUNDING = 0.3  # by which it may in any block
UNEVEN = 7.0  # times the change of all blocks, which one may have past EVEN
COLOUR = 12.0  # by which the mean of either chroma channel may, in blocks of twice the size
DETAIL = 0.85  # of a block's variance, which may be lost
NOISE = 16.0  # variance that is added to it: compression makes as much itself
CORRELATION = 0.2  # of detail in the flattest quarter of textured blocks


def find_resaved(
    known: Mapping[Path, Fingerprint], fresh: Mapping[Path, Fingerprint]
) -> dict[Path, Path]:
    """The images of `fresh` that show one of `known`, and which.

    Two files that lose nothing and have one size are never the same here: their pixels tell.
    """
    if not known or not fresh:
        return {}
    names, others = list(fresh), list(known)
    sizes = {size: number for number, size in enumerate({one.size for one in known.values()})}
    own_sizes = np.array([sizes.get(one.size, -1) for one in fresh.values()])
    other_sizes = np.array([sizes[one.size] for one in known.values()])
    own_lossy = np.array([one.is_lossy for one in fresh.values()])
    other_lossy = np.array([one.is_lossy for one in known.values()])

    def comparable(rows: slice) -> NDArray[np.bool_]:
        resized = own_sizes[rows, None] != other_sizes  # (rows, len(known))
        changed: NDArray[np.bool_] = resized | own_lossy[rows, None] | other_lossy
        return changed

    candidates = defaultdict[Path, list[Path]](list)
    pairs = nearest(meshes(fresh.values()), meshes(known.values()), SIMILAR, CANDIDATES, comparable)
    for row, other in pairs:
        candidates[names[row]].append(others[other])
    with ThreadPoolExecutor(THREADS) as threads:
        shown = threads.map(_shown, candidates, candidates.values())
        return {file: one for file, one in zip(candidates, shown, strict=True) if one}


def is_resaved(one: Image.Image, other: Image.Image) -> bool:
    """Whether two upright RGB images are one picture, but for compression and size."""
    resized = one.size != other.size
    one, other = _at_one_size(one, other)
    if min(one.size) < SMALLEST:
        return False
    (luma, *chroma), (other_luma, *other_chroma) = _planes(one), _planes(other)
    if np.abs(luma - other_luma).max() > (RESIZED_PIXEL if resized else PIXEL):
        return False
    for plane, other_plane in zip(chroma, other_chroma, strict=True):
        if np.abs(_blocks(plane - other_plane, 2 * BLOCK).mean(axis=1)).max() > COLOUR:
            return False
    blocks, other_blocks = _blocks(luma), _blocks(other_luma)  # (n, BLOCK * BLOCK)
    means, other_means = (some.mean(axis=1, keepdims=True) for some in (blocks, other_blocks))
    change = np.abs(means - other_means)[:, 0]  # (n,)
    usual = ROUNDING + float(np.sqrt((change**2).mean()))
    if change.max() > min(RESIZED_MEAN if resized else MEAN, max(EVEN, UNEVEN * usual)):
        return False
    detail, other_detail = blocks - means, other_blocks - other_means
    variance, other_variance = (detail**2).mean(axis=1), (other_detail**2).mean(axis=1)
    more = np.maximum(variance, other_variance)
    lost = ((detail - other_detail) ** 2).mean(axis=1) + change**2
    textured = more > TEXTURED
    if (lost > DETAIL * (NOISE + more)).any() or textured.sum() < TEXTURED_BLOCKS:
        return False
    flattest = textured & (more <= np.quantile(more[textured], 0.25))
    shared = (detail * other_detail).mean(axis=1)[flattest].sum()
    return bool(
        shared > CORRELATION * np.sqrt(variance[flattest].sum() * other_variance[flattest].sum())
    )


def _shown(file: Path, candidates: Sequence[Path]) -> Path | None:
    """The first of `candidates` whose picture `file` shows."""
    try:
        rgb = read_picture(file, LARGEST).rgb
    except BROKEN:  # past what a small decoding reads; who needs it says so
        return None
    return next(
        (one for one in candidates if is_resaved(rgb, read_picture(one, LARGEST).rgb)), None
    )


def _at_one_size(one: Image.Image, other: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Both at the size of the smaller; at half of it where they differ.

    So the traces of how one was resized are gone.
    """
    width, height = min(one.width, other.width), min(one.height, other.height)
    if one.size == other.size and max(one.size) <= 2 * LARGEST:
        return one, other
    share = min(0.5, LARGEST / max(width, height))
    size = (max(1, round(width * share)), max(1, round(height * share)))
    hamming = Image.Resampling.HAMMING
    return one.resize(size, hamming), other.resize(size, hamming)


def _planes(image: Image.Image) -> NDArray[np.float32]:
    """Luma and chroma (3, H, W)."""
    return np.asarray(image.convert("YCbCr"), np.float32).transpose(2, 0, 1)


def _blocks(plane: NDArray[np.float32], side: int = BLOCK) -> NDArray[np.float32]:
    """The blocks of a plane (n, side * side), the last ones filled up from its edge."""
    plane = np.pad(plane, [(0, -length % side) for length in plane.shape], mode="edge")
    down, across = (length // side for length in plane.shape)
    blocks = plane.reshape(down, side, across, side).swapaxes(1, 2)
    return blocks.reshape(down * across, side * side)
