"""What one decoding tells of an image file, and which files hold the same pixels.

An image is its pixels, not its bytes: a new name, a comment, another compression or format without
loss make no other image. Photographs are decoded small, as JPEG allows at a tenth of the cost, and
in full only where two of them may be the same.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from shared.images.decoding import BROKEN, read_picture
from shared.images.remarks import Remark
from shared.images.soundness import examine

SEVERAL = 8  # threads that read files
SIDE = 160  # pixels at which a fingerprint is taken, where nobody needs more
LARGEST_SIDE = 512  # at which images are read for fingerprints and for a learner at once
MEMORY = 1 << 30  # bytes of small images that are kept for the learner
MESH = 16  # cells of a side whose brightness is compared
ALIKE = 2.0  # root mean square difference of that brightness which two ways of decoding may make
CHUNK = 1024  # rows whose distances are held at once


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What one decoding tells of an image file.

    damage : why nothing can be done with it; the rest is then empty.
    remarks : what is to be said of it.
    size : width and height, upright.
    digest : of the decoded pixels.
    is_full : whether those are all that the file has: a JPEG may have been decoded smaller.
    is_lossy : whether its format may have changed the pixels that it was given.
    mesh : (MESH * MESH,) brightness of its cells.
    small : (h, w, 3) for a learner, if it was to be kept.
    """

    damage: str = ""
    remarks: Remark = Remark.NONE
    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    is_full: bool = True
    is_lossy: bool = False
    mesh: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    small: NDArray[np.uint8] | None = None


def shrink(image: Image.Image, side: int) -> Image.Image:
    """`image` with neither side longer than `side`, squeezed if need be."""
    small = (min(image.width, side), min(image.height, side))
    return image if small == image.size else image.resize(small, reducing_gap=2.0)


def take_fingerprints(
    files: Iterable[Path],
    side: int = SIDE,
    *,
    known: Mapping[Path, Fingerprint] | None = None,
    keep: bool = False,
    what: str = "images",
) -> dict[Path, Fingerprint]:
    """The fingerprint of each file, one and the same object where files are equal to the byte.

    side : what a learner will ask for; small images are kept for it up to MEMORY, if wanted.
    known : of other files, at the same side; what is equal to one of them is not decoded again.
    what : is being read, for the progress bar.
    """
    if side > LARGEST_SIDE:
        side, keep = SIDE, False
    known = known or {}
    wanted = list(dict.fromkeys(files))
    both = [*known, *(file for file in wanted if file not in known)]
    contents = dict(zip(both, _contents(both), strict=True))
    taken = {contents[file]: fingerprint for file, fingerprint in known.items()}
    unread = {contents[file]: file for file in wanted if contents[file] not in taken}
    kept = 0
    with ThreadPoolExecutor(SEVERAL) as threads:
        fresh = threads.map(partial(_fingerprint, side=side, keep=keep), unread.values())
        bar = tqdm(fresh, f"reading {what}", len(unread), disable=None)
        for content, fingerprint in zip(unread, bar, strict=True):
            taken[content] = fingerprint
            if fingerprint.small is not None:
                kept += fingerprint.small.nbytes
                if kept > MEMORY:
                    taken[content] = replace(fingerprint, small=None)
    return {file: taken[contents[file]] for file in wanted}


def identities(fingerprints: Mapping[Path, Fingerprint]) -> dict[Path, Hashable]:
    """One value for each file; equal for equal pixels and for no others.

    Files that cannot be decoded are equal if they are so to the byte.
    """
    by_size = defaultdict[tuple[int, int], dict[Fingerprint, Path]](dict)
    for file, fingerprint in fingerprints.items():
        if not fingerprint.damage:
            by_size[fingerprint.size].setdefault(fingerprint, file)
    doubtful = {
        fingerprint: alike[fingerprint]
        for alike in by_size.values()
        for fingerprint in _doubtful(list(alike))
    }
    with ThreadPoolExecutor(SEVERAL) as threads:
        digests = dict(zip(doubtful, threads.map(_digest_of_all, doubtful.values()), strict=True))

    def identity(fingerprint: Fingerprint) -> Hashable:
        digest = digests.get(fingerprint, fingerprint.digest if fingerprint.is_full else b"")
        return (fingerprint.size, digest) if digest else fingerprint

    return {file: identity(fingerprint) for file, fingerprint in fingerprints.items()}


