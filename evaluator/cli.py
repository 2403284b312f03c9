"""`local_evaluation.py`: submissions x strategies x budgets x seeds -> a leaderboard."""

import json
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TypeGuard

import torch
from tabulate import tabulate

from evaluator.analysis.comparison import choose_baseline
from evaluator.analysis.leaderboard import leaderboard, render
from evaluator.analysis.loading import machine_notices
from evaluator.analysis.rank_agreement import rank_agreement, render_rank_agreement
from evaluator.analysis.results import Results
from evaluator.analysis.variance_components import components, render_components
from evaluator.data.dataset import Splits, open_splits
from evaluator.experiment.config import (
    DATA,
    OFFICIAL,
    RESULTS,
    RUNNER_CONDITIONS,
    EvaluationConfig,
)
from evaluator.experiment.estimate import announce
from evaluator.experiment.evaluation import Evaluation
from evaluator.experiment.flags import parser
from evaluator.experiment.plan import POOL, Plan, scaled_pairs
from evaluator.experiment.scheduler import TrialExecutor, run
from evaluator.experiment.submissions import Submission, find_submissions
from evaluator.experiment.t4_scaling import read_calibration
from evaluator.records.journal import COMMANDS, Journal, sole_writer
from evaluator.synthetic import RECIPES, Recipe, generate
from evaluator.training.device import device_name, thread_limit
from evaluator.training.scoring import Scorer
from evaluator.worker.bubblewrap import require
from shared.console import configure_logging, event, event_log, run_command, show_result
from shared.errors import ConfigurationError
from shared.formatting import format_duration
from shared.images.class_coverage import absent_classes, macro_f1_bound

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate as the flags say. Returns 0 only if every trial ended "ok"."""
    words = sys.argv[1:] if arguments is None else arguments
    flags = parser().parse_args(words)

    def command() -> int:
        configure_logging(flags)
        config = EvaluationConfig.from_flags(flags, words)
        if config.runner == "bubblewrap":
            require()
        if flags.list:
            return list_strategies(config)
        with thread_limit(config.task_threads):
            return evaluate(config, plan_only=flags.plan)

    return run_command(command, stopped="Stopped. Run the same command again to resume.")


def evaluate(config: EvaluationConfig, *, plan_only: bool = False) -> int:
    """Make the plan, run it, show the results; the exit code."""
    submissions = find_submissions(config.submissions)
    runner = config.make_runner()
    for submission in submissions:
        variants = [{"strategy": strategy, "seed": 0} for strategy in config.strategies]
        runner.preflight(submission.path, variants)
    splits = open_data(config)
    plan = make_plan(config, submissions, splits)
    baseline = choose_baseline(plan.labels(), config.baseline)
    out = config.out or RESULTS / splits.name
    # Reading a journal whose last line is being written would cut that line off.
    with nullcontext() if plan_only and not out.exists() else sole_writer(out):
        scorer = Scorer(splits, weights=config.weights, device=config.device, steps=config.steps)
        runner = config.make_runner(hidden=(splits.root, out))
        evaluation = Evaluation(plan, out, scorer, runner)
        announcement = announce(
            evaluation, config.device, estimated=config.engine == "local", in_detail=plan_only
        )
        if plan_only:
            show_result(announcement)
            return 0
        with event_log(out):
            logger.info("%s", announcement, extra=event("plan", command=config.command))
            record_command(config, evaluation)
            started = time.monotonic()
            run(evaluation, make_executor(config, evaluation), progress=config.progress)
            return show_results(config, evaluation, baseline, time.monotonic() - started)


def make_plan(
    config: EvaluationConfig, submissions: tuple[Submission, ...], splits: Splits
) -> Plan:
    """The plan for this data set. Raises ConfigurationError for a budget larger than its pool."""
    pairs, conditions = config.pairs, config.conditions()
    share = len(splits.unlabelled) / POOL
    if config.scale_to_data and share < 1:
        pairs = scaled_pairs(pairs, share)
        conditions += f", budgets x {share:g}"
    if config.hardware == "t4":
        found = read_calibration(config.calibration, device_name(config.device))
        pairs = found.scale_pairs(pairs)
        conditions += f", minutes of a T4 / {found.speed_ratio:.3g}"
    conditions += RUNNER_CONDITIONS.get(config.runner, "")
    for pair in pairs:
        if pair.budget > len(splits.unlabelled):
            raise ConfigurationError(
                "budget-past-pool",
                f"--pairs {pair}: {pair.budget} labels are more than the {len(splits.unlabelled)} "
                f"images in the pool of {splits.name}. Choose a smaller budget, or add "
                "--scale-to-data.",
            )
    return Plan(
        splits,
        submissions,
        config.strategies,
        pairs,
        config.seeds,
        config.training_seeds,
        config.pipelines,
        config.reference_seeds,
        conditions,
        config.references,
        config.first_seed,
    )


def open_data(config: EvaluationConfig) -> Splits:
    """The data set that was asked for; without a flag the official one, else a synthetic one."""
    if config.data:
        return open_splits(config.data, workers=config.workers, progress=config.progress)
    if not config.recipe and OFFICIAL.is_dir():
        return open_splits(OFFICIAL, workers=config.workers, progress=config.progress)
    recipe = config.recipe or ("round1" if config.round == 1 else "round2")
    folder = DATA / f"sheets-{recipe}"
    if not folder.is_dir():
        logger.info("Generating %s into %s (once).", _amount(RECIPES[recipe]), folder)
    try:
        generate(RECIPES[recipe], folder, workers=config.workers, progress=config.progress)
    except ConfigurationError as error:
        if error.code != "folder-taken":
            raise
        raise ConfigurationError(
            "folder-taken",
            f"{folder} holds other images than --recipe {recipe} draws today (another version, "
            f"seed or size); remove it, or evaluate what it holds with --data {folder}",
        ) from error
    return open_splits(folder, workers=config.workers, progress=config.progress)


def _amount(recipe: Recipe) -> str:
    n = recipe.training + recipe.unlabelled + recipe.validation
    decoded = n * recipe.size**2 * 3 / 1e6  # JPEG makes about a third of it
    return (
        f"{n:,} synthetic images ({recipe.name!r}, {4 / 3 * decoded:,.0f} MB with a decoded copy)"
    )


def make_executor(config: EvaluationConfig, evaluation: Evaluation) -> TrialExecutor | None:
    """Where tasks run; None is this process."""
    if config.engine == "local":
        return None
    try:
        from evaluator.experiment.ray_executor import RayExecutor, Resources
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ConfigurationError(
            "missing-requirement",
            "--engine ray needs Ray, which is not installed: "
            "pip install -r requirements-cluster.txt",
        ) from error
    resources = Resources(config.cpus_per_trial, config.gpus_per_trial, config.ray_address)
    return RayExecutor(evaluation, resources)


def record_command(config: EvaluationConfig, evaluation: Evaluation) -> None:
    """Keep the command and what it evaluates with, unless the last one was the same and is done."""
    plan, commands = evaluation.plan, Journal(evaluation.out / COMMANDS)
    evaluated = {
        "dataset": plan.splits.name,
        "fingerprint": plan.splits.fingerprint,
        "class_names": list(plan.splits.class_names),
        "never_held_out": list(_never_held_out(plan.splits)),
        "code": plan.submissions[0].code,
        "submissions": {one.name: one.code for one in plan.submissions},
        "conditions": plan.conditions,
        "configurations": {p.name: evaluation.scorer.configuration(p) for p in plan.pipelines},
    }
    last = commands.records[-1] if commands.records else {}
    if any(evaluation.missing()) or {**last, **evaluated} != last:
        began = datetime.now(UTC).isoformat(timespec="seconds")
        threads = torch.get_num_threads()
        typed = {"command": list(config.command), "started": began, "threads": threads}
        commands.append(typed | evaluated)


def _never_held_out(splits: Splits) -> tuple[str, ...]:
    return absent_classes(splits.validation.labels, splits.class_names)


def show_results(
    config: EvaluationConfig, evaluation: Evaluation, baseline: str, seconds: float
) -> int:
    """Print the tables, write the page; 0 only if every trial ended "ok"."""
    plan = evaluation.plan
    trials = tuple(evaluation.results())
    notices = machine_notices(
        {**trial.purchase, "strategy": trial.strategy} for trial in trials if trial.purchase
    )
    if bound := macro_f1_bound(_never_held_out(plan.splits), len(plan.splits.class_names)):
        notices.append(f"In {plan.splits.name} {bound}.")
    results = Results(plan.splits.name, trials, tuple(notices))
    rows = leaderboard(results.table, baseline)
    if config.as_json:
        show_result(json.dumps([row.as_json() for row in rows], indent=2))
    else:
        seeds = "1 seed" if plan.seeds == 1 else f"{plan.seeds} seeds"
        show_result(f"\n{plan.splits.name}, {seeds}, {format_duration(seconds)}\n")
        show_result(render(rows, plan.pairs, baseline))
        for pipeline in dict.fromkeys(row.pipeline for row in rows):
            own = [row for row in rows if row.pipeline == pipeline]
            if found := components(own, baseline):
                title = f"{pipeline}, variance components"
                show_result(f"\n{title}\n{render_components(found, baseline)}")
        if agreement := rank_agreement(rows):
            show_result(f"\n{render_rank_agreement(agreement)}")
        show_result(f"\nJournals and logs: {evaluation.out}")
    for line in (*notices, *evaluation.failures()):
        logger.warning("%s", line)
    # Imported here: Matplotlib and Jinja2 take half a second that --plan and --list need not pay.
    from evaluator.report.page import write_page

    page = write_page(
        results,
        evaluation.out / "report.html",
        baseline=baseline,
        splits=plan.splits,
        folders=[evaluation.out],
    )
    if not config.as_json:
        show_result(f"Report: {page}")
    return 1 if any(row.failures or not row.n for row in rows) else 0


def list_strategies(config: EvaluationConfig) -> int:
    """Print the strategies that the submission describes."""
    (submission, *_) = find_submissions(config.submissions)
    described = config.make_runner(hidden=()).preflight(submission.path, []).strategies
    if not _is_list_of_strategies(described):
        raise ConfigurationError(
            "no-strategy-list",
            f"{submission.path} does not describe its strategies: it has no function "
            "`describe_strategies()` that returns a list of {name, summary, source}.",
        )
    if config.as_json:
        show_result(json.dumps(described, indent=2))
    else:
        rows = [[entry["name"], _what(entry), entry["source"]] for entry in described]
        header = ["strategy", "what it buys", "source"]
        show_result(tabulate(rows, header, maxcolwidths=[None, 70, 40]))
    return 0


def _what(entry: dict[str, str]) -> str:
    parameters = entry.get("parameters")
    return entry["summary"] + (f"\nparameters: {parameters}" if parameters else "")


def _is_list_of_strategies(described: object) -> TypeGuard[list[dict[str, str]]]:
    """Whether a submission, which may return anything, described its strategies as it should."""
    words = ("name", "summary", "source")
    return isinstance(described, list) and all(
        isinstance(entry, dict) and all(isinstance(entry.get(word), str) for word in words)
        for entry in described
    )
