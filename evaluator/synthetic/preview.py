"""One picture that shows every class, with and without the camera's noise."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from evaluator.synthetic.recipes import Recipe
from evaluator.synthetic.render import draw_sheet
from shared.atomic_io import write_file
from shared.errors import ConfigurationError

_EXAMPLES = 4  # of each class
_GAP, _CAPTION = 4, 14  # pixels
_KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def contact_sheet(recipe: Recipe, path: str | Path, *, scale: int = 1) -> Path:
    """Write a picture with one row per class, the last row undamaged; returns its path.

    Each example stands there twice: as the camera sees it, and without lens blur and noise.
    scale: pixels are shown this many times as large. The kind of file follows from the name: .png
    or .jpg.
    """
    side, out = recipe.size, Path(path)
    kind = _KINDS.get(out.suffix.lower())
    if kind is None:
        raise ConfigurationError(
            "sheets-setting", f"picture {out}: expected a name that ends in {' or '.join(_KINDS)}"
        )
    step, rows = side * scale + _GAP, len(recipe.class_names) + 1
    width, height = _GAP + 2 * _EXAMPLES * step, rows * (step + _CAPTION) + _GAP
    page = Image.new("RGB", (width, height), (255, 255, 255))
    pen = ImageDraw.Draw(page)
    for row, name in enumerate((*recipe.class_names, "undamaged")):
        top = row * (step + _CAPTION)
        pen.text((_GAP, top + 1), f"{name}  (each with and without noise)", fill=(0, 0, 0))
        defects = [int(name == other) for other in recipe.class_names]
        for example in range(_EXAMPLES):
            index = row * _EXAMPLES + example
            for twin, noisy in enumerate((True, False)):
                pixels = draw_sheet(recipe, 0, "contact", index, side, defects, noisy=noisy)
                pixels = np.repeat(np.repeat(pixels, scale, axis=0), scale, axis=1)
                left = _GAP + (2 * example + twin) * step
                page.paste(Image.fromarray(pixels), (left, top + _CAPTION))
    picture = io.BytesIO()
    page.save(picture, kind, quality=88)
    write_file(out, picture.getvalue())
    return out
