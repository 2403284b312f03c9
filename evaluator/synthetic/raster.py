"""What a sheet is drawn on and with: fields over the unit square, windows into them, shapes."""

import math
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
    shift: how far everything on the sheet is moved, because the camera stood elsewhere.
    """

    size: int
    shade: Field
    gloss: Field
    light: tuple[float, float]
    tint: Field | None = None
    shift: tuple[float, float] = (0.0, 0.0)

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


def window(
    canvas: Canvas, centre: tuple[float, float], reach: tuple[float, float]
) -> Window | None:
    """The pixels within `reach` (x, y) of `centre`; None where the sheet has none."""
    size = canvas.size
    seen = (centre[0] + canvas.shift[0], centre[1] + canvas.shift[1])
    ranges = []
    for middle, distance in zip(seen, reach, strict=True):
        start = max(0, int(np.floor((middle - distance) * size)))
        stop = min(size, int(np.ceil((middle + distance) * size)))
        if start >= stop:
            return None
        ranges.append((start, stop))
    (x0, x1), (y0, y1) = ranges
    middles = pixel_middles(size)
    x = (middles[x0:x1] - np.float32(seen[0]))[None, :]  # (1, w)
    y = (middles[y0:y1] - np.float32(seen[1]))[:, None]  # (h, 1)
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


@dataclass(frozen=True)
class Stroke:
    """A bent line. Lengths are shares of the sheet's side.

    centre: middle of the chord. angle: of the chord, radians clockwise from the right.
    bend, twist: how far the line leaves its chord, as a bow and as an S.
    """

    centre: tuple[float, float]
    angle: float
    length: float
    bend: float
    twist: float
    width: float


def along_stroke(canvas: Canvas, stroke: Stroke) -> tuple[Window, Field, Field] | None:
    """Every pixel near the stroke: (window, u, d), or None where the sheet has none.

    u: position along the chord, -1 to 1 between the ends. d: signed distance from the line,
    share of the side. The stroke is the graph of a cubic over its chord, which costs a few
    operations per pixel where the distance to a polyline would cost one per pixel and piece.
    """
    half = stroke.length / 2
    cos, sin = math.cos(stroke.angle), math.sin(stroke.angle)
    spread = abs(stroke.bend) + abs(stroke.twist) + 4 * stroke.width + 3 * canvas.pixel
    reach = (abs(cos) * half + abs(sin) * spread, abs(sin) * half + abs(cos) * spread)
    part = window(canvas, stroke.centre, (reach[0] + 0.01, reach[1] + 0.01))
    if part is None:
        return None
    f = np.float32
    u = (part.x * f(cos) + part.y * f(sin)) * f(1 / half)
    v = part.y * f(cos) - part.x * f(sin)
    line = f(stroke.bend) * (1 - u * u) + f(2.6 * stroke.twist) * u * (1 - u * u)
    slope = (f(-2 * stroke.bend) * u + f(2.6 * stroke.twist) * (1 - 3 * u * u)) * f(1 / half)
    d = (v - line) / np.sqrt(1 + np.minimum(slope * slope, 4))
    return part, u, d


def soft(distance: Field, width: float, pixel: float) -> Field:
    """A Gaussian ridge of `width` around distance 0 that keeps its light when pixels are coarse.

    A line thinner than a pixel shows wider and fainter, as it would in a photograph.
    """
    shown = math.hypot(width, pixel)
    ridge: Field = np.exp(np.square(distance * np.float32(1 / shown)) * np.float32(-0.5))
    return ridge * np.float32(width / shown)


def ellipse(part: Window, radii: tuple[float, float], angle: float) -> tuple[Field, Field, Field]:
    """(a, b, r2): coordinates along an ellipse's axes, 1 at its edge, and a*a + b*b."""
    f = np.float32
    cos, sin = math.cos(angle), math.sin(angle)
    a = (part.x * f(cos) + part.y * f(sin)) * f(1 / radii[0])
    b = (part.y * f(cos) - part.x * f(sin)) * f(1 / radii[1])
    return a, b, a * a + b * b


def uniform(rng: np.random.Generator, span: tuple[float, float]) -> float:
    """One draw from `span`; always takes one number from `rng`, an empty span included."""
    return span[0] + (span[1] - span[0]) * float(rng.random())


def bump(
    canvas: Canvas,
    centre: tuple[float, float],
    radii: tuple[float, float],
    angle: float,
    height: float,
    shine: float,
) -> None:
    """Shade a bump of profile (1 - r²)² by the sheet's light; a negative height is a hollow.

    height: largest relative change of brightness. shine: brightness of the highlight.
    """
    shown = (math.hypot(radii[0], canvas.pixel), math.hypot(radii[1], canvas.pixel))
    part = window(canvas, centre, (max(shown), max(shown)))
    if part is None:
        return
    f = np.float32
    a, b, r2 = ellipse(part, shown, angle)
    inside = np.maximum(1 - r2, 0)
    cos, sin = math.cos(angle), math.sin(angle)
    towards_a = cos * canvas.light[0] + sin * canvas.light[1]
    towards_b = cos * canvas.light[1] - sin * canvas.light[0]
    slope = (f(towards_a) * a + f(towards_b) * b) * inside  # brightest where it faces the light
    slope *= f(2.6 * math.copysign(1, height))  # now between about -1 and 1
    canvas.shade[part.where] *= 1 + f(abs(height)) * slope
    canvas.gloss[part.where] += f(shine) * np.maximum(slope, 0) ** 4
