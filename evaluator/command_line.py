"""`local_evaluation.py`: strategies x budget pairs x seeds x pipelines -> a leaderboard."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tabulate import tabulate

from evaluator.comparison import choose_baseline
from evaluator.dataset import Splits, open_splits
from evaluator.errors import ConfigurationError, DatasetError
from evaluator.estimate import estimate_seconds, pipelines_of, seconds_per_image, spoken
from evaluator.evaluation import Evaluation
from evaluator.isolation import preflight
from evaluator.leaderboard import leaderboard, render
from evaluator.pipelines import PIPELINES, ROBUSTNESS_PIPELINES, Pipeline, pipeline_named
from evaluator.plan import ROUND_1_PAIRS, Plan, parse_pairs
from evaluator.scoring import Scorer
from evaluator.sheets import RECIPES, generate
from evaluator.trial import REFERENCES, Pair
from evaluator.watch import Limits

DATA = Path("data")
OFFICIAL = DATA / "zew"  # where `python -m evaluator data unpack` puts the organisers' archives
LONG = 2 * 3600.0  # seconds from which a shorter command is offered
EPILOG = """examples:
  python local_evaluation.py --recipe demo --pipeline quick --strategy random entropy \\
      --pairs 200:1 --seeds 2
  python local_evaluation.py --data data/zew --strategy entropy --pairs 621:17 1889:51 --seeds 5
  python local_evaluation.py --submission ../other/run.py --pairs public

