"""`python -m evaluator data {make,unpack,check,contact-sheet}`: data sets."""

import argparse
import logging
from pathlib import Path

from evaluator.data.archive import unpack
from evaluator.data.dataset import open_splits
from evaluator.data.doubts import doubts
from evaluator.synthetic import RECIPES, contact_sheet, generate
from shared.console import positive_int, show_result
from shared.images.class_coverage import positives_in_words
from shared.images.layout import SPLITS

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `data` and their flags."""
    actions = parser.add_subparsers(dest="action", required=True)

    make = actions.add_parser("make", help="generate a data set of synthetic images")
    make.add_argument("--recipe", choices=RECIPES, required=True)
    make.add_argument("--out", type=Path, help="folder to make (data/sheets-RECIPE)")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--size", type=int, help="pixels (the recipe's)")
    make.add_argument("--workers", type=positive_int, metavar="N", help="processes (one per core)")
    make.set_defaults(run=_make)

    archives = actions.add_parser("unpack", help="unpack the organisers' archives")
    archives.add_argument("archives", type=Path, nargs="+", metavar="ARCHIVE")
    archives.add_argument("--out", type=Path, default=Path("data/zew"))
    archives.set_defaults(run=_unpack)

    check = actions.add_parser("check", help="read a data set and say what is in it")
    check.add_argument("data", type=Path, metavar="DIR")
    check.add_argument(
        "--workers", type=positive_int, metavar="N", help="threads that decode images"
    )
    check.set_defaults(run=_check)

    contact = actions.add_parser("contact-sheet", help="a picture of every class of a recipe")
    contact.add_argument("--recipe", choices=RECIPES, required=True)
    contact.add_argument("--out", type=Path, required=True, help="picture to write (.png or .jpg)")
    contact.set_defaults(run=_contact)


def _make(flags: argparse.Namespace) -> int:
    out = flags.out or Path("data") / f"sheets-{flags.recipe}"
    made = generate(
        RECIPES[flags.recipe], out, seed=flags.seed, size=flags.size, workers=flags.workers
    )
    show_result(made)
    return 0


def _unpack(flags: argparse.Namespace) -> int:
    show_result(unpack(flags.archives, flags.out))
    return 0


def _check(flags: argparse.Namespace) -> int:
    splits = open_splits(flags.data, workers=flags.workers)
    for name in SPLITS:
        split = getattr(splits, name)
        height, width = split.images.shape[1:3]
        positives = positives_in_words(split.labels, splits.class_names)
        show_result(f"{name:11} {len(split):7,} images of {width} x {height}; {positives}")
    for line in doubts(splits):
        logger.warning("%s", line)
    return 0


def _contact(flags: argparse.Namespace) -> int:
    show_result(contact_sheet(RECIPES[flags.recipe], flags.out))
    return 0
