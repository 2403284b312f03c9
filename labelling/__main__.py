"""`python -m labelling {import,export,split}`: labels from and to other tools, and data sets.

`import` makes a labelled folder of what another tool wrote, `export` writes one for another tool;
`split` divides labelled folders into a data set that the evaluator reads.
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from labelling.exporting import export
from labelling.formats.registry import READERS, WRITERS, ExportWishes
from labelling.formats.table import Wishes
from labelling.importing import write_imported
from labelling.matching import import_labels
from labelling.splitting import Amount, decoded_bytes, divide, write_splits
from shared.atomic_io import ensure_absent
from shared.console import (
    add_verbosity_flags,
    configure_logging,
    positive_int,
    run_command,
    show_result,
)
from shared.images.class_coverage import coverage_doubts, positives_in_words
from shared.images.layout import SPLITS

logger = logging.getLogger(__name__)

USUAL = {"training": Amount(10, is_share=True), "validation": Amount(20, is_share=True)}
LARGE = 20e9  # bytes of decoded images: 10,000 images of 800 px


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code, 2 where it cannot be run as asked."""

    def command() -> int:
        flags = parser().parse_args(arguments)
        configure_logging(flags)
        exit_code: int = flags.run(flags)
        return exit_code

    return run_command(command)


def parser() -> argparse.ArgumentParser:
    """Every action and its flags."""
    p = argparse.ArgumentParser(prog="python -m labelling", description="Labelled folders.")
    actions = p.add_subparsers(dest="action", required=True)
    labels = actions.add_parser("import", help="make a labelled folder of what a tool wrote")
    labels.add_argument(
        "source", type=Path, help="a tool's file, or a folder with one folder for each class"
    )
    labels.add_argument("--out", type=Path, required=True, help="folder to make")
    labels.add_argument("--images", type=Path, metavar="DIR", help="where a file's images lie")
    labels.add_argument(
        "--format", choices=READERS, metavar="NAME", default="", help=", ".join(READERS)
    )
    labels.add_argument(
        "--classes", nargs="+", default=[], metavar="NAME", help="where a file does not list them"
    )
    labels.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="NAME",
        help="labels, or class folders, whose images show no class: good, normal, background;"
        " `none`, where no label is called so: images without a label show none, too",
    )
    labels.add_argument(
        "--columns", nargs=2, default=[], metavar=("IMAGE", "LABELS"), help="of a table"
    )
    labels.add_argument("--separator", default="", help="of several labels in a cell")
    labels.add_argument(
        "--resized",
        action="store_true",
        help="images have other sizes than a file says, because they were resized since",
    )
    labels.set_defaults(run=_import)

    tools = actions.add_parser("export", help="write a labelled folder, or a batch, for a tool")
    tools.add_argument("folder", type=Path, metavar="DIR", help="with images/ and labels.csv")
    tools.add_argument(
        "--for", dest="tool", choices=WRITERS, required=True, metavar="NAME",
        help=", ".join(WRITERS),
    )  # fmt: skip
    tools.add_argument("--out", type=Path, required=True, help="file to make, or a folder for it")
    tools.add_argument(
        "--without", default="none", metavar="NAME", help="what says that nothing is shown (none)"
    )
    tools.add_argument(
        "--image-root", metavar="TEXT", help="before each image's name, for Label Studio"
    )
    tools.add_argument(
        "--predictions", action="store_true", help="write those of chosen.csv, for Label Studio"
    )
    tools.set_defaults(run=_export)

    split = actions.add_parser("split", help="divide labelled images at random for the evaluator")
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
        "--size", type=positive_int, metavar="PIXELS", help="shrink images whose sides are longer"
    )
    split.add_argument("--seed", type=int, default=0)
    split.set_defaults(run=_split)

    for action in (labels, tools, split):
        add_verbosity_flags(action)
    return p


def _import(flags: argparse.Namespace) -> int:
    ensure_absent(flags.out)
    wishes = Wishes(
        tuple(flags.without), tuple(flags.classes), tuple(flags.columns), flags.separator
    )
    imported = import_labels(
        flags.source, flags.format, wishes, flags.images, resized=flags.resized
    )
    write_imported(imported, flags.out)
    positives = positives_in_words(imported.known, imported.class_names)
    show_result(f"{len(imported.files):,} images; {positives}")
    folder = shlex.quote(str(flags.out))
    show_result(
        f"next: python choose.py --labelled {folder} --pool POOL --budget 200 "
        "--strategy uherding --out BATCH"
    )
    return 0


def _export(flags: argparse.Namespace) -> int:
    wishes = ExportWishes(flags.without, flags.image_root, flags.predictions)
    file = export(flags.folder, flags.tool, flags.out, wishes)
    show_result(f"written: {file}")
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
        show_result(f"{name:11} {len(labels):7,} images; {positives_in_words(labels, class_names)}")
    by_split = {name: division.labelled.images.labels[division.rows[name]] for name in SPLITS}
    for line in coverage_doubts(by_split, class_names):
        logger.warning("%s; take more images for that split, or another --seed", line)
    if large > LARGE:
        show_result(
            "warning: the evaluator keeps images decoded, which is about "
            f"{large / 1e9:,.0f} GB here; with --size 512 it is less"
        )
    show_result(f"next: python -m evaluator data check {shlex.quote(str(flags.out))}")
    return 0


def _amount(text: str) -> Amount:
    try:
        return Amount.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number of images, such as 200, nor a share, such as 20%"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
