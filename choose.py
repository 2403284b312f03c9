"""Which of my unlabelled images should be labelled next? The answer is a folder to hand on.

    python choose.py --labelled photos/labelled --pool photos/pool --budget 200 \\
        --into photos/batch-1

A labelled folder holds `images/` and `labels.csv` (`filename`, then one 0/1 column per class); the
pool is a folder of images, and nobody knows their labels. A learner is trained on what is labelled,
looks at the pool, and a strategy chooses. `--into` receives the chosen images, a `labels.csv` whose
cells are empty, `chosen.csv` (what was chosen in which order, and what the learner expects of it)
and `buyer.log`. Fill in the cells, and the folder is a labelled one:

    python choose.py --labelled photos/labelled photos/batch-1 --pool photos/pool --budget 200 \\
        --into photos/batch-2

This is one round of what `run.py` does in the challenge, where labels come at once.
"""

import argparse
import contextlib
import csv
import hashlib
import io
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evaluator.errors import ConfigurationError, DatasetError, missing_requirement

try:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from tabulate import tabulate

    from evaluator.datasets.cache import to_rgb
    from evaluator.datasets.layout import IMAGE_SUFFIXES, images_below, read_split
    from run import ZEWDPCRun
except ImportError as missing:
    print(missing_requirement("choose.py", missing).spoken, file=sys.stderr)
    sys.exit(2)

PRE_TRAINING_SHARE = 0.7  # of --minutes: nothing is trained after the choice
SEVERAL = 8  # threads that read files
COUNTED_LABELS = re.compile(r" with_a_positive=\d+ positives_per_class=\[[^]]*\]")  # unknown here
SPARE_PIXELS = 2  # images are read at so many times the learner's size, which it shrinks itself
NAMED = 3  # unusable images that are told by name
HARD_SHRINKING = 4  # how many times larger an image is, whose small defects may not survive


@dataclass(frozen=True)
class Images:
    """Image files as a data set of the challenge: `{"idx", "image" (H, W, 3), "label" (C,)}`.

    side : pixels at which either side is handed out, if it has more: photographs would fill the
        memory, and the learner makes a square of them anyway.
    read : the rows that were asked for.
    """

    files: tuple[Path, ...]
    labels: NDArray[np.uint8]  # (N, C); zeros where nobody knows
    side: int
    read: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        self.read.add(idx)
        try:
            with Image.open(self.files[idx]) as image:
                image.draft("RGB", (self.side, self.side))  # a JPEG is decoded no larger
                upright = to_rgb(image)
                small = (min(upright.width, self.side), min(upright.height, self.side))
                if small != upright.size:
                    upright = upright.resize(small, reducing_gap=2.0)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DatasetError(
                "unreadable-image",
                f"The image {self.files[idx]} cannot be read ({error}). Replace it or move it "
                "away.",
            ) from error
        return {"idx": idx, "image": np.asarray(upright), "label": self.labels[idx]}

    def purchase_label(self, idx: int) -> Any:
        """No label: it will be known when somebody has looked. The run only marks its choice."""
        return self.labels[idx]


@dataclass(frozen=True)
class Choice:
    """What was chosen: rows of the pool in the order of choice, and what is thought of them.

    expected : row -> one probability per class; empty where the strategy looks at nothing.
    looked : whether the strategy looks at images at all.
    f1 : the learner's F1 per class, cross-validated on what is labelled; empty where none learned.
    log : what the submission printed.
    """

    rows: list[int]
    expected: dict[int, list[float]]
    f1: list[float]
    log: str
    looked: bool


def buyer_of_one_round(strategy: str, seed: int) -> ZEWDPCRun:
    """The submission, set to choose once and not to learn from labels that nobody knows yet."""
    buyer = ZEWDPCRun(strategy or None, seed)
    if isinstance(buyer.strategy.rounds, int) and buyer.strategy.rounds > 1:
        raise ConfigurationError(
            "one-round",
            f"{buyer.strategy.spec} wants its labels in {buyer.strategy.rounds} rounds, and here "
            "they come after the choice. Leave `rounds` out, choose fewer, label them, and choose "
            "again.",
        )
    buyer.strategy = replace(buyer.strategy, rounds=1)
    buyer.planner_settings = replace(
        buyer.planner_settings, final_fit=False, pre_training_share=PRE_TRAINING_SHARE
    )
    return buyer


