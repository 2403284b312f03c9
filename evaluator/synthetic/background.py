"""The undamaged sheet: paint, slow light, orange peel, and the lens and sensor that see it."""

import colorsys
from dataclasses import dataclass

import numpy as np

from evaluator.synthetic.raster import Canvas, Field, upsample
from evaluator.synthetic.recipe import Range, Recipe

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


def draw_surface(recipe: Recipe, rng: np.random.Generator, size: int) -> tuple[Canvas, Surface]:
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
