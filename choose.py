"""Which of my unlabelled images should be labelled next? The answer is a folder to hand on.

    python choose.py --labelled photos/labelled --pool photos/pool --budget 200 \\
        --into photos/batch-1

A labelled folder holds `images/` and `labels.csv` (`filename`, then one 0/1 column per class); the
pool is a folder of images, and nobody knows their labels. A learner is trained on what is labelled,
looks at the pool, and a strategy chooses. `--into` receives the chosen images, a `labels.csv` whose
cells are empty, `chosen.csv` (what was chosen in which order, and what the learner expects of it),
`chosen.html` (the same with the pictures) and `buyer.log`. Fill in the cells, and the folder is a
labelled one:

    python choose.py --labelled photos/labelled photos/batch-1 --pool photos/pool --budget 200 \\
        --into photos/batch-2

This is one round of what `run.py` does in the challenge, where labels come at once.
"""

import argparse
import contextlib
import io
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evaluator.errors import (
    ConfigurationError,
    DatasetError,
    missing_requirement,
    see_also,
    spoken_of_the_disk,
)

try:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from tabulate import tabulate

    from evaluator.atomic_io import ensure_absent, ensure_writable
    from evaluator.choosing.folder import Choice, hand_on
    from evaluator.choosing.pictures import Images, Labelled, read_labelled, read_pool, say
    from evaluator.data.decoding import BROKEN, open_image
    from evaluator.data.listing import is_folder
    from models.calibration import best_thresholds
    from models.networks import SMALL, find_weights, how_to_fetch
    from run import ZEWDPCRun
except ImportError as missing:
    print(missing_requirement("choose.py", missing).spoken, file=sys.stderr)
    sys.exit(2)

PRE_TRAINING_SHARE = 0.7  # of --minutes: nothing is trained after the choice
COUNTED_LABELS = re.compile(r" with_a_positive=\d+ positives_per_class=\[[^]]*\]")  # unknown here
SPARE_PIXELS = 2  # images are read at so many times the learner's size, which it shrinks itself
LOTS, LUCK = 100, 0.95  # random rankings, and the share of them that a learner must beat
HARD_SHRINKING = 4  # how many times larger an image is, whose small defects may not survive


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
    buyer: ZEWDPCRun, labelled: Labelled, pool: Images, budget: int, minutes: float | None
) -> Choice:
    """The `budget` images of the pool that are most worth labelling.

    `minutes` bounds what may be spent on it; None takes the time that the settings ask for.
    """
    started = time.monotonic()
    buyer.drawn = labelled.drawn
    seconds = float("inf") if minutes is None else 60 * minutes
    looks = buyer.strategy.plan != "one"
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        if looks:
            say(f"learning from {len(labelled.images):,} labelled images ...")
        buyer.pre_training_phase(labelled.images, seconds)
        measured = buyer.measured_on
        if measured and labelled.drawn < len(labelled.images):
            if max(measured) < labelled.drawn:
                say(f"what it is worth is measured on {len(measured):,} of the first folder")
            else:
                few = f"the first folder has {labelled.drawn} images, too few to measure on"
                say(f"{few}: all count")
        left = seconds - (time.monotonic() - started)
        say(f"choosing {budget:,} of {len(pool):,}, by {buyer.strategy.spec} ...")
        rows = list(buyer.purchase_phase(pool, labelled.images, budget, left))
    notes = buyer.purchase_notes or {}
    expected = {row: notes[row].get("probabilities", []) for row in rows}
    told = COUNTED_LABELS.sub("", log.getvalue())
    all_of_it = budget == len(pool) and all(expected.values())
    if looks and not all_of_it and buyer.chosen < budget:
        raise ConfigurationError(
            "no-time-to-look",
            f"{buyer.strategy.spec} could not learn, look at more of the pool than it is to choose "
            "and choose among that, and would have chosen by something else. Give more --minutes, "
            f"or choose --strategy random. What it did:\n{told.strip()}",
        )
    f1 = buyer.validation_f1
    beliefs = {"probabilities", "committee"}
    usual = labelled.images.labels[measured] if measured else labelled.images.labels
    trusting = bool(buyer.looked_at & beliefs) and knows_little(f1, usual)
    return Choice(
        buyer.strategy.spec, rows, expected, f1, usual.mean(axis=0), told, looks, trusting
    )


def knows_little(f1: Sequence[float], labels: NDArray[np.uint8]) -> bool:
    """Whether in most classes a random ranking would do as well as the learner.

    f1 : of each class, out of fold, at the best threshold, which is at least what a yes to every
        image has. So has a random ranking, most of all in a rare class: it is drawn, and not
        worked out.
    labels : (N, C) of the images that it was measured on.
    """
    dice = torch.Generator().manual_seed(0)
    truth = torch.from_numpy(labels).float()
    lots = [best_thresholds(torch.rand(truth.shape, generator=dice), truth)[1] for _ in range(LOTS)]
    by_lot = torch.stack(lots).quantile(LUCK, dim=0)  # (C,)
    return bool((torch.tensor(f1) <= by_lot).float().mean() > 0.5)


