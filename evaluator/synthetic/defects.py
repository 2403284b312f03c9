"""The six defects, drawn so that a person can name them."""

import math

import numpy as np

from evaluator.synthetic.raster import (
    Canvas,
    Stroke,
    along_stroke,
    bump,
    ellipse,
    soft,
    uniform,
    window,
)
from evaluator.synthetic.recipes import Range, Recipe

_SIZES: dict[str, tuple[float, float, float]] = {
    # smallest, border between small and large, largest: scratch length and dent radius
    "scratch": (0.08, 0.22, 0.65),
    "dent": (0.035, 0.085, 0.20),
}
_MOST_MARKS = {"scratch_small": 3, "scratch_large": 2, "dent_small": 2, "stray_particle": 4}


def size_range(recipe: Recipe, class_name: str) -> Range:
    """Smallest and largest scratch length or dent radius of a class, share of the side."""
    kind, _, size = class_name.partition("_")
    smallest, border, largest = _SIZES[kind]
    if size == "small":
        return smallest, border * (1 + recipe.overlap)
    return border * (1 - recipe.overlap), largest


def draw_defect(canvas: Canvas, recipe: Recipe, class_name: str, rng: np.random.Generator) -> None:
    """Draw the marks of one defect; the draws from `rng` do not depend on the canvas's size."""
    strengths = recipe.strength[recipe.class_names.index(class_name)]
    for _ in range(1 + int(rng.random() ** 2 * _MOST_MARKS.get(class_name, 1))):
        strength = uniform(rng, strengths)
        match class_name.split("_"):
            case "scratch", size:
                _scratch(canvas, size_range(recipe, class_name), size == "large", strength, rng)
            case "dent", _:
                _dent(canvas, size_range(recipe, class_name), strength, rng)
            case "stray", "particle":
                _particle(canvas, strength, rng)
            case ["discoloration"]:
                _discoloration(canvas, strength, rng)


def _place(rng: np.random.Generator, margin: float) -> tuple[float, float]:
    x, y = rng.random(2)
    return margin + (1 - 2 * margin) * float(x), margin + (1 - 2 * margin) * float(y)


def _scratch(
    canvas: Canvas, lengths: Range, large: bool, strength: float, rng: np.random.Generator
) -> None:
    """A dark core where the tool went, a bright edge where the torn paint catches the light."""
    length = uniform(rng, lengths)
    stroke = Stroke(
        centre=_place(rng, 0.12 + 0.25 * length),
        angle=uniform(rng, (0.0, math.pi)),
        length=length,
        bend=length * uniform(rng, (-0.22, 0.22)),
        twist=length * uniform(rng, (-0.05, 0.05)),
        width=uniform(rng, (0.0045, 0.0065) if large else (0.0035, 0.0055)),
    )
    wobble = uniform(rng, (0.0, math.tau))
    found = along_stroke(canvas, stroke)
    if found is None:
        return
    part, u, d = found
    f = np.float32
    # Pressure: fades at both ends, wavers on the way.
    pressure = np.clip((1 - np.abs(u)) * f(5), 0, 1) * (1 + f(0.25) * np.sin(u * f(7) + f(wobble)))
    across = (-math.sin(stroke.angle), math.cos(stroke.angle))
    lit = across[0] * canvas.light[0] + across[1] * canvas.light[1]
    side = -1.0 if lit > 0 else 1.0  # the edge beyond the groove faces the light
    core = pressure * soft(d, stroke.width, canvas.pixel)
    edge = pressure * soft(d - f(side * 2.0 * stroke.width), 0.8 * stroke.width, canvas.pixel)
    canvas.shade[part.where] *= 1 - np.minimum(f(0.75 * strength) * core, f(0.95))
    canvas.gloss[part.where] += f(0.45 * strength * (0.6 + 0.4 * abs(lit))) * edge


def _dent(canvas: Canvas, radii: Range, strength: float, rng: np.random.Generator) -> None:
    """A hollow: dark on the side towards the light, bright on the far side."""
    radius = uniform(rng, radii)
    stretch = uniform(rng, (0.75, 1.0))
    angle = uniform(rng, (0.0, math.pi))
    centre = _place(rng, 0.06 + 0.5 * radius)
    bump(canvas, centre, (radius, radius * stretch), angle, -0.55 * strength, 0.22 * strength)


def _particle(canvas: Canvas, strength: float, rng: np.random.Generator) -> None:
    """A grain under the paint: a small raised speck, lit on its near side, with a shadow."""
    radius = uniform(rng, (0.018, 0.03))
    centre = _place(rng, 0.06)
    lx, ly = canvas.light
    behind = (centre[0] - 1.5 * radius * lx, centre[1] - 1.5 * radius * ly)
    shadow = window(canvas, behind, (4 * radius, 4 * radius))
    if shadow is not None:
        f = np.float32
        angle = math.atan2(ly, lx)
        *_, r2 = ellipse(shadow, (1.1 * radius + canvas.pixel, 0.7 * radius + canvas.pixel), angle)
        canvas.shade[shadow.where] *= 1 - f(0.6 * strength) * np.exp(-r2)
    bump(canvas, centre, (radius, radius), 0.0, 0.55 * strength, 0.5 * strength)


def _discoloration(canvas: Canvas, strength: float, rng: np.random.Generator) -> None:
    """A soft-edged patch of another hue, or of paint that has lost its gloss."""
    radius = uniform(rng, (0.10, 0.24))
    radii = (radius, radius * uniform(rng, (0.6, 1.0)))
    angle = uniform(rng, (0.0, math.pi))
    centre = _place(rng, 0.08)
    lobes = rng.random(3)
    hue, matte = uniform(rng, (0.0, math.tau)), rng.random() < 0.35
    part = window(canvas, centre, (1.9 * radius, 1.9 * radius))
    if part is None:
        return
    f = np.float32
    a, b, r2 = ellipse(part, radii, angle)
    around = np.arctan2(b, a)
    edge = 1 + sum(  # an outline of three waves, so that no two patches are the same blob
        f(0.10) * np.sin(around * f(k + 2) + f(math.tau * lobes[k])) for k in range(3)
    )
    mask = f(strength) / (1 + np.exp((np.sqrt(r2) / edge - 1) * f(8)))
    if matte:
        canvas.shade[part.where] += f(0.8) * mask * (1 - canvas.shade[part.where])
        canvas.shade[part.where] *= 1 - f(0.22) * mask
        return
    tint = canvas.tinted()
    for channel in range(3):
        change = 0.40 * math.cos(hue + channel * math.tau / 3)
        tint[channel][part.where] *= 1 + f(change) * mask