def choose(
    buyer: ZEWDPCRun, labelled: Images, pool: Images, budget: int, minutes: float | None
) -> Choice:
    """The `budget` images of the pool that are most worth labelling.

    `minutes` bounds what may be spent on it; None takes the time that the settings ask for.
    """
    started = time.monotonic()
    seconds = None if minutes is None else 60 * minutes
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        _say(f"learning from {len(labelled):,} labelled images ...")
        buyer.pre_training_phase(labelled, seconds)
        left = None if seconds is None else seconds - (time.monotonic() - started)
        _say(f"choosing {budget:,} of {len(pool):,}, by {buyer.strategy.spec} ...")
        rows = list(buyer.purchase_phase(pool, labelled, budget, left))
    notes = buyer.purchase_notes or {}
    expected = {row: notes[row].get("probabilities", []) for row in rows}
    told = COUNTED_LABELS.sub("", log.getvalue())
    looks = buyer.strategy.plan != "one"
    if looks and not any(expected.values()):
        raise ConfigurationError(
            "no-time-to-look",
            f"{buyer.strategy.spec} could not learn and look at the pool, and would have chosen by "
            "lot. Give more --minutes, or choose --strategy random. What it did:\n"
            f"{told.strip()}",
        )
    return Choice(rows, expected, buyer.validation_f1, told, looks)


def read_labelled(folders: Sequence[Path], side: int) -> tuple[Images, tuple[str, ...]]:
    """The images of all `folders`, and the names of the classes, which must be the same in each.

    Images that are the same to the byte count once. Raises DatasetError with file and line where a
    folder is not what it must be, and where such images have different labels.
    """
    tables = [folder if folder.is_file() else folder / "labels.csv" for folder in folders]
    parts = [read_split("labelled", tables[0])]
    for table in tables[1:]:
        parts.append(read_split("labelled", table, parts[0].class_names))
    files = tuple(file for part in parts for file in part.images)
    labels = np.concatenate([part.labels for part in parts])
    first: dict[Hashable, int] = {}
    for row, content in enumerate(_contents(files)):
        other = first.setdefault(content, row)
        if not np.array_equal(labels[row], labels[other]):
            raise DatasetError(
                "labels-disagree",
                f"{files[other]} and {files[row]} are the same image, and have different labels. "
                "Correct one of them, or leave one out.",
            )
    rows = list(first.values())
    if len(rows) < len(files):
        _say(f"{len(files) - len(rows)} of {len(files)} labelled images stand twice and count once")
    return Images(tuple(files[row] for row in rows), labels[rows], side), parts[0].class_names


def read_pool(folder: Path, labelled: Images, excluded: Sequence[Path] = ()) -> Images:
    """The images below `folder` that can be read and are not labelled yet, each once.

    What they are called does not matter; nor is any chosen that lies below an `excluded` folder.
    Raises DatasetError where there is none.
    """
    if not folder.is_dir():
        raise DatasetError(
            "empty-pool", f"{folder} is not a folder. Give the one with the images to choose from."
        )
    files = _images_below(folder)
    not_these = [*labelled.files, *(file for one in excluded for file in _images_below(one))]
    contents = _contents([*not_these, *files])
    known = set(contents[: len(not_these)])
    fresh: dict[Hashable, Path] = {}
    for file, content in zip(files, contents[len(not_these) :], strict=True):
        if content not in known:
            fresh.setdefault(content, file)
    if left_out := len(files) - len(fresh):
        _say(f"{left_out} of {len(files)} images are labelled already, excluded or doubles")
    with ThreadPoolExecutor(SEVERAL) as threads:
        troubles = dict(zip(fresh, threads.map(_trouble, fresh.values()), strict=True))
    bad = {content: trouble for content, trouble in troubles.items() if trouble}
    if bad:
        named = "; ".join(f"{str(fresh[one])!a}: {bad[one]}" for one in list(bad)[:NAMED])
        _say(f"{len(bad)} of {len(files)} images cannot be used and are left out ({named})")
        fresh = {content: file for content, file in fresh.items() if content not in bad}
    if not fresh:
        raise DatasetError(
            "empty-pool",
            f"{folder} holds {len(files)} images ({', '.join(sorted(IMAGE_SUFFIXES))}), and none "
            "that can be chosen: all are labelled already, excluded or broken. Give the folder "
            "with the images to choose from.",
        )
    nobody_knows = np.zeros((len(fresh), labelled.labels.shape[1]), np.uint8)
    return Images(tuple(fresh.values()), nobody_knows, labelled.side)


