"""Painted sheets: data sets in the challenge's layout, made from a recipe and a seed.

Needs numpy and Pillow only, so that worker processes start quickly.
"""

from evaluator.synthetic.generation import generate
from evaluator.synthetic.labels import true_labels
from evaluator.synthetic.preview import contact_sheet
from evaluator.synthetic.recipe import CLASS_NAMES, Recipe
from evaluator.synthetic.recipes import RECIPES
from evaluator.synthetic.render import draw_sheet, render

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
