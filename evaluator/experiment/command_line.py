"""`local_evaluation.py`: strategies x budget pairs x seeds x pipelines -> a leaderboard."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeGuard

import torch
from tabulate import tabulate

from evaluator.analysis.comparison import choose_baseline
from evaluator.analysis.leaderboard import leaderboard, render
from evaluator.analysis.loading import machine_notices
from evaluator.analysis.rank_agreement import rank_agreement, render_rank_agreement
from evaluator.analysis.results import Results
from evaluator.analysis.variance_components import components, render_components
from evaluator.data.class_coverage import absent_classes, macro_f1_bound
from evaluator.data.dataset import Splits, open_splits
from evaluator.data.doubts import doubts
from evaluator.errors import ConfigurationError, DatasetError, spoken_of_the_disk
from evaluator.experiment.estimate import estimate_seconds, measure_training, pipelines_of, spoken
from evaluator.experiment.evaluation import Evaluation
from evaluator.experiment.flags import parser
from evaluator.experiment.plan import POOL, ROUND_PAIRS, Plan, parse_pairs, scaled_pairs
from evaluator.experiment.t4_scaling import read_calibration
from evaluator.records.journal import COMMANDS, Journal, sole_writer
from evaluator.records.trial import REFERENCES, REMOVED_REFERENCE, Pair
from evaluator.synthetic import RECIPES, Recipe, generate
from evaluator.training.augmentation import resize_images
from evaluator.training.batches import Batches
from evaluator.training.device import device_name, thread_limit
from evaluator.training.networks import check_images
from evaluator.training.pipelines import PIPELINE_GROUPS, PIPELINES, Pipeline, parse_pipeline
from evaluator.training.scoring import Scorer
from evaluator.worker.bubblewrap import require
from evaluator.worker.gpu_memory import GB
from evaluator.worker.in_process import make_runner
from evaluator.worker.outcome import Limits

DATA = Path("data")
RESULTS = Path("results")
OFFICIAL = DATA / "zew"  # where `python -m evaluator data unpack` puts the organisers' archives
LONG = 2 * 3600.0  # seconds from which a shorter command is offered


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate as the flags say. Returns 0 only if every trial ended "ok"."""
    words = sys.argv[1:] if arguments is None else arguments
    flags = parser().parse_args(words)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
    try:
        if flags.runner == "bubblewrap":
            require()
        if flags.runner == "local" and flags.engine == "ray":
            raise ConfigurationError(
                "local-runner-on-cluster",
                "--runner local runs the submission in this process, and --engine ray on other "
                "machines. Leave one of the two flags out.",
            )
        if flags.list:
            return _list(flags)
        # A score is known by its threads: on a cluster by those of the workers.
        with thread_limit(flags.cpus_per_trial if flags.engine == "ray" else None):
            return _evaluate(flags, words)
    except (ConfigurationError, DatasetError) as error:
        print(error.spoken, file=sys.stderr)
        return 2
    except OSError as error:
        print(spoken_of_the_disk(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to resume.", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _evaluate(flags: argparse.Namespace, words: Sequence[str]) -> int:
    strategies = _strategies(flags)
    baseline = choose_baseline([s or "submission" for s in strategies], flags.baseline)
    pipelines = _pipelines(flags)
    pairs = parse_pairs(flags.pairs) if flags.pairs else ROUND_PAIRS[flags.round]
    variants = [{"strategy": strategy, "seed": 0} for strategy in strategies]
    limits = Limits(int(flags.memory * 2**30), flags.gpu_memory * GB)
    make_runner(flags.runner, limits, _all_there_is_to_hide(flags)).preflight(
        flags.submission, variants
    )
    splits = _open_data(flags)
    conditions = f"round {flags.round}, {flags.memory:g} GiB" + gpu_condition(flags)
    share = len(splits.unlabelled) / POOL
    if flags.scale_to_data and share < 1:
        pairs = scaled_pairs(pairs, share)
        conditions += f", budgets x {share:g}"
    if flags.hardware == "t4":
        pairs, ratio = _scale_minutes(pairs, flags)
        conditions += f", minutes of a T4 / {ratio:.3g}"
    conditions += {"bubblewrap": ", isolated", "local": ", in process"}.get(flags.runner, "")
    _check_budgets(pairs, splits)
    out = flags.out or RESULTS / splits.name
    runner = make_runner(flags.runner, limits, (splits.root, out))
    plan = Plan(
        splits,
        flags.submission,
        strategies,
        pairs,
        flags.seeds,
        flags.training_seeds,
        pipelines,
        flags.reference_seeds,
        conditions=conditions,
        references=tuple(dict.fromkeys(flags.references)),
        first_seed=flags.first_seed,
    )
    with nullcontext() if flags.plan and not out.exists() else sole_writer(out):
        evaluation = Evaluation(
            plan,
            out,
            Scorer(splits, weights=flags.weights, device=flags.device, steps=flags.steps),
            runner,
            progress=not flags.quiet,
        )
        _announce(evaluation, flags)
        if flags.plan:
            return 0
        _write_down(words, evaluation)
        return _run(evaluation, baseline, flags)


def _write_down(words: Sequence[str], evaluation: Evaluation) -> None:
    """Keep the command, and what it judges by, unless the last one said the same and is done."""
    plan, commands = evaluation.plan, Journal(evaluation.out / COMMANDS)
    judged_by = {
        "dataset": plan.splits.name,
        "fingerprint": plan.splits.fingerprint,
        "class_names": list(plan.splits.class_names),
        "never_held_out": list(_never_held_out(plan.splits)),
        "code": plan.code,
        "conditions": plan.conditions,
        "configurations": {p.name: evaluation.scorer.configuration(p) for p in plan.pipelines},
    }
    last = commands.records[-1] if commands.records else {}
    if any(evaluation.missing()) or {**last, **judged_by} != last:
        began = datetime.now(UTC).isoformat(timespec="seconds")
        command = ["python", "local_evaluation.py", *words]
        threads = torch.get_num_threads()
        commands.append({"command": command, "started": began, "threads": threads} | judged_by)


def _never_held_out(splits: Splits) -> tuple[str, ...]:
    return absent_classes(splits.validation.labels, splits.class_names)


def _run(evaluation: Evaluation, baseline: str, flags: argparse.Namespace) -> int:
    plan = evaluation.plan
    started = time.monotonic()
    if flags.engine == "ray":
        _run_on_ray(evaluation, flags)
    else:
        evaluation.run()
    trials = tuple(evaluation.results())
    notices = machine_notices(trial.purchase for trial in trials if trial.purchase)
    bound = macro_f1_bound(_never_held_out(plan.splits), len(plan.splits.class_names))
    if bound:
        notices.append(f"In {plan.splits.name} {bound}.")
    results = Results(plan.splits.name, trials, tuple(notices))
    rows = leaderboard(results.table, baseline)
    if flags.json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
    else:
        spent = spoken(time.monotonic() - started)
        seeds = "1 seed" if plan.seeds == 1 else f"{plan.seeds} seeds"
        print(f"\n{plan.splits.name}, {seeds}, {spent}\n")
        print(render(rows, plan.pairs, baseline))
        for pipeline in dict.fromkeys(row.pipeline for row in rows):
            own = [row for row in rows if row.pipeline == pipeline]
            if found := components(own, baseline):
                print(f"\n{pipeline}, variance components\n{render_components(found, baseline)}")
        if agreement := rank_agreement(rows):
            print(f"\n{render_rank_agreement(agreement)}")
        print(f"\nJournals and logs: {evaluation.out}")
    for line in (*(f"notice: {notice}" for notice in notices), *evaluation.failures()):
        print(line, file=sys.stderr)
    # Imported here: Matplotlib and Jinja2 take half a second that --plan and --list need not pay.
    from evaluator.report.page import write_page

    page = write_page(
        results,
        evaluation.out / "report.html",
        baseline=baseline,
        splits=plan.splits,
        folders=[evaluation.out],
    )
    if not flags.json:
        print(f"Report: {page}")
    return 1 if any(row.failures or not row.n for row in rows) else 0


def _run_on_ray(evaluation: Evaluation, flags: argparse.Namespace) -> None:
    try:
        from evaluator.experiment.ray_cluster import Resources
        from evaluator.experiment.ray_engine import run_on_ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ConfigurationError(
            "missing-requirement",
            "--engine ray needs Ray, which is not installed: "
            "pip install -r requirements-cluster.txt",
        ) from error
    run_on_ray(evaluation, Resources(flags.cpus_per_trial, flags.gpus_per_trial, flags.ray_address))


def _list(flags: argparse.Namespace) -> int:
    described = make_runner(flags.runner).preflight(flags.submission, []).strategies
    if not _is_list_of_strategies(described):
        raise ConfigurationError(
            "no-strategy-list",
            f"{flags.submission} does not describe its strategies: it has no function "
            "`describe_strategies()` that returns a list of {name, summary, source}.",
        )
    if flags.json:
        print(json.dumps(described, indent=2))
    else:
        rows = [[entry["name"], _what(entry), entry["source"]] for entry in described]
        print(tabulate(rows, ["strategy", "what it buys", "source"], maxcolwidths=[None, 70, 40]))
    return 0


def _what(entry: dict[str, str]) -> str:
    parameters = entry.get("parameters")
    return entry["summary"] + (f"\nparameters: {parameters}" if parameters else "")


def _is_list_of_strategies(described: object) -> TypeGuard[list[dict[str, str]]]:
    """Whether a submission, which may say anything, described its strategies as it should."""
    words = ("name", "summary", "source")
    return isinstance(described, list) and all(
        isinstance(entry, dict) and all(isinstance(entry.get(word), str) for word in words)
        for entry in described
    )


def _strategies(flags: argparse.Namespace) -> tuple[str | None, ...]:
    if not flags.strategy:
        return (None,)
    names = tuple(dict.fromkeys(flags.strategy))
    reserved = [name for name in names if name in (*REFERENCES, REMOVED_REFERENCE)]
    if reserved:
        raise ConfigurationError(
            "reserved-strategy",
            f"--strategy {reserved[0]}: this name is kept for reference rows of the evaluator "
            f"({', '.join((*REFERENCES, REMOVED_REFERENCE))}). Name strategies of the submission "
            "only; --list shows them.",
        )
    return names


def gpu_condition(flags: argparse.Namespace) -> str:
    """What is added to a trial's conditions where a submission may use a GPU, in limited memory.

    `--runner local` has no process of its own to limit.
    """
    on_gpu = flags.gpus_per_trial > 0 if flags.engine == "ray" else torch.cuda.is_available()
    limited = on_gpu and flags.runner != "local"
    return f", {flags.gpu_memory:g} GB of a GPU" if limited else ""


def _pipelines(flags: argparse.Namespace) -> tuple[Pipeline, ...]:
    if flags.round == 1:
        if flags.pipeline:
            raise ConfigurationError(
                "round-1-pipeline",
                "--round 1 scores the submission's own predictions and trains no --pipeline. "
                "Leave one of the two flags out.",
            )
        return ()
    if not flags.pipeline:
        on_gpu = torch.cuda.is_available() and flags.device != "cpu"
        return (PIPELINES["organiser" if on_gpu else "quick"],)
    names: list[str] = []
    for name in flags.pipeline:
        names += PIPELINE_GROUPS.get(name, (name,))
    return tuple(parse_pipeline(name) for name in dict.fromkeys(names))


def _all_there_is_to_hide(flags: argparse.Namespace) -> tuple[Path, ...]:
    """Data sets and journals, before it is known which of them will be used."""
    data = [flags.data] if flags.data else DATA.glob("*")
    return (*data, *([flags.out] if flags.out else RESULTS.glob("*")))


def _open_data(flags: argparse.Namespace) -> Splits:
    """The data set that was asked for; without a flag the official one, else synthetic images."""
    if flags.data:
        return open_splits(flags.data, workers=flags.workers, progress=not flags.quiet)
    if not flags.recipe and OFFICIAL.is_dir():
        return open_splits(OFFICIAL, workers=flags.workers, progress=not flags.quiet)
    recipe = flags.recipe or ("round1" if flags.round == 1 else "round2")
    folder = DATA / f"sheets-{recipe}"
    if not folder.is_dir():
        print(f"Generating {_amount(RECIPES[recipe])} into {folder} (once).", file=sys.stderr)
        generate(RECIPES[recipe], folder, workers=flags.workers, progress=not flags.quiet)
    return open_splits(folder, workers=flags.workers, progress=not flags.quiet)


def _amount(recipe: Recipe) -> str:
    n = recipe.training + recipe.unlabelled + recipe.validation
    decoded = n * recipe.size**2 * 3 / 1e6  # JPEG makes about a third of it
    megabytes = 4 / 3 * decoded
    return f"{n:,} synthetic images ({recipe.name!r}), {megabytes:,.0f} MB with a decoded copy,"


def _scale_minutes(
    pairs: Sequence[Pair], flags: argparse.Namespace
) -> tuple[tuple[Pair, ...], float]:
    """Pairs in minutes of a T4 as pairs in minutes here, and the ratio of the two speeds."""
    if flags.engine == "ray":
        raise ConfigurationError(
            "hardware-on-cluster",
            "--hardware t4 scales by what was measured on this machine, and with --engine ray the "
            "trials run on others. Give minutes of theirs: --hardware native.",
        )
    found = read_calibration(flags.calibration, device_name(flags.device))
    return found.scale_pairs(pairs), found.speed_ratio


def _check_budgets(pairs: Sequence[Pair], splits: Splits) -> None:
    for pair in pairs:
        if pair.budget > len(splits.unlabelled):
            raise ConfigurationError(
                "budget-past-pool",
                f"--pairs {pair}: {pair.budget} labels are more than the {len(splits.unlabelled)} "
                f"images in the pool of {splits.name}. Choose a smaller budget, or add "
                "--scale-to-data.",
            )


def _check_pipelines(pipelines: Sequence[Pipeline], splits: Splits) -> None:
    """Before hours are spent on purchases that cannot be scored."""
    for pipeline in pipelines:
        try:
            few = resize_images(splits.training.images[:2], pipeline.size)
            check_images(few, pipeline)
            Batches(pipeline, 0, few, torch.zeros(len(few), 1), torch.device("cpu"))
        except ValueError as error:
            raise ConfigurationError(
                "pipeline-data", f"--pipeline {pipeline.name}: {error}"
            ) from error


def _announce(evaluation: Evaluation, flags: argparse.Namespace) -> None:
    """Say what will be done and how long it will take; where that is hours, what is shorter."""
    plan, splits = evaluation.plan, evaluation.plan.splits
    missing = list(evaluation.missing())
    todo = f"{len(missing)} steps"
    needed = pipelines_of(missing)
    _check_pipelines(needed, splits)
    seconds, parts = 0.0, dict[str, float]()
    if flags.engine == "local":
        costs = {p.name: measure_training(p, splits, flags.device) for p in needed}
        parts = estimate_seconds(evaluation, missing, costs)
        seconds = sum(parts.values())
        todo += f", at most {spoken(seconds)} at this machine's speed just now"
    names = ", ".join(pipeline.name for pipeline in plan.pipelines) or "own predictions"
    first = f" (from {plan.first_seed})" if plan.first_seed else ""
    lines = [
        f"data        {splits.name}: {len(splits.training):,} training, "
        f"{len(splits.unlabelled):,} unlabelled, {len(splits.validation):,} held out; "
        f"{len(splits.class_names)} classes, {splits.training.images.shape[2]} x "
        f"{splits.training.images.shape[1]} px",
        f"strategies  {', '.join(s or 'as the submission is set' for s in plan.strategies)}",
        f"pairs       {' '.join(map(str, plan.pairs))} (labels:minutes; {plan.conditions})",
        f"seeds       {plan.seeds} purchase{first} x {plan.training_seeds} training",
        f"pipelines   {names}",
        f"to do       {todo}",
    ]
    busy, cores = os.getloadavg()[0], os.cpu_count() or 1
    threads = torch.get_num_threads() if flags.engine == "local" else 1
    if missing and busy > cores and threads > 1:
        lines.append(
            f"            other work runs here (load {busy:.1f}, cores {cores}): "
            "OMP_NUM_THREADS=1 is often faster then; its scores are kept apart"
        )
    lines += [f"warning     {line}" for line in doubts(splits)]
    if again := evaluation.outdated():
        lines.append(
            f"            {again} trainings of these were made before by other code, settings or "
            f"threads (now: {device_name(flags.device)})"
        )
    if flags.plan and seconds:
        lines += [
            f"            {what}: {spoken(part)} ({part / seconds:.0%})"
            for what, part in parts.items()
        ]
    if seconds > LONG:
        lines += [
            "            that is long; for a first look in minutes:",
            "            python local_evaluation.py --recipe demo --pipeline quick --pairs 200:1 "
            "--strategy random entropy",
        ]
    print("\n".join(lines), file=sys.stderr)
