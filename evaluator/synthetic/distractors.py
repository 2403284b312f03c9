"""Harmless things on a sheet, each a little like a defect: what a defect must be told from."""

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
from evaluator.synthetic.recipes import Recipe


def draw_distractors(canvas: Canvas, recipe: Recipe, rng: np.random.Generator) -> None:
    """Draw each kind as often as a Poisson draw of the recipe's mean number says."""
    for mean, draw in (
        (recipe.reflections, _reflection),
        (recipe.seams, _seam),
        (recipe.dust, _dust),
        (recipe.stripes, _stripe),
        (recipe.rust, _rust),
        (recipe.pen_marks, _pen_mark),
        (recipe.rivets, _rivets),
        (recipe.drops, _drop),
    ):
        for _ in range(int(rng.poisson(mean))):
            draw(canvas, rng)


def _reflection(canvas: Canvas, rng: np.random.Generator) -> None:
    """A lamp mirrored in the paint: a white, long, soft streak without an outline."""
    x, y, size, angle = rng.random(4)
    light = uniform(rng, (0.04, 0.13))
    reach = 0.12 + 0.16 * float(size)
    part = window(canvas, (float(x), float(y)), (2.6 * reach, 2.6 * reach))
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
    spot = window(canvas, (x, y), (4 * radius + 0.02, 4 * radius + 0.02))
    if spot is None:
        return
    speck = soft(np.sqrt(spot.x**2 + spot.y**2), radius, canvas.pixel)
    if kind < 0.7:
        canvas.gloss[spot.where] += np.float32(tone) * speck
    else:
        canvas.shade[spot.where] *= 1 - np.float32(2 * tone) * speck


def _stripe(canvas: Canvas, rng: np.random.Generator) -> None:
    """A painted band from edge to edge, of a slightly other colour, with sharp sides."""
    place, angle = uniform(rng, (0.1, 0.9)), uniform(rng, (0.0, math.pi))
    width, tone = uniform(rng, (0.03, 0.14)), uniform(rng, (0.12, 0.3))
    hue, along = uniform(rng, (0.0, math.tau)), rng.random()
    centre = (place, along) if math.sin(angle) ** 2 > 0.5 else (along, place)
    found = along_stroke(canvas, Stroke(centre, angle, 3.0, 0.0, 0.0, width))
    if found is None:
        return
    part, _, d = found
    f = np.float32
    band = f(tone) * np.clip(f(0.5) + (f(width / 2) - np.abs(d)) * f(1 / (2 * canvas.pixel)), 0, 1)
    tint = canvas.tinted()
    for channel in range(3):
        tint[channel][part.where] *= 1 + f(math.cos(hue + channel * math.tau / 3)) * band


def _rust(canvas: Canvas, rng: np.random.Generator) -> None:
    """A cluster of brown specks, where a discoloration is one smooth patch of any hue."""
    x, y = (float(value) for value in rng.random(2))
    spread, specks = uniform(rng, (0.02, 0.07)), 8 + int(18 * rng.random())
    tint, f = canvas.tinted(), np.float32
    for _ in range(specks):
        right, down = (spread * float(value) for value in rng.standard_normal(2))
        radius, depth = uniform(rng, (0.004, 0.014)), uniform(rng, (0.3, 0.8))
        spot = window(canvas, (x + right, y + down), (3 * radius + 0.02, 3 * radius + 0.02))
        if spot is None:
            continue
        speck = f(depth) * soft(np.sqrt(spot.x**2 + spot.y**2), radius, canvas.pixel)
        for channel, lost in enumerate((0.25, 0.55, 0.8)):
            tint[channel][spot.where] *= 1 - f(lost) * speck


def _pen_mark(canvas: Canvas, rng: np.random.Generator) -> None:
    """A bent line in one flat tone, dark or pale: no bright edge, and its ends do not fade."""
    x, y, turn, kind = (float(value) for value in rng.random(4))
    length, width = uniform(rng, (0.08, 0.5)), uniform(rng, (0.003, 0.006))
    bend, tone = length * uniform(rng, (-0.25, 0.25)), uniform(rng, (0.2, 0.5))
    found = along_stroke(canvas, Stroke((x, y), math.pi * turn, length, bend, 0.0, width))
    if found is None:
        return
    part, u, d = found
    line = np.clip((1 - np.abs(u)) * np.float32(30), 0, 1) * soft(d, width, canvas.pixel)
    if kind < 0.6:
        canvas.shade[part.where] *= 1 - np.float32(1.2 * tone) * line
    else:
        canvas.gloss[part.where] += np.float32(0.5 * tone) * line


def _rivets(canvas: Canvas, rng: np.random.Generator) -> None:
    """A straight row of equal heads at equal distances, where particles lie anyhow."""
    x, y, upright = (float(value) for value in rng.random(3))
    count, gap = 3 + int(4 * rng.random()), uniform(rng, (0.10, 0.17))
    radius, tilt = uniform(rng, (0.018, 0.028)), uniform(rng, (-0.08, 0.08))
    height = uniform(rng, (0.25, 0.5))
    angle = tilt + (math.pi / 2 if upright < 0.5 else 0.0)
    for number in range(count):
        away = gap * (number - (count - 1) / 2)
        centre = (x + away * math.cos(angle), y + away * math.sin(angle))
        _rim(canvas, centre, radius, 0.3)
        bump(canvas, centre, (radius, radius), 0.0, height, 0.6 * height)


def _drop(canvas: Canvas, rng: np.random.Generator) -> None:
    """Water: dark towards the light like a dent, but with a rim, and a glint on that side."""
    x, y, stretch = (float(value) for value in rng.random(3))
    radius, depth = uniform(rng, (0.02, 0.075)), uniform(rng, (0.15, 0.4))
    radii, angle = (radius, radius * (0.8 + 0.2 * stretch)), math.pi * stretch
    bump(canvas, (x, y), radii, angle, -depth, 0.5 * depth)
    _rim(canvas, (x, y), radius, 0.8 * depth)
    lx, ly = canvas.light
    glint = (x + 0.5 * radius * lx, y + 0.5 * radius * ly)
    spot = window(canvas, glint, (radius + 0.02, radius + 0.02))
    if spot is not None:
        shine = soft(np.sqrt(spot.x**2 + spot.y**2), 0.13 * radius, canvas.pixel)
        canvas.gloss[spot.where] += np.float32(0.5) * shine


def _rim(canvas: Canvas, centre: tuple[float, float], radius: float, depth: float) -> None:
    """A thin dark ring."""
    part = window(canvas, centre, (1.6 * radius + 0.01, 1.6 * radius + 0.01))
    if part is None:
        return
    ring = soft(np.sqrt(part.x**2 + part.y**2) - np.float32(radius), 0.1 * radius, canvas.pixel)
    canvas.shade[part.where] *= 1 - np.float32(depth) * ring
