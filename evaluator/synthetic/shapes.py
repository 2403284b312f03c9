"""The shapes that damages and look-alikes share: a bent stroke and a lit bump."""

import math
from dataclasses import dataclass

import numpy as np

from evaluator.synthetic.raster import Canvas, Field, Window, window


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
    part = window(canvas.size, stroke.centre, (reach[0] + 0.01, reach[1] + 0.01))
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