Every run is journalled in --out; the same command again goes on where it stopped."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate as the flags say. Returns 0 only if every trial ended "ok"."""
    flags = parser().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
    try:
        return _list(flags) if flags.list else _evaluate(flags)
    except (ConfigurationError, DatasetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command again goes on from here.", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def parser() -> argparse.ArgumentParser:
    """Every flag of the command line."""
    p = argparse.ArgumentParser(
        prog="local_evaluation.py",
        description="Let a submission buy labels, train the judge's pipeline on what it bought, "
        "and rank the strategies.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = p.add_argument_group("what is judged")
    what.add_argument("--submission", type=Path, default=Path("run.py"), metavar="RUN_PY")
    what.add_argument(
        "--strategy",
        nargs="+",
        metavar="NAME",
        help="strategies to compare (default: what the submission is set to); parameters after a "
        'colon: "entropy:rounds=3"',
    )
    what.add_argument(
        "--baseline",
        metavar="NAME",
        help="the strategy that the others are compared with, seed by seed (random, else the "
        "first)",
    )
    what.add_argument("--list", action="store_true", help="list the submission's strategies")
    data = p.add_argument_group("on what")
    source = data.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, metavar="DIR", help="a data set's folder")
    source.add_argument("--recipe", choices=RECIPES, help="generated painted sheets")
    data.add_argument("--workers", type=_count, metavar="N", help="threads that decode images")
    grid = p.add_argument_group("how often")
    grid.add_argument("--round", type=int, choices=(1, 2), default=2, help="the challenge's rules")
    grid.add_argument(
        "--pairs",
        nargs="+",
        metavar="B:M",
        help="budgets as LABELS:MINUTES, `public` (default), or `random:N[:SEED]`",
    )
    grid.add_argument("--seeds", type=_count, default=1, metavar="N", help="purchase seeds (1)")
    grid.add_argument(
        "--training-seeds", type=_count, default=1, metavar="M", help="per purchase (1)"
    )
    grid.add_argument(
        "--reference-seeds", type=_count, default=1, metavar="N", help="of the row `all` (1)"
    )
    score = p.add_argument_group("scored how")
    score.add_argument(
        "--pipeline",
        nargs="+",
        metavar="NAME",
        help=f"{', '.join(PIPELINES)}; `all` for the five that follow the challenge "
        "(default: organiser on a GPU, quick without)",
    )
    score.add_argument(
        "--weights",
        default="imagenet",
        metavar="W",
        help="what pretrained pipelines start from: imagenet (default), none, or a file",
    )
    score.add_argument("--device", help="where the judge trains, e.g. cpu or cuda:0")
    score.add_argument(
        "--memory", type=_gibibytes, default=16.0, metavar="GIB", help="of a submission (16)"
    )
    out = p.add_argument_group("where, and where to")
    out.add_argument("--engine", choices=("local",), default="local", help="trials one by one here")
    out.add_argument("--out", type=Path, metavar="DIR", help="journals and logs (results/DATA)")
    out.add_argument("--json", action="store_true", help="print the leaderboard as JSON")
    out.add_argument("--quiet", action="store_true", help="no progress bars")
    out.add_argument("--plan", action="store_true", help="show plan and estimate, then stop")
    return p


def _evaluate(flags: argparse.Namespace) -> int:
    strategies = _strategies(flags)
    baseline = choose_baseline([s or "submission" for s in strategies], flags.baseline)
    pipelines = _pipelines(flags)
    pairs = parse_pairs(flags.pairs) if flags.pairs else _round_pairs(flags.round)
    splits = _open_data(flags)
    _check_budgets(pairs, splits)
    preflight(
        flags.submission,
        [{"strategy": strategy, "seed": 0} for strategy in strategies],
    )
    plan = Plan(
        splits,
        flags.submission,
        strategies,
        pairs,
        flags.seeds,
        flags.training_seeds,
        pipelines,
        flags.reference_seeds,
        conditions=f"round {flags.round}, {flags.memory:g} GiB",
    )
    evaluation = Evaluation(
        plan,
        flags.out or Path("results") / splits.name,
        Scorer(splits, weights=flags.weights, device=flags.device),
        Limits(memory=int(flags.memory * 2**30)),
        progress=not flags.quiet,
    )
    _announce(evaluation, flags)
    if flags.plan:
        return 0
    started = time.monotonic()
    evaluation.run()
    rows = leaderboard(evaluation, baseline)
    if flags.json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
    else:
        print(f"\n{splits.name}, {plan.seeds} seeds, {spoken(time.monotonic() - started)}\n")
        print(render(rows, pairs, baseline))
        print(f"\nJournals and logs: {evaluation.out}")
    for failure in evaluation.failures():
        print(failure, file=sys.stderr)
    return 1 if any(row.failures or not row.n for row in rows) else 0


def _list(flags: argparse.Namespace) -> int:
    described = preflight(flags.submission, [])
    if described is None:
        raise ConfigurationError(
            f"{flags.submission} does not describe its strategies: it has no function "
            "`describe_strategies()` that returns a list of {name, summary, source}."
        )
    if flags.json:
        print(json.dumps(described, indent=2))
    else:
        rows = [[entry["name"], entry["summary"], entry["source"]] for entry in described]
        print(tabulate(rows, ["strategy", "what it buys", "source"], maxcolwidths=[None, 70, 40]))
    return 0


def _strategies(flags: argparse.Namespace) -> tuple[str | None, ...]:
    if not flags.strategy:
        return (None,)
    names = tuple(dict.fromkeys(flags.strategy))
    reserved = [name for name in names if name in REFERENCES]
    if reserved:
        raise ConfigurationError(
            f"--strategy {reserved[0]}: the judge adds the rows {' and '.join(REFERENCES)} itself. "
            "Name strategies of the submission only; --list shows them."
        )
    return names


def _pipelines(flags: argparse.Namespace) -> tuple[Pipeline, ...]:
    if flags.round == 1:
        if flags.pipeline:
            raise ConfigurationError(
                "--round 1 scores the submission's own predictions and trains no --pipeline. "
                "Leave one of the two flags out."
            )
        return ()
    if not flags.pipeline:
        on_gpu = torch.cuda.is_available() and flags.device != "cpu"
        return (PIPELINES["organiser" if on_gpu else "quick"],)
    names: list[str] = []
    for name in flags.pipeline:
        names += ROBUSTNESS_PIPELINES if name == "all" else [name]
    return tuple(pipeline_named(name) for name in dict.fromkeys(names))


def _round_pairs(number: int) -> tuple[Pair, ...]:
    return ROUND_1_PAIRS if number == 1 else parse_pairs(["public"])


def _open_data(flags: argparse.Namespace) -> Splits:
    """The data set that was asked for; without a flag the official one, else generated sheets."""
    if flags.data:
        return open_splits(flags.data, workers=flags.workers, progress=not flags.quiet)
    if not flags.recipe and OFFICIAL.is_dir():
        return open_splits(OFFICIAL, workers=flags.workers, progress=not flags.quiet)
    recipe = flags.recipe or ("round1" if flags.round == 1 else "round2")
    folder = DATA / f"sheets-{recipe}"
    if not folder.is_dir():
        print(f"Painting the sheets of {recipe!r} into {folder} (once).", file=sys.stderr)
        generate(RECIPES[recipe], folder, workers=flags.workers, progress=not flags.quiet)
    return open_splits(folder, workers=flags.workers, progress=not flags.quiet)


def _check_budgets(pairs: Sequence[Pair], splits: Splits) -> None:
    for pair in pairs:
        if pair.budget > len(splits.unlabelled):
            raise ConfigurationError(
                f"--pairs {pair}: {pair.budget} labels are more than the {len(splits.unlabelled)} "
                f"images in the pool of {splits.name}. Choose a smaller budget."
            )


def _announce(evaluation: Evaluation, flags: argparse.Namespace) -> None:
    """Say what will be done and how long it will take; where that is hours, what is shorter."""
    plan, splits = evaluation.plan, evaluation.plan.splits
    todo = pipelines_of(evaluation.missing())
    rates = {p.name: seconds_per_image(p, splits, flags.device) for p in todo}
    seconds, missing = estimate_seconds(evaluation, rates)
    names = ", ".join(pipeline.name for pipeline in plan.pipelines) or "own predictions"
    lines = [
        f"data        {splits.name}: {len(splits.training):,} training, "
        f"{len(splits.unlabelled):,} unlabelled, {len(splits.validation):,} held out; "
        f"{len(splits.class_names)} classes, {splits.training.images.shape[2]} x "
        f"{splits.training.images.shape[1]} px",
        f"strategies  {', '.join(s or 'as the submission is set' for s in plan.strategies)}",
        f"pairs       {' '.join(map(str, plan.pairs))} (labels:minutes)",
        f"seeds       {plan.seeds} purchase x {plan.training_seeds} training",
        f"pipelines   {names}",
        f"to do       {len(missing)} steps, at most {spoken(seconds)} on this machine",
    ]
    if seconds > LONG:
        lines += [
            "            that is long; for a first look in minutes:",
            "            python local_evaluation.py --recipe demo --pipeline quick --pairs 200:1 "
            "--strategy random entropy",
        ]
    print("\n".join(lines), file=sys.stderr)


def _gibibytes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of GiB above 0")
    return number


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)
