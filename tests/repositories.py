"""Small real git repositories that hold a submission."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.conftest import REPO_ROOT

RUN = """
import numpy as np
from base_run import ZEWDPCBaseRun as Contract


class Run(Contract):
    def pre_training_phase(self, training_dataset, time_available=None, register_progress=None):
        self.classes = len(training_dataset[0]["label"])

    def purchase_phase(self, unlabelled_dataset, training_dataset, budget, time_available,
                       register_progress=None):
        return {i: unlabelled_dataset.purchase_label(i) for i in range(budget)}

    def prediction_phase(self, test_dataset, register_progress=None):
        return np.zeros((len(test_dataset), self.classes), dtype=np.uint8)


ZEWDPCBaseRun = Run
"""
AICROWD = '{"challenge_id": "c", "authors": ["somebody"], "description": "d", "gpu": true}'
GIT_FREE = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
IDENTITY = {
    "GIT_AUTHOR_NAME": "Somebody",
    "GIT_AUTHOR_EMAIL": "somebody@example.org",
    "GIT_COMMITTER_NAME": "Somebody",
    "GIT_COMMITTER_EMAIL": "somebody@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
}
ENVIRONMENT = {**GIT_FREE, **IDENTITY}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(folder: Path, files: dict[str, str | bytes] | None = None) -> None:
    """Write files and commit everything in the folder."""
    write(folder, files or {})
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", "a step")


def make_repository(folder: Path, files: dict[str, str | bytes] | None = None) -> Path:
    """A repository with a small submission that works, and `files` besides, committed."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    shutil.copy(REPO_ROOT / "base_run.py", folder)
    basic = {
        "run.py": RUN,
        "aicrowd.json": AICROWD,
        "requirements.txt": "numpy\n",
        "runtime.txt": "python-3.11",
    }
    commit(folder, {**basic, **(files or {})})
    return folder