def summary(choice: Choice, class_names: Sequence[str], pool: Images, into: Path) -> str:
    """What was chosen and, per class, what the learner can do and expects to be in it."""
    lines = [f"{len(choice.rows):,} of {len(pool):,} images are in {into}: fill in labels.csv."]
    if choice.looked and len(pool.read) < len(pool):
        lines.append(
            f"There was time to read {len(pool.read):,} of the {len(pool):,}, drawn at random; the "
            "others were no candidates. With more --minutes they are."
        )
    expected = [choice.expected[row] for row in choice.rows if choice.expected[row]]
    if expected:
        sums = np.sum(expected, axis=0)
        rows = zip(class_names, choice.f1, sums, choice.usual * len(expected), strict=True)
        headers = ["", "F1 so far", "expected in them", "in as many drawn"]
        # A class may be called 1.10, and is not to be shown as 1.1.
        table = tabulate(rows, headers, floatfmt=("", ".2f", ".0f", ".0f"), disable_numparse=[0])
        lines += ["", table]
    if choice.trusting:
        lines += [
            "",
            "notice: the learner knows little yet, in most classes no more than a "
            "random ranking: random or typiclust may serve better (docs/strategies.md#which-one).",
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Choose as the flags say; returns the exit code, 2 where that cannot be done."""
    flags = _parser().parse_args(arguments)
    try:
        _refuse_what_cannot_work(flags)
        buyer = buyer_of_one_round(flags.strategy, flags.seed)
        seen = buyer.learner_settings.resolved().image_size
        labelled = read_labelled(flags.labelled, SPARE_PIXELS * seen)
        pool = read_pool(flags.pool, labelled, flags.exclude)
        if flags.budget > len(pool):
            raise ConfigurationError(
                "budget-past-pool",
                f"--budget {flags.budget}: {flags.budget} labels are more than the {len(pool)} "
                "images to choose from. Choose a smaller budget.",
            )
        _warn_of_shrinking([*labelled.images.files[:1], *pool.files[:3]], seen)
        warn_of_a_fresh_start(buyer)
        choice = choose(buyer, labelled, pool, flags.budget, flags.minutes)
        hand_on(choice, pool, flags.pool, labelled.class_names, flags.into)
    except (ConfigurationError, DatasetError) as error:
        print(error.spoken, file=sys.stderr)
        return 2
    except ValueError as error:  # of the buyer, in its own words
        print(f"error: {error}\n{see_also('messages-of-our-own-submission')}", file=sys.stderr)
        return 2
    except OSError as error:
        print(spoken_of_the_disk(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; nothing was written.", file=sys.stderr)
        return 130
    print(summary(choice, labelled.class_names, pool, flags.into))
    return 0


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="choose.py", description="Choose which unlabelled images to have labelled next."
    )
    p.add_argument(
        "--labelled", type=Path, nargs="+", required=True, metavar="DIR",
        help="folders with images/ and labels.csv, all with the same classes; first the one whose"
        " images were drawn at random: what the learner is worth is measured on them",
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
    ensure_absent(flags.into)
    for folder in flags.exclude:
        if not is_folder(folder):
            raise DatasetError("nothing-excluded", f"--exclude {folder} is not a folder.")
    ensure_writable(flags.into)


def _warn_of_shrinking(files: Sequence[Path], seen: int) -> None:
    """Say where images are so much larger than what the learner sees that details are lost."""
    longest = 0
    for file in files:
        try:
            with open_image(file) as image:
                longest = max(longest, *image.size)
        except BROKEN:
            continue  # whoever decodes it says so
    if longest > HARD_SHRINKING * seen:
        say(
            f"notice: images of {longest} pixels are seen with {seen}: small defects may vanish. "
            "Cut them into tiles, or raise image_size under [learner] in submission.toml."
        )


def warn_of_a_fresh_start(buyer: ZEWDPCRun) -> None:
    """Say where a large net has to begin without the weights that it is meant to begin with."""
    backbone, asked = buyer.learner_settings.resolved().backbone, buyer.learner_settings.pretrained
    if buyer.strategy.plan == "one" or backbone == SMALL or asked != "auto":
        return
    if find_weights(backbone, asked) is None:
        say(
            f"notice: there are no ImageNet weights of {backbone} on this machine: the learner "
            f"starts from scratch and will see less. {how_to_fetch(backbone)}."
        )


if __name__ == "__main__":
    sys.exit(main())
