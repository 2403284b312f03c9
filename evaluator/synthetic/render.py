"""From a recipe, a seed and an index to labels and pixels.

Every sheet owns its random streams, one per purpose, so that no draw shifts another.
"""

import hashlib
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from evaluator.synthetic.background import (
    Viewpoint,
    draw_background,
    draw_camera,
    draw_viewpoint,
)
from evaluator.synthetic.defects import draw_defect
from evaluator.synthetic.distractors import draw_distractors
from evaluator.synthetic.raster import blur
from evaluator.synthetic.recipes import LARGEST, SMALLEST, Recipe
from shared.errors import ConfigurationError

DRAWING = 1  # raised whenever the same recipe would draw other pictures than before


def generator(
    recipe_name: str, seed: int, split: str, sheet: int | str, purpose: str
) -> np.random.Generator:
    """The stream `purpose` of one sheet or photograph; depends on its arguments, on nothing else.

    A counter-based generator keyed by a hash: sheet 9,999 costs as much as sheet 0, and no sheet
    depends on how many were drawn before it or by whom.
    """
    text = f"{DRAWING}/{recipe_name}/{seed}/{split}/{sheet}/{purpose}"
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "big")))


def sheet_shown(recipe: Recipe, seed: int, split: str, index: int) -> int | str:
    """The sheet that photograph `index` shows: `index`, or the name of a series' sheet.

    Only the pool has series. Which photographs belong to one does not follow from their order.
    """
    if split != "unlabelled" or recipe.in_series == 0:
        return index
    belongs, which = generator(recipe.name, seed, split, index, "series").random(2)
    if belongs >= recipe.in_series:
        return index
    n_series = max(1, round(recipe.in_series * recipe.unlabelled / recipe.series_length))
    return f"series {int(which * n_series)}"


Labels = NDArray[np.uint8]


def true_labels(recipe: Recipe, seed: int, split: str, indices: Sequence[int]) -> Labels:
    """What is drawn on each sheet: uint8 (n, C), 1 where the defect is there.

    A Gaussian copula: every defect has its own normal variable, all share a part of it. The
    share that crosses its threshold is the prevalence exactly, however strong the sharing.
    """
    quantile = NormalDist().inv_cdf
    thresholds = np.array(
        [-np.inf if p <= 0 else np.inf if p >= 1 else quantile(p) for p in recipe.prevalence]
    )
    shared, own = np.sqrt(recipe.co_occurrence), np.sqrt(1 - recipe.co_occurrence)
    labels = np.zeros((len(indices), len(recipe.class_names)), np.uint8)
    for row, index in enumerate(indices):
        sheet = sheet_shown(recipe, seed, split, int(index))
        z = generator(recipe.name, seed, split, sheet, "label").standard_normal(
            1 + len(recipe.class_names)
        )
        labels[row] = shared * z[0] + own * z[1:] < thresholds
    return labels


def sold_labels(recipe: Recipe, seed: int, split: str, indices: Sequence[int]) -> Labels:
    """What the label's seller says of each sheet: uint8 (n, C), the true labels with some errors.

    The validation split is labelled truthfully: who grades by wrong answers measures the answers,
    not the buyer.
    """
    labels = true_labels(recipe, seed, split, indices)
    if split == "validation" or (recipe.label_missed == 0 and recipe.label_invented == 0):
        return labels
    for row, index in enumerate(indices):
        u = generator(recipe.name, seed, split, int(index), "label error").random(labels.shape[1])
        labels[row] ^= u < np.where(labels[row] == 1, recipe.label_missed, recipe.label_invented)
    return labels


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
    defects: Sequence[int] | Labels,
    *,
    noisy: bool = True,
) -> Images:
    """One sheet, uint8 (size, size, 3), with exactly the `defects` asked for, 0 or 1 per class.

    Every defect has a random stream of its own, so the same sheet with and without a defect
    differs in that defect's pixels only. `noisy=False` leaves out the lens and the sensor.
    """
    # One sheet after another, because a sheet's fields stay in the processor's cache and a
    # batch's do not; each numpy call still works on a whole field.
    sheet = sheet_shown(recipe, seed, split, index)

    def of_sheet(purpose: str) -> np.random.Generator:
        return generator(recipe.name, seed, split, sheet, purpose)

    def of_photograph(purpose: str) -> np.random.Generator:
        return generator(recipe.name, seed, split, index, purpose)

    in_series = sheet != index
    viewpoint = draw_viewpoint(of_photograph("viewpoint")) if in_series else Viewpoint()
    canvas, paint, camera = draw_background(recipe, of_sheet("paint"), size, viewpoint)
    if in_series or recipe.poor:
        camera = draw_camera(recipe, of_photograph("camera"))
    draw_distractors(canvas, recipe, of_sheet("look-alikes"))
    # From large and soft to small and sharp: a scratch crosses a stain, not the other way round.
    for name in reversed(recipe.class_names):
        if defects[recipe.class_names.index(name)]:
            draw_defect(canvas, recipe, name, of_sheet(name))

    pixels = np.empty((size, size, 3), np.uint8)
    sensor = of_photograph(f"sensor {size}")
    grain = np.empty((size, size), np.float32)
    for channel in range(3):  # one at a time: three would not fit the processor's cache
        seen = paint[channel] * canvas.shade  # (S, S), 1 is full brightness
        if canvas.tint is not None:
            seen *= canvas.tint[channel]
        seen += canvas.gloss
        if noisy:
            seen = blur(seen, camera.blur * size)
            sensor.standard_normal(dtype=np.float32, out=grain)
            grain *= np.float32(camera.noise / 255)
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