def _images_below(folder: Path) -> list[Path]:
    """Image files, sorted: no folders that are called so, and no links to nowhere."""
    return sorted(path for path in images_below(folder) if path.is_file())


def _trouble(file: Path) -> str:
    """Why nothing can be done with an image, as far as its name and first bytes tell."""
    try:
        str(file).encode()
        with Image.open(file):
            return ""
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return type(error).__name__ if str(file) in str(error) else str(error)


def hand_on(
    choice: Choice, pool: Images, root: Path, class_names: Sequence[str], into: Path
) -> None:
    """Write the folder for those who label, whole or not at all.

    Images keep their paths below `root`, the pool's folder.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{into.name}-", dir=into.parent) as scratch:
        folder = Path(scratch) / into.name
        names = [pool.files[row].relative_to(root).as_posix() for row in choice.rows]
        for row, name in zip(choice.rows, names, strict=True):
            target = folder / "images" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(pool.files[row], target)
        empty = [""] * len(class_names)
        _write_table(
            folder / "labels.csv", ["filename", *class_names], ([name, *empty] for name in names)
        )
        _write_table(
            folder / "chosen.csv",
            ["rank", "filename", *(f"p {name}" for name in class_names)],
            (
                [rank, name, *(choice.expected[row] or empty)]
                for rank, (row, name) in enumerate(zip(choice.rows, names, strict=True), start=1)
            ),
        )
        (folder / "buyer.log").write_text(choice.log, encoding="utf-8")
        folder.replace(into)


def summary(
    choice: Choice, labelled: Images, pool: Images, class_names: Sequence[str], into: Path
) -> str:
    """What was chosen and, per class, what the learner can do and expects to be in it."""
    lines = [f"{len(choice.rows):,} of {len(pool):,} images are in {into}: fill in labels.csv."]
    if choice.looked and len(pool.read) < len(pool):
        lines.append(
            f"There was time to read {len(pool.read):,} of the {len(pool):,}, drawn by lot; the "
            "others were no candidates. With more --minutes they are."
        )
    expected = [choice.expected[row] for row in choice.rows if choice.expected[row]]
    if expected:
        sums = np.sum(expected, axis=0)
        usual = labelled.labels.mean(axis=0) * len(expected)
        rows = zip(class_names, choice.f1, sums, usual, strict=True)
        headers = ["", "F1 so far", "expected in them", "in as many of those labelled"]
        lines += ["", tabulate(list(rows), headers, floatfmt=("", ".2f", ".0f", ".0f"))]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Choose as the flags say; returns the exit code, 2 where that cannot be done."""
    flags = _parser().parse_args(arguments)
    try:
        _refuse_what_cannot_work(flags)
        buyer = buyer_of_one_round(flags.strategy, flags.seed)
        seen = buyer.learner_settings.resolved().image_size
        labelled, class_names = read_labelled(flags.labelled, SPARE_PIXELS * seen)
        pool = read_pool(flags.pool, labelled, flags.exclude)
        if flags.budget > len(pool):
            raise ConfigurationError(
                "budget-past-pool",
                f"--budget {flags.budget}: {flags.budget} labels are more than the {len(pool)} "
                "images to choose from. Choose a smaller budget.",
            )
        _warn_of_shrinking([*labelled.files[:1], *pool.files[:3]], seen)
        choice = choose(buyer, labelled, pool, flags.budget, flags.minutes)
        hand_on(choice, pool, flags.pool, class_names, flags.into)
    except (ConfigurationError, DatasetError) as error:
        print(error.spoken, file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:  # of the buyer, in its own words; of a disk
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; nothing was written.", file=sys.stderr)
        return 130
    print(summary(choice, labelled, pool, class_names, flags.into))
    return 0


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="choose.py", description="Choose which unlabelled images to have labelled next."
    )
    p.add_argument(
        "--labelled", type=Path, nargs="+", required=True, metavar="DIR",
        help="folders with images/ and labels.csv, all with the same classes",
    )  # fmt: skip
    p.add_argument("--pool", type=Path, required=True, metavar="DIR", help="images to choose from")
    p.add_argument("--budget", type=int, required=True, metavar="K", help="how many to choose")
    p.add_argument(
        "--into", type=Path, required=True, metavar="DIR", help="new folder for those who label"
    )
    p.add_argument(
        "--strategy", default="", metavar="NAME", help="as in local_evaluation.py --list"
        " (default: the one in submission.toml)",
    )  # fmt: skip
    p.add_argument(
        "--exclude", type=Path, nargs="+", default=[], metavar="DIR",
        help="folders with images not to choose: a test sample, or what is being labelled now",
    )  # fmt: skip
    p.add_argument("--minutes", type=float, metavar="M", help="to spend on it (default: no limit)")
    p.add_argument("--seed", type=int, default=0, metavar="N")
    return p


