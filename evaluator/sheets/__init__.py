"""Painted sheets: data sets in the challenge's layout, made from a recipe and a seed.

Needs numpy and Pillow only, so that worker processes start quickly.
"""

from evaluator.sheets.contact import contact_sheet
from evaluator.sheets.labels import true_labels
from evaluator.sheets.recipe import CLASS_NAMES, SPLITS, Recipe
from evaluator.sheets.recipes import RECIPES
from evaluator.sheets.render import draw_sheet, render
from evaluator.sheets.writing import generate

__all__ = [
    "CLASS_NAMES",
    "RECIPES",
    "SPLITS",
    "Recipe",
    "contact_sheet",
    "draw_sheet",
    "generate",
    "render",
    "true_labels",
]
