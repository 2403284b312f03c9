"""Which of my unlabelled images should be labelled next? The answer is a folder for annotators.

    python choose.py --labelled photos/labelled --pool photos/pool --budget 200 \\
        --out photos/batch-1

A labelled folder holds `images/` and `labels.csv` (`filename`, then one 0/1 column per class); the
pool is a folder of images, and nobody knows their labels. A learner is trained on what is labelled,
looks at the pool, and a strategy chooses. `--out` receives the chosen images, a `labels.csv` whose
cells are empty, `chosen.csv` (what was chosen in which order, and what the learner expects of it),
`chosen.html` (the same with the pictures) and `buyer.log`. Fill in the cells, and the folder is a
labelled one:

    python choose.py --labelled photos/labelled photos/batch-1 --pool photos/pool --budget 200 \\
        --out photos/batch-2
"""

import argparse
import io
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from core.user_account import ensure_user_and_home
from shared.console import run_command, show_result
from shared.errors import ConfigurationError, missing_requirement
from shared.process_environment import prepare_process

if __name__ == "__main__":
    ensure_user_and_home()
    prepare_process()  # torch cannot be imported everywhere
try:
    import torch

    from labelling import flags as command_line
    from labelling.batch import Choice, export_batch
    from labelling.pictures import Images, Labelled, read_labelled, read_pool, say
    from labelling.summary import summary, warn_of_shrinking
    from models.calibration import is_near_chance
    from shared.images.class_coverage import absent_classes
    from shared.images.names import look_alikes_among
    from strategies.configuration import SubmissionConfig
    from strategies.learner_choice import open_fitted
except ImportError as missing:
    print(f"error: {missing_requirement('choose.py', missing).explained}", file=sys.stderr)
    sys.exit(2)

CONFIG = Path(__file__).with_name("submission.toml")
TRAINING_SHARE = 0.7  # of --minutes
SPARE_PIXELS = 2  # images are read at so many times the learner's size, which it shrinks itself
OF_A_MODEL = {"probabilities", "committee"}  # views that are as good as the model's predictions


def choose(
    config: SubmissionConfig, labelled: Labelled, pool: Images, budget: int, minutes: float | None
) -> Choice:
    """The `budget` images of the pool that are most worth labelling.

    `minutes` bounds what may be spent on it; None takes the time that the settings ask for.
    """
    strategy, planner, log = config.strategy, config.planner, io.StringIO()
    logger = logging.getLogger("buyer")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler := logging.StreamHandler(log))
    started, seconds = time.monotonic(), float("inf") if minutes is None else 60 * minutes
    safe_seconds = seconds - planner.reserve(seconds)
    try:
        if strategy.looks:
            say(f"learning from {len(labelled.images):,} labelled images ...")
            # Sums are taken in another order, and what is nearly a tie may end otherwise.
            threads = f"computed on {torch.get_num_threads()} CPU threads (OMP_NUM_THREADS)"
            logger.info("%s", threads)
            say(f"{threads}: on another number of them the choice may differ")
        session = open_fitted(
            labelled.images,
            config.learner,
            strategy,
            config.seed,
            epochs=planner.epochs,
            ends=started + TRAINING_SHARE * safe_seconds,
            n_calibration=labelled.drawn,
        )
        session.open_pool(pool)
        if strategy.looks:
            sides = [*labelled.images.longest_sides, *pool.longest_sides]
            warn_of_shrinking(sides, session.labelled.size, session.learner.resolved.image_size)
        rows = session.learner.calibration_rows_.tolist()  # none before a fit
        if rows and labelled.drawn < len(labelled.images):
            few = f"the first folder has only {labelled.drawn} images: evaluating the model on all"
            drawn = f"evaluating the model on {len(rows):,} images of the first folder"
            say(drawn if max(rows) < labelled.drawn else few)
        say(f"choosing {budget:,} of {len(pool):,}, by {strategy.spec} ...")
        if strategy.looks:
            session.read_pool(started + seconds)
        batch = session.select(budget, deadline=started + safe_seconds)
    finally:
        logger.removeHandler(handler)
    if strategy.looks and batch.by != "strategy" and len(batch.probabilities) < len(pool):
        raise ConfigurationError(
            "no-time-to-look",
            f"{strategy.spec} could not learn, look at more of the pool than it is to choose "
            "and choose among that, and would have chosen by something else. Give more --minutes, "
            f"or choose --strategy random. What it did:\n{log.getvalue().strip()}",
        )
    labels = torch.from_numpy(labelled.images.labels[rows] if rows else labelled.images.labels)
    f1 = session.learner.validation_f1_ if session.n_fitted else torch.empty(0)
    predicted = {idx: p.tolist() for idx, p in batch.probabilities.items()}
    return Choice(
        strategy=strategy.spec,
        rows=batch.idx.tolist(),
        expected={idx: predicted.get(idx, []) for idx in batch.idx.tolist()},
        uses_model=strategy.looks,
        n_read=session.n_candidates,
        f1=f1.tolist(),
        prevalence=labels.double().mean(0).numpy(),
        near_chance=bool(batch.views_used & OF_A_MODEL) and is_near_chance(f1, labels.float()),
        log=log.getvalue(),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Choose as the flags say; returns the exit code, 2 where that cannot be done."""
    flags = command_line.parser().parse_args(arguments)
    return run_command(
        lambda: _run(flags), stopped="Stopped; nothing was written.", catch=(ValueError,)
    )


def _run(flags: argparse.Namespace) -> int:
    command_line.check(flags)
    config = SubmissionConfig.read(CONFIG, flags.strategy or None, flags.seed)
    command_line.refuse_rounds(config.strategy.spec, config.strategy.rounds)
    pixels = config.learner.largest_image_size
    labelled = read_labelled(flags.labelled, SPARE_PIXELS * pixels)
    if absent := absent_classes(labelled.images.labels, labelled.class_names):
        say(f"notice: no labelled image shows {', '.join(absent)}: nothing is learned of it")
    for words in look_alikes_among(labelled.class_names):
        say(f"notice: classes {words}")
    pool = read_pool(flags.pool, labelled, flags.exclude)
    if flags.budget > len(pool) + pool.n_left_out:
        raise ConfigurationError(
            "budget-past-pool",
            f"--budget {flags.budget}: {flags.budget} labels are more than the {len(pool)} "
            "images to choose from. Choose a smaller budget.",
        )
    if config.strategy.looks and (words := config.learner.missing_weights()):
        say(f"notice: {words}")
    budget = min(flags.budget, len(pool))
    if budget < flags.budget:  # who asked for the whole pool has no more to label
        say(f"notice: --budget {flags.budget}: all {budget} images that need a label are chosen")
    choice = choose(config, labelled, pool, budget, flags.minutes)
    export_batch(choice, pool, flags.pool, labelled.class_names, flags.out, flags.tool)
    show_result(summary(choice, labelled.class_names, len(pool), flags.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