def _refuse_what_cannot_work(flags: argparse.Namespace) -> None:
    if flags.budget < 1:
        raise ConfigurationError(
            "bad-budget", f"--budget {flags.budget}: expected a number of images of 1 or more."
        )
    if flags.minutes is not None and not 0 < flags.minutes < float("inf"):
        raise ConfigurationError(
            "bad-budget", f"--minutes {flags.minutes:g}: expected a number above 0."
        )
    if flags.into.exists():
        raise DatasetError(
            "folder-taken", f"{flags.into} exists already. Give a new folder, or remove it first."
        )
    for folder in flags.exclude:
        if not folder.is_dir():
            raise DatasetError("empty-pool", f"--exclude {folder} is not a folder.")
    try:  # before anything is learned, and leaving nothing behind
        above = next(parent for parent in flags.into.absolute().parents if parent.exists())
        with tempfile.TemporaryDirectory(dir=above):
            pass
    except OSError as error:
        raise DatasetError(
            "cannot-write",
            f"--into {flags.into} cannot be written ({error}). Give a folder elsewhere.",
        ) from error


def _warn_of_shrinking(files: Sequence[Path], seen: int) -> None:
    """Say where images are so much larger than what the learner sees that details are lost."""
    longest = 0
    for file in files:
        try:
            with Image.open(file) as image:
                longest = max(longest, *image.size)
        except (OSError, Image.DecompressionBombError):
            continue  # whoever decodes it says so
    if longest > HARD_SHRINKING * seen:
        _say(
            f"notice: images of {longest} pixels are seen with {seen}: small defects may vanish. "
            "Cut them into tiles, or raise image_size under [learner] in submission.toml."
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _contents(files: Sequence[Path]) -> list[Hashable]:
    """One value for each file; equal for equal contents and for no others.

    Only files of one size are read: photographs are large, and seldom as large as another.
    """
    sizes = [file.stat().st_size for file in files]
    often = Counter(sizes)

    def content(file: Path, size: int) -> Hashable:
        return (size, hashlib.blake2b(file.read_bytes()).digest() if often[size] > 1 else file)

    with ThreadPoolExecutor(SEVERAL) as threads:
        return list(threads.map(content, files, sizes))


def _write_table(path: Path, header: Sequence[str], rows: Iterator[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # or Excel takes it for cp1252
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
