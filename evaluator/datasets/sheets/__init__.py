"""Painted sheets: data sets in the challenge's layout, made from a recipe and a seed.

Needs numpy and Pillow only, so that worker processes start quickly.
"""

from evaluator.datasets.sheets.contact import contact_sheet
from evaluator.datasets.sheets.labels import true_labels
from evaluator.datasets.sheets.recipe import CLASS_NAMES, Recipe
from evaluator.datasets.sheets.recipes import RECIPES
from evaluator.datasets.sheets.render import draw_sheet, render
from evaluator.datasets.sheets.writing import generate

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
