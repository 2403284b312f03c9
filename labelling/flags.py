"""The flags of `choose.py`."""

import argparse
from pathlib import Path

from labelling.formats.registry import WRITERS
from shared.atomic_io import ensure_absent, ensure_writable
from shared.errors import ConfigurationError, DatasetError
from shared.images.listing import is_folder


def parser() -> argparse.ArgumentParser:
    """Parses what `choose.py` is called with."""
    p = argparse.ArgumentParser(
        prog="choose.py", description="Choose which unlabelled images to have labelled next."
    )
    p.add_argument(
        "--labelled", type=Path, nargs="+", required=True, metavar="DIR",
        help="folders with images/ and labels.csv, all with the same classes; first the one whose"
        " images were drawn at random: the model is evaluated on them",
    )  # fmt: skip
    p.add_argument("--pool", type=Path, required=True, metavar="DIR", help="images to choose from")
    p.add_argument("--budget", type=int, required=True, metavar="K", help="how many to choose")
    p.add_argument(
        "--out", "--into", dest="out", type=Path, required=True, metavar="DIR",
        help="output folder for the annotators",
    )  # fmt: skip
    p.add_argument(
        "--strategy", default="", metavar="NAME", help="as in local_evaluation.py --list"
        " (default: the one in submission.toml)",
    )  # fmt: skip
    p.add_argument(
        "--exclude", type=Path, nargs="+", default=[], metavar="DIR",
        help="folders with images not to choose: a test sample, or what is being labelled now",
    )  # fmt: skip
    p.add_argument(
        "--for", dest="tool", choices=WRITERS, default="", metavar="NAME",
        help=f"write the batch for a tool, too: {', '.join(WRITERS)}",
    )  # fmt: skip
    p.add_argument("--minutes", type=float, metavar="M", help="to spend on it (default: no limit)")
    p.add_argument("--seed", type=int, default=0, metavar="N")
    return p


def check(flags: argparse.Namespace) -> None:
    """Refuse, before anything is read, what cannot work."""
    if flags.budget < 1:
        raise ConfigurationError(
            "bad-budget", f"--budget {flags.budget}: expected a number of images of 1 or more."
        )
    if flags.minutes is not None and not 0 < flags.minutes < float("inf"):
        raise ConfigurationError(
            "bad-budget", f"--minutes {flags.minutes:g}: expected a number above 0."
        )
    ensure_absent(flags.out)
    for folder in flags.exclude:
        if not is_folder(folder):
            raise DatasetError("nothing-excluded", f"--exclude {folder} is not a folder.")
    ensure_writable(flags.out)


def refuse_rounds(strategy: str, rounds: int | str) -> None:
    """Refuse a strategy that wants its labels in `rounds`, if they are more than one."""
    if isinstance(rounds, int) and rounds > 1:
        raise ConfigurationError(
            "one-round",
            f"{strategy} wants its labels in {rounds} rounds, and here they come after the choice. "
            "Leave `rounds` out, choose fewer, label them, and choose again.",
        )
