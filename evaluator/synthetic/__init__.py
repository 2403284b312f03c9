"""Synthetic images of painted metal sheets, in the challenge's layout, from a recipe and a seed.

Needs numpy and Pillow only, so that worker processes start quickly.
"""

from evaluator.synthetic.generation import generate
from evaluator.synthetic.preview import contact_sheet
from evaluator.synthetic.recipes import CLASS_NAMES, RECIPES, Recipe
from evaluator.synthetic.render import draw_sheet, render, true_labels

__all__ = [
    "CLASS_NAMES",
    "RECIPES",
    "Recipe",
    "contact_sheet",
    "draw_sheet",
    "generate",
    "render",
    "true_labels",
]
