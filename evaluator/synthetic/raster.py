"""What a sheet is drawn on: fields over the unit square, windows into them, and soft shapes."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


@dataclass
class Canvas:
    """A sheet in the making. Coordinates: x right, y down, both from 0 to 1 over the sheet.

    shade: (S, S), multiplies the paint; 1 is unshaded.
    gloss: (S, S), white light added on top.
    tint: (3, S, S) or None, multiplies the paint per colour channel.
    light: unit vector in the sheet's plane that points towards the light.
    """

    size: int
    shade: Field
    gloss: Field
    light: tuple[float, float]
    tint: Field | None = None

    @property
    def pixel(self) -> float:
        """The width that one pixel's own sampling adds to a soft edge, share of the side."""
        return 0.4 / self.size

    def tinted(self) -> Field:
        """The tint field, made on first use: most sheets never need one."""
        if self.tint is None:
            self.tint = np.ones((3, self.size, self.size), np.float32)
        return self.tint


@dataclass(frozen=True)
class Window:
    """The pixels that one mark can touch. x is (1, w), y is (h, 1), relative to its centre."""

    where: tuple[slice, slice]
    x: Field
    y: Field


def window(size: int, centre: tuple[float, float], reach: tuple[float, float]) -> Window | None:
    """The pixels within `reach` (x, y) of `centre`; None where the sheet has none."""
    ranges = []
    for middle, distance in zip(centre, reach, strict=True):
        start = max(0, int(np.floor((middle - distance) * size)))
        stop = min(size, int(np.ceil((middle + distance) * size)))
        if start >= stop:
            return None
        ranges.append((start, stop))
    (x0, x1), (y0, y1) = ranges
    middles = pixel_middles(size)
    x = (middles[x0:x1] - np.float32(centre[0]))[None, :]  # (1, w)
    y = (middles[y0:y1] - np.float32(centre[1]))[:, None]  # (h, 1)
    return Window((slice(y0, y1), slice(x0, x1)), x, y)


@lru_cache(maxsize=16)
def pixel_middles(size: int) -> Field:
    """Where the pixels' middles lie, float32 (size,)."""
    return ((np.arange(size) + 0.5) / size).astype(np.float32)


def upsample(grid: Field, size: int) -> Field:
    """A coarse (g, g) grid of values as a smooth (size, size) field (cubic B-spline).

    Written with elementwise operations only: a matrix product may add in another order when the
    number of threads changes, and a sheet must not depend on that.
    """
    first, weights = _spline(len(grid) - 3, size)
    rows = sum(weights[t][:, None] * grid[first + t, :] for t in range(4))
    turned = np.ascontiguousarray(np.transpose(rows))  # (g, size); gathers run along rows
    out = sum(weights[t][:, None] * turned[first + t, :] for t in range(4))
    return np.asarray(np.transpose(out), np.float32)


@lru_cache(maxsize=64)
def _spline(cells: int, size: int) -> tuple[NDArray[np.intp], Field]:
    position = pixel_middles(size).astype(np.float64) * cells
    first = np.minimum(position.astype(np.intp), cells - 1)
    t = position - first
    weights = (
        np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * t * (1 + t - t**2) + 1, t**3]) / 6
    )
    return first, weights.astype(np.float32)


def blur(image: Field, sigma: float) -> Field:
    """Gaussian blur of (S, S); `sigma` in pixels, edges mirrored. Leaves `image` as it was."""
    if sigma < 0.15:  # the kernel's neighbours would weigh less than a billionth
        return image
    radius = max(1, int(np.ceil(2.5 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    kernel = (kernel / (2 * kernel.sum() - kernel[0])).astype(np.float32)
    for axis in (0, 1):
        image = _blur_along(image, kernel, axis)
    return image


def _blur_along(image: Field, kernel: Field, axis: int) -> Field:
    """One pass; the kernel is symmetric, so taps at equal distance are added before they weigh."""
    radius, size = len(kernel) - 1, image.shape[0]
    padded = np.pad(image, [(radius, radius) if a == axis else (0, 0) for a in (0, 1)], "symmetric")

    def shifted(by: int) -> Field:
        cut = slice(radius + by, radius + by + size)
        return padded[cut] if axis == 0 else padded[:, cut]

    out: Field = kernel[0] * image
    pair = np.empty_like(out)
    for distance in range(1, radius + 1):
        np.add(shifted(-distance), shifted(distance), out=pair)
        pair *= kernel[distance]
        out += pair
    return out
