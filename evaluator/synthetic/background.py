"""The sheet without anything on it, and the camera: paint, light, lens and sensor."""

import colorsys
from dataclasses import dataclass

import numpy as np

from evaluator.synthetic.raster import Canvas, Field, uniform, upsample
from evaluator.synthetic.recipes import Recipe

_LIGHT_CELLS, _PEEL_CELLS = 2, 44  # waves of lighting and of orange peel across a sheet


@dataclass(frozen=True)
class Camera:
    """blur: of the lens, share of the side. noise: of the sensor, grey levels of 255."""

    blur: float
    noise: float


@dataclass(frozen=True)
class Viewpoint:
    """How one photograph of a sheet differs from another one.

    light_turn: degrees that the light has moved. exposure: factor on the paint's brightness.
    shift: how far the sheet has moved, right and down, in waves of orange peel: whole numbers, so
    that the paint's texture moves with the rest of the sheet.
    """

    light_turn: float = 0.0
    exposure: float = 1.0
    shift: tuple[int, int] = (0, 0)


def draw_viewpoint(rng: np.random.Generator) -> Viewpoint:
    """The viewpoint of one photograph of a series."""
    turn, exposure = uniform(rng, (-12.0, 12.0)), uniform(rng, (0.9, 1.1))
    right, down = (int(waves) for waves in rng.integers(-2, 3, 2))
    return Viewpoint(turn, exposure, (right, down))


def draw_camera(recipe: Recipe, rng: np.random.Generator) -> Camera:
    """The camera of one photograph, a poor one as often as the recipe says."""
    if rng.random() < recipe.poor:
        return Camera(uniform(rng, recipe.poor_blur), uniform(rng, recipe.poor_noise))
    return Camera(uniform(rng, recipe.blur), uniform(rng, recipe.noise))


def draw_background(
    recipe: Recipe, rng: np.random.Generator, size: int, viewpoint: Viewpoint
) -> tuple[Canvas, Field, Camera]:
    """A bare painted sheet of `size` pixels, the colour of its paint, and the camera.

    The colour is that under even light, float32 (3,), 0 to 1. The draws do not depend on `size`.
    """
    angle = np.deg2rad(uniform(rng, recipe.light_angle) + viewpoint.light_turn)
    light = (float(np.cos(angle)), float(np.sin(angle)))
    paint = colorsys.hsv_to_rgb(
        uniform(rng, recipe.hue) % 1.0,
        uniform(rng, recipe.saturation),
        uniform(rng, recipe.brightness),
    )
    camera = Camera(uniform(rng, recipe.blur), uniform(rng, recipe.noise))
    lighting, peel = uniform(rng, recipe.lighting), uniform(rng, recipe.orange_peel)

    slow = rng.standard_normal((_LIGHT_CELLS + 3,) * 2).astype(np.float32)
    fine = rng.standard_normal((_PEEL_CELLS + 3,) * 2).astype(np.float32)
    right, down = viewpoint.shift
    fine = np.roll(fine, (down, right), (0, 1))
    # The side towards the light is brighter; random waves keep that from being a clean ramp.
    knots = np.linspace(-1.5, 1.5, _LIGHT_CELLS + 3, dtype=np.float32)
    slow = 0.5 * slow + light[0] * knots[None, :] + light[1] * knots[:, None]
    shade = upsample(np.float32(0.6 * lighting) * slow, size)
    shade += 1
    shade += upsample(np.float32(2.0 * peel) * fine, size)
    shift = (right / _PEEL_CELLS, down / _PEEL_CELLS)
    canvas = Canvas(size, shade, np.zeros((size, size), np.float32), light, shift=shift)
    return canvas, np.array(paint, np.float32) * np.float32(viewpoint.exposure), camera
