"""From a recipe, a seed and an index to pixels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import ConfigurationError
from evaluator.synthetic.background import draw_surface
from evaluator.synthetic.defects import draw_damage
from evaluator.synthetic.distractors import draw_lookalikes
from evaluator.synthetic.labels import Labels, sold_labels, true_labels
from evaluator.synthetic.raster import blur
from evaluator.synthetic.recipe import LARGEST, SMALLEST, Recipe
from evaluator.synthetic.rng import generator

Images = NDArray[np.uint8]


def render(
    recipe: Recipe, seed: int, split: str, indices: Sequence[int], size: int | None = None
) -> tuple[Images, Labels]:
    """Sheets and the labels that are sold for them.

    indices: which sheets of the split, each from 0 to `recipe.count(split)` - 1, in any order.
    size: side in pixels, the recipe's own by default. The same sheet at two sizes has the same
        marks in the same places; only the sensor noise differs.
    Returns images uint8 (n, size, size, 3) and labels uint8 (n, C). `true_labels` says what was
    really drawn. Raises ConfigurationError for a split, an index or a size that does not exist.
    """
    side = checked_size(recipe, size)
    total = recipe.count(split)
    for index in indices:
        if not 0 <= index < total:
            raise ConfigurationError(
                "sheets-setting",
                f"sheet {index} of {recipe.name}/{split}: expected 0 to {total - 1}",
            )
    drawn = true_labels(recipe, seed, split, indices)
    images = np.empty((len(indices), side, side, 3), np.uint8)
    for row, index in enumerate(indices):
        images[row] = draw_sheet(recipe, seed, split, int(index), side, drawn[row])
    return images, sold_labels(recipe, seed, split, indices)


def draw_sheet(
    recipe: Recipe,
    seed: int,
    split: str,
    index: int,
    size: int,
    damages: Sequence[int] | Labels,
    *,
    noisy: bool = True,
) -> Images:
    """One sheet, uint8 (size, size, 3), with exactly the `damages` asked for, 0 or 1 per class.

    Every damage has a random stream of its own, so the same sheet with and without a damage
    differs in that damage's pixels only. `noisy=False` leaves out the lens and the sensor.
    """
    # One sheet after another, because a sheet's fields stay in the processor's cache and a
    # batch's do not; each numpy call still works on a whole field.
    canvas, surface = draw_surface(
        recipe, generator(recipe.name, seed, split, index, "paint"), size
    )
    draw_lookalikes(canvas, recipe, generator(recipe.name, seed, split, index, "look-alikes"))
    # From large and soft to small and sharp: a scratch crosses a stain, not the other way round.
    for name in reversed(recipe.class_names):
        if damages[recipe.class_names.index(name)]:
            draw_damage(canvas, recipe, name, generator(recipe.name, seed, split, index, name))

    pixels = np.empty((size, size, 3), np.uint8)
    sensor = generator(recipe.name, seed, split, index, f"sensor {size}")
    grain = np.empty((size, size), np.float32)
    for channel in range(3):  # one at a time: three would not fit the processor's cache
        seen = surface.paint[channel] * canvas.shade  # (S, S), 1 is full brightness
        if canvas.tint is not None:
            seen *= canvas.tint[channel]
        seen += canvas.gloss
        if noisy:
            seen = blur(seen, surface.blur * size)
            sensor.standard_normal(dtype=np.float32, out=grain)
            grain *= np.float32(surface.noise / 255)
            seen += grain
        seen *= np.float32(255)
        seen += np.float32(0.5)
        np.clip(seen, 0, 255, out=seen)
        pixels[:, :, channel] = seen
    return pixels


def checked_size(recipe: Recipe, size: int | None) -> int:
    """`size` or the recipe's own, in pixels; raises ConfigurationError when it cannot be drawn."""
    side = recipe.size if size is None else size
    if not SMALLEST <= side <= LARGEST:
        raise ConfigurationError(
            "sheets-setting",
            f"size {side!r}: expected a whole number of pixels from {SMALLEST} to {LARGEST}",
        )
    return side
