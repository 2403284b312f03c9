"""`python -m evaluator data {make,unpack,import,split,check,contact-sheet}`: data sets."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluator.arguments import count
from evaluator.atomic_io import ensure_absent
from evaluator.choosing.class_folders import from_class_folders
from evaluator.choosing.coco import from_coco
from evaluator.choosing.importing import write_imported
from evaluator.choosing.splitting import Amount, decoded_bytes, divide, write_splits
from evaluator.data.archive import unpack
from evaluator.data.class_coverage import coverage_doubts
from evaluator.data.dataset import open_splits
from evaluator.data.doubts import doubts
from evaluator.data.layout import SPLITS
from evaluator.errors import ConfigurationError
from evaluator.synthetic import RECIPES, contact_sheet, generate

USUAL = {"training": Amount(10, is_share=True), "validation": Amount(20, is_share=True)}
LARGE = 20e9  # bytes of decoded images: 10,000 images of 800 px


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `data` and their flags."""
    actions = parser.add_subparsers(dest="action", required=True)

    make = actions.add_parser("make", help="generate a data set of synthetic images")
    make.add_argument("--recipe", choices=RECIPES, required=True)
    make.add_argument("--out", type=Path, help="folder to make (data/sheets-RECIPE)")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--size", type=int, help="pixels (the recipe's)")
    make.add_argument("--workers", type=count, metavar="N", help="processes (one per core)")
    make.set_defaults(run=_make)

    archives = actions.add_parser("unpack", help="unpack the organisers' archives")
    archives.add_argument("archives", type=Path, nargs="+", metavar="ARCHIVE")
    archives.add_argument("--out", type=Path, default=Path("data/zew"))
    archives.set_defaults(run=_unpack)

    labels = actions.add_parser("import", help="make a labelled folder of class folders or COCO")
    labels.add_argument(
        "source", type=Path, help="a folder with one folder for each class, or a COCO file (.json)"
    )
    labels.add_argument("--out", type=Path, required=True, help="folder to make")
    labels.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="NAME",
        help="class folders whose images show no class: good, normal, background",
    )
    labels.add_argument("--images", type=Path, metavar="DIR", help="where a COCO file's images lie")
    labels.add_argument(
        "--resized",
        action="store_true",
        help="images have other sizes than a COCO file says, because they were resized since",
    )
    labels.set_defaults(run=_import)

    split = actions.add_parser("split", help="divide labelled images at random for the judge")
    split.add_argument(
        "folders", type=Path, nargs="+", metavar="DIR", help="with images/ and labels.csv each"
    )
    split.add_argument("--out", type=Path, required=True, help="folder to make")
    for name, usual in USUAL.items():
        split.add_argument(
            f"--{name}",
            type=_amount,
            default=usual,
            metavar="N",
            help=f"images, or a share ({usual}%)",  # to argparse, %% is a percent sign
        )
    split.add_argument(
        "--together",
        metavar="REGEX",
        help="images whose names match alike, in its first group if it has one, go to one split",
    )
    split.add_argument(
        "--size", type=count, metavar="PIXELS", help="shrink images whose sides are longer"
    )
    split.add_argument("--seed", type=int, default=0)
    split.set_defaults(run=_split)

    check = actions.add_parser("check", help="read a data set and say what is in it")
    check.add_argument("data", type=Path, metavar="DIR")
    check.add_argument("--workers", type=count, metavar="N", help="threads that decode images")
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
    print(made)
    return 0


def _unpack(flags: argparse.Namespace) -> int:
    print(unpack(flags.archives, flags.out))
    return 0


def _import(flags: argparse.Namespace) -> int:
    ensure_absent(flags.out)
    if flags.source.suffix.lower() == ".json":
        if flags.without:
            raise ConfigurationError(
                "bad-import",
                "--without is for class folders; a COCO file says what shows no class.",
            )
        folder = flags.images or flags.source.parent
        imported = from_coco(flags.source, folder, resized=flags.resized)
    else:
        if flags.images or flags.resized:
            raise ConfigurationError(
                "bad-import",
                "--images and --resized are for a COCO file; class folders hold their own images.",
            )
        imported = from_class_folders(flags.source, flags.without)
    write_imported(imported, flags.out)
    print(f"{len(imported.files):,} images; {_positives(imported.labels, imported.class_names)}")
    folder = shlex.quote(str(flags.out))
    print(
        f"next: python choose.py --labelled {folder} --pool POOL --budget 200 "
        "--strategy uherding --out BATCH"
    )
    return 0


def _split(flags: argparse.Namespace) -> int:
    ensure_absent(flags.out)  # before thousands of images are read
    division = divide(
        flags.folders,
        flags.training,
        flags.validation,
        together=flags.together,
        side=flags.size,
        seed=flags.seed,
    )
    large = decoded_bytes(division)
    write_splits(division, flags.out)
    class_names = division.labelled.class_names
    for name in SPLITS:
        labels = division.labelled.images.labels[division.rows[name]]
        print(f"{name:11} {len(labels):7,} images; {_positives(labels, class_names)}")
    by_split = {name: division.labelled.images.labels[division.rows[name]] for name in SPLITS}
    for line in coverage_doubts(by_split, class_names):
        print(f"warning: {line}; take more images for that split, or another --seed")
    if large > LARGE:
        print(
            f"warning: the judge keeps images decoded, which is about {large / 1e9:,.0f} GB here; "
            "with --size 512 it is less"
        )
    print(f"next: python -m evaluator data check {shlex.quote(str(flags.out))}")
    return 0


def _amount(text: str) -> Amount:
    try:
        return Amount.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number of images, such as 200, nor a share, such as 20%"
        ) from None


def _positives(labels: np.ndarray, class_names: Sequence[str]) -> str:
    """The share of images (N, C) that show each class, and that show none, in words."""
    shares = (
        f"{name} {share:.1%}" for name, share in zip(class_names, labels.mean(0), strict=True)
    )
    return f"{', '.join(shares)}; none {(labels.sum(1) == 0).mean():.1%}"


def _check(flags: argparse.Namespace) -> int:
    splits = open_splits(flags.data, workers=flags.workers)
    for name in SPLITS:
        split = getattr(splits, name)
        height, width = split.images.shape[1:3]
        positives = _positives(split.labels, splits.class_names)
        print(f"{name:11} {len(split):7,} images of {width} x {height}; {positives}")
    for line in doubts(splits):
        print(f"warning: {line}")
    return 0


def _contact(flags: argparse.Namespace) -> int:
    print(contact_sheet(RECIPES[flags.recipe], flags.out))
    return 0