def meshes(fingerprints: Iterable[Fingerprint]) -> NDArray[np.float32]:
    """The brightness of all (n, MESH * MESH), to be compared."""
    return np.stack([one.mesh for one in fingerprints])


def nearest(
    own: NDArray[np.float32],  # (n, MESH * MESH)
    others: NDArray[np.float32],  # (m, MESH * MESH)
    radius: float,
    most: int,
    comparable: Callable[[slice], NDArray[np.bool_]] | None = None,
) -> Iterator[tuple[int, int]]:
    """Row of `own`, row of `others`: the `most` nearest, nearest first, none past `radius`.

    radius : root mean square difference of brightness.
    comparable : which of `others` count for some rows, (rows, m).
    """
    squares = (others**2).sum(axis=1)  # (m,)
    for start in range(0, len(own), CHUNK):
        rows = slice(start, start + CHUNK)
        some = own[rows]
        distances = (some**2).sum(axis=1)[:, None] + squares - 2 * some @ others.T  # (rows, m)
        distances /= MESH * MESH
        if comparable is not None:
            distances[~comparable(rows)] = np.inf
        order = np.argsort(distances, axis=1, kind="stable")[:, :most]
        for row, near in enumerate(order):
            for other in near:
                if distances[row, other] > radius**2:
                    break
                yield start + row, int(other)


def _contents(files: Sequence[Path]) -> list[Hashable]:
    """One value for each file, equal for equal contents and for no others.

    Only files of one size are read: photographs are large, and seldom as large as another. A file
    that cannot be read equals none.
    """
    with ThreadPoolExecutor(SEVERAL) as threads:
        sizes = list(threads.map(_bytes_in, files))
        often = Counter(sizes)

        def content(file: Path, size: int) -> Hashable:
            if size < 0 or often[size] == 1:
                return file
            try:
                return size, hashlib.blake2b(file.read_bytes()).digest()
            except OSError:
                return file

        return list(threads.map(content, files, sizes))


def _bytes_in(file: Path) -> int:
    """-1 where that cannot be known; whoever decodes it says why."""
    try:
        return file.stat().st_size
    except OSError:
        return -1


def _fingerprint(file: Path, side: int, keep: bool) -> Fingerprint:
    examined = examine(file, side)
    if examined.picture is None:
        return Fingerprint(examined.damage)
    rgb, size, is_lossy, remarks = examined.picture
    small = shrink(rgb, side)
    mesh = small.convert("L").resize((MESH, MESH), Image.Resampling.BOX)
    return Fingerprint(
        remarks=remarks,
        size=size,
        digest=_digest(rgb),
        is_full=rgb.size == size,
        is_lossy=is_lossy,
        mesh=np.asarray(mesh, np.float32).ravel(),
        small=np.asarray(small) if keep else None,
    )


def _doubtful(alike: list[Fingerprint]) -> list[Fingerprint]:
    """Of different files of one size: those decoded small that may have the pixels of another."""
    full = [one for one in alike if one.is_full]
    small = [one for one in alike if not one.is_full]
    often = Counter(one.digest for one in small)
    near = set[int]()
    if full and small:
        near = {row for row, _ in nearest(meshes(small), meshes(full), ALIKE, 1)}
    return [one for row, one in enumerate(small) if row in near or often[one.digest] > 1]


def _digest_of_all(file: Path) -> bytes:
    """Empty where an image that could be decoded small cannot be so in full."""
    try:
        return _digest(read_picture(file).rgb)
    except BROKEN:
        return b""


def _digest(image: Image.Image) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
