"""Submissions that behave well but for what a test puts into them."""

import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

from evaluator.worker.bubblewrap import require
from shared.errors import ConfigurationError

WELL_BEHAVED = """
import os, sys, time, threading, subprocess, signal
import numpy as np
from base_run import ZEWDPCBaseRun as Contract

class Submission(Contract):
    def __init__(self, seed=0):
        self.seed = seed

    def pre_training_phase(self, training_dataset, time_available=None, register_progress=None):
        self.classes = len(training_dataset[0]["label"])
        {pre_training}

    def purchase_phase(self, unlabelled_dataset, training_dataset, budget, time_available,
                       register_progress=None):
        bought = {{}}
        {purchase}
        for i in range(budget):
            bought[i] = unlabelled_dataset.purchase_label(i)
        {after_purchase}
        return bought

    def prediction_phase(self, test_dataset, register_progress=None):
        predictions = np.zeros((len(test_dataset), self.classes), dtype=np.uint8)
        {prediction}
        return predictions

ZEWDPCBaseRun = Submission
{at_import}
"""
PLACES = ("pre_training", "purchase", "after_purchase", "prediction", "at_import")


def write_submission(folder: Path, source: str | None = None, **places: str) -> Path:
    """A run.py that behaves well but for what is put in at the given places."""
    if source is None:
        indents = {"at_import": ""}
        code = {
            place: textwrap.indent(
                textwrap.dedent(places.get(place, "pass")), indents.get(place, " " * 8)
            ).strip()
            for place in PLACES
        }
        source = WELL_BEHAVED.format(**code)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.py").write_text(source)
    return folder / "run.py"


def skip_without_bubblewrap() -> None:
    try:
        require()
    except ConfigurationError as error:
        pytest.skip(str(error))


def left_running() -> list[dict[str, Any]]:
    """This process's children and theirs, dead ones too that nobody has waited for.

    Not multiprocessing's resource tracker, which stays once a test has started workers.
    """
    family = [process.as_dict(["pid", "cmdline"]) for process in psutil.Process().children(True)]
    return [each for each in family if "resource_tracker" not in " ".join(each["cmdline"] or [])]
