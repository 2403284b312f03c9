"""The sheet without defects: paint, light, lens and sensor, and harmless distractors.

Distractors look a little like defects: seams, reflections, dust and lint.
"""

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from evaluator.synthetic.raster import (
    Canvas,
    Field,
    Stroke,
    along_stroke,
    ellipse,
    soft,
    upsample,
    window,
)
from evaluator.synthetic.recipes import Range, Recipe

_LIGHT_CELLS, _PEEL_CELLS = 2, 44  # waves of lighting and of orange peel across a sheet


@dataclass(frozen=True)
class Surface:
    """What one sheet has before any damage.

    paint: the colour under even light, float32 (3,), 0 to 1.
    blur: of the lens, share of the side. noise: of the sensor, grey levels of 255.
    """

    paint: Field
    blur: float
    noise: float


def draw_background(recipe: Recipe, rng: np.random.Generator, size: int) -> tuple[Canvas, Surface]:
    """A bare painted sheet of `size` pixels. The draws do not depend on `size`."""
    angle = np.deg2rad(uniform(rng, recipe.light_angle))
    light = (float(np.cos(angle)), float(np.sin(angle)))
    paint = colorsys.hsv_to_rgb(
        uniform(rng, recipe.hue) % 1.0,
        uniform(rng, recipe.saturation),
        uniform(rng, recipe.brightness),
    )
    surface = Surface(
        np.array(paint, np.float32), uniform(rng, recipe.blur), uniform(rng, recipe.noise)
    )
    lighting, peel = uniform(rng, recipe.lighting), uniform(rng, recipe.orange_peel)

    slow = rng.standard_normal((_LIGHT_CELLS + 3,) * 2).astype(np.float32)
    fine = rng.standard_normal((_PEEL_CELLS + 3,) * 2).astype(np.float32)
    # The side towards the light is brighter; random waves keep that from being a clean ramp.
    knots = np.linspace(-1.5, 1.5, _LIGHT_CELLS + 3, dtype=np.float32)
    slow = 0.5 * slow + light[0] * knots[None, :] + light[1] * knots[:, None]
    shade = upsample(np.float32(0.6 * lighting) * slow, size)
    shade += 1
    shade += upsample(np.float32(2.0 * peel) * fine, size)
    return Canvas(size, shade, np.zeros((size, size), np.float32), light), surface


def uniform(rng: np.random.Generator, span: Range) -> float:
    """One draw from `span`; always takes one number from `rng`, an empty span included."""
    return span[0] + (span[1] - span[0]) * float(rng.random())


def draw_distractors(canvas: Canvas, recipe: Recipe, rng: np.random.Generator) -> None:
    """Draw each kind as often as a Poisson draw of the recipe's mean number says."""
    for mean, draw in (
        (recipe.reflections, _reflection),
        (recipe.seams, _seam),
        (recipe.dust, _dust),
    ):
        for _ in range(int(rng.poisson(mean))):
            draw(canvas, rng)


def _reflection(canvas: Canvas, rng: np.random.Generator) -> None:
    """A lamp mirrored in the paint: a white, long, soft streak without an outline."""
    x, y, size, angle = rng.random(4)
    light = uniform(rng, (0.04, 0.13))
    reach = 0.12 + 0.16 * float(size)
    part = window(canvas.size, (float(x), float(y)), (2.6 * reach, 2.6 * reach))
    if part is not None:
        *_, r2 = ellipse(part, (reach, 0.3 * reach), math.pi * float(angle))
        canvas.gloss[part.where] += np.float32(light) * np.exp(-r2)


def _seam(canvas: Canvas, rng: np.random.Generator) -> None:
    """Where two sheets meet: a dead straight dark line from one edge to the other."""
    place, tilt, upright = uniform(rng, (0.08, 0.92)), uniform(rng, (-0.06, 0.06)), rng.random()
    centre = (place, 0.5) if upright < 0.5 else (0.5, place)
    angle = tilt + (math.pi / 2 if upright < 0.5 else 0.0)
    width, depth = uniform(rng, (0.006, 0.012)), uniform(rng, (0.2, 0.4))
    found = along_stroke(canvas, Stroke(centre, angle, 1.2, 0.0, 0.0, width))
    if found is not None:
        part, _, d = found
        canvas.shade[part.where] *= 1 - np.float32(depth) * soft(d, width, canvas.pixel)


def _dust(canvas: Canvas, rng: np.random.Generator) -> None:
    """Lies on the paint: a flat pale or dark dot, or a pale hair; no shadow, no relief."""
    x, y, kind, turn = (float(value) for value in rng.random(4))
    tone, bend = uniform(rng, (0.05, 0.16)), uniform(rng, (-0.02, 0.02))
    if kind < 0.3:
        hair = Stroke((x, y), math.pi * turn, 0.05 + 0.2 * kind, bend, 0.0, 0.003)
        found = along_stroke(canvas, hair)
        if found is not None:
            part, u, d = found
            fade = np.clip((1 - np.abs(u)) * np.float32(8), 0, 1)
            canvas.gloss[part.where] += np.float32(tone) * fade * soft(d, 0.003, canvas.pixel)
        return
    radius = 0.005 + 0.005 * turn
    spot = window(canvas.size, (x, y), (4 * radius + 0.02, 4 * radius + 0.02))
    if spot is None:
        return
    speck = soft(np.sqrt(spot.x**2 + spot.y**2), radius, canvas.pixel)
    if kind < 0.7:
        canvas.gloss[spot.where] += np.float32(tone) * speck
    else:
        canvas.shade[spot.where] *= 1 - np.float32(2 * tone) * speck
