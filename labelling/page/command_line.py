"""The flags of `label.py`."""

import argparse
from pathlib import Path

from labelling.page.messages import Job
from labelling.page.session import JOURNAL, LabellingSession, Project
from labelling.pictures import say
from shared.atomic_io import ensure_absent, ensure_writable
from shared.console import positive_int
from shared.errors import ConfigurationError, DatasetError
from shared.images.label_table import columns_named
from shared.images.layout import read_split
from shared.images.listing import IMAGE_SUFFIXES, is_folder, list_images
from shared.images.names import look_alikes_among

FEATURES = ".features"  # in the output folder; hidden, so that no image is looked for in it


def parser() -> argparse.ArgumentParser:
    """Parses what `label.py` is called with."""
    p = argparse.ArgumentParser(
        prog="label.py", description="Label a folder of pictures in the browser."
    )
    p.add_argument("--pool", type=Path, required=True, metavar="DIR", help="pictures to label")
    p.add_argument(
        "--classes", nargs="+", required=True, metavar="NAME", help="what a picture may show"
    )
    p.add_argument(
        "--out", type=Path, required=True, metavar="DIR",
        help="labelled folder to write, or to go on with",
    )  # fmt: skip
    p.add_argument(
        "--labelled", type=Path, nargs="+", default=[], metavar="DIR",
        help="folders with images/ and labels.csv of the same classes, to learn from as well",
    )  # fmt: skip
    p.add_argument(
        "--strategy", default="entropy", metavar="NAME", help="what asks for pictures, as in"
        " local_evaluation.py --list (default: entropy)",
    )  # fmt: skip
    p.add_argument(
        "--pixels", type=positive_int, default=224, metavar="N",
        help="of a side, at which the learner sees pictures (default: 224)",
    )  # fmt: skip
    p.add_argument(
        "--features", type=Path, metavar="DIR", help="where features are kept (default: in --out)"
    )
    p.add_argument(
        "--no-learner", dest="learner", action="store_false", help="draw pictures at random only"
    )
    p.add_argument(
        "--share", type=positive_int, default=5, metavar="N",
        help="every Nth picture is drawn at random and kept as the fair sample (default: 5)",
    )  # fmt: skip
    p.add_argument("--no-browser", dest="browser", action="store_false", help="open no browser")
    p.add_argument("--port", type=positive_int, metavar="N", help="default: any that is free")
    p.add_argument("--seed", type=int, default=0, metavar="N")
    return p


def project(flags: argparse.Namespace) -> Project:
    """What is to be labelled; refuses, before anything is written, what cannot work."""
    classes = tuple(columns_named(["filename", *flags.classes])[1:])
    for name in classes:
        if name in {"", "filename"} or classes.count(name) > 1:
            raise ConfigurationError(
                "bad-classes",
                f"--classes: {name!r} is given twice, or is no name. Each class needs a name of "
                "its own, which is not `filename`.",
            )
    for words in look_alikes_among(classes):
        say(f"notice: classes {words}")
    is_new = not flags.out.exists() or (is_folder(flags.out) and not any(flags.out.iterdir()))
    if not is_new and not (flags.out / JOURNAL).exists():
        ensure_absent(flags.out)
    ensure_writable(flags.out / JOURNAL)
    names = _names(flags.pool, flags.out)
    return Project(flags.pool, flags.out, classes, names, flags.seed, flags.share)


def job(flags: argparse.Namespace, session: LabellingSession) -> Job:
    """What the learner is to work on. Raises DatasetError where a labelled folder is damaged."""
    project = session.project
    extra = list[tuple[Path, tuple[int, ...]]]()
    for folder in flags.labelled:
        part = read_split("labelled", folder / "labels.csv", project.class_names, half_filled=True)
        extra += zip(part.images, map(tuple, part.labels.tolist()), strict=True)
    return Job(
        project.pool.absolute(),
        project.names,
        tuple(session.queue.order),
        project.class_names,
        (flags.features or flags.out / FEATURES).absolute(),
        flags.strategy,
        flags.seed,
        flags.pixels,
        tuple(extra),
    )


def _names(pool: Path, out: Path) -> tuple[str, ...]:
    """The pool's images, relative to it, without those below `out`.

    Raises DatasetError where there are none.
    """
    if not is_folder(pool):
        raise DatasetError("empty-pool", f"{pool} is not a folder. Give the one with the pictures.")
    listing = list_images(pool)
    if not listing.images:
        listing.refuse_absent()
        raise DatasetError(
            "empty-pool",
            f"{pool} holds no image: what is read is {', '.join(sorted(IMAGE_SUFFIXES))}; "
            f"{listing.others_in_words or 'nothing else lies there'}. Convert them, or give the "
            "folder with the pictures.",
        )
    if listing.others:
        say(listing.others_in_words)
    if listing.absent:
        say(f"{listing.absent_in_words}, and are left out")
    inside = out.absolute()
    own = (file for file in listing.images if inside not in file.absolute().parents)
    names = [file.relative_to(pool).as_posix() for file in own]
    usable = tuple(name for name in names if name.isprintable() and _is_utf_8(name))
    if len(usable) < len(names):
        odd = next(name for name in names if name not in set(usable))
        say(
            f"notice: {len(names) - len(usable)} images are left out, because their names cannot "
            f"stand in a table (such as {odd!r}): rename them"
        )
    return usable


def _is_utf_8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
