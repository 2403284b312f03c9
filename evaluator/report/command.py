"""`python -m evaluator report OUT...`: a page, and a table, of one or several evaluations."""

import argparse
import logging
from pathlib import Path

from evaluator.analysis.comparison import choose_baseline
from evaluator.analysis.loading import read_results
from evaluator.data.dataset import open_splits
from evaluator.report.page import write_page
from shared.atomic_io import write_file
from shared.console import show_result

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `report`."""
    parser.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="OUT",
        help="results folders of local_evaluation.py; several are joined",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the data set, to show what was bought"
    )
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="the strategy that the others are compared with (random, else the first)",
    )
    parser.add_argument(
        "--pairs", nargs="+", metavar="B:M", default=(), help="report these budget pairs only"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="page to write (OUT/report.html)")
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="also write every score as one row of a table"
    )
    parser.set_defaults(run=_report)


def _report(flags: argparse.Namespace) -> int:
    results = read_results(flags.folders, flags.pairs)
    baseline = ""
    if results.strategies or flags.baseline:
        baseline = choose_baseline(results.strategies, flags.baseline)
    splits = None
    if flags.data:
        splits = open_splits(flags.data)
    for notice in results.notices:
        logger.warning("%s", notice)
    if flags.csv:
        write_file(flags.csv, results.table.to_csv(index=False).encode("utf-8", "backslashreplace"))
        show_result(flags.csv)
    out = flags.html or flags.folders[0] / "report.html"
    page = write_page(results, out, baseline=baseline, splits=splits, folders=flags.folders)
    show_result(page)
    return 0
