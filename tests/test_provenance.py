"""A record says which code, libraries and processor made it, and no more than that."""

import re
import subprocess
from pathlib import Path

import pytest
import torch

from evaluator.records.provenance import FETCH_NOTHING, git_revision, library_versions
from evaluator.training.device import device_name


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_git_revision_marks_changes(tmp_path: Path) -> None:
    assert git_revision(tmp_path) == ""
    fresh = tmp_path / "repository"
    fresh.mkdir()
    git(fresh, "init", "--quiet")
    (fresh / "run.py").write_text("a = 1")
    git(fresh, "add", ".")
    git(fresh, "commit", "--quiet", "--message", "first")
    git(fresh, "tag", "v1")  # a tag is no revision: it can be moved
    commit = git(fresh, "rev-parse", "HEAD")
    assert git_revision(fresh) == commit[:12]
    (fresh / "run.py").write_text("a = 2")
    git_revision.cache_clear()
    assert git_revision(fresh) == commit[:12] + "+changes"


def repository_with_a_program(folder: Path) -> tuple[Path, Path, str]:
    """A commit, a program, and the file that the program makes when it runs."""
    git(folder, "init", "--quiet")
    program, ran = folder / "program", folder / "ran"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return program, ran, git(folder, "rev-parse", "HEAD")


def test_git_revision_untrusted_runs_no_program(tmp_path: Path) -> None:
    """Comparing files makes git run the program that the repository's own settings name."""
    program, ran, commit = repository_with_a_program(tmp_path)
    git(tmp_path, "config", "core.fsmonitor", str(program))
    assert git_revision(tmp_path, trusted=False) == commit[:12]
    assert not ran.exists()
    git_revision(tmp_path)
    assert ran.exists(), "else this test would have shown nothing"


@pytest.mark.parametrize("old_git", [False, True])
def test_git_revision_untrusted_fetches_nothing(
    old_git: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, ran, commit = repository_with_a_program(tmp_path)
    (tmp_path / ".git" / "objects" / commit[:2] / commit[2:]).unlink()
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": str(tmp_path),
        "remote.origin.uploadpack": str(program),
    }.items():
        git(tmp_path, "config", name, value)
    if old_git:
        monkeypatch.delitem(FETCH_NOTHING, "GIT_NO_LAZY_FETCH")
    assert git_revision(tmp_path, trusted=False) == ""
    assert not ran.exists()
    git_revision(tmp_path)
    assert ran.exists(), "else this test would have shown nothing"


def test_stamp_versions_and_device() -> None:
    assert library_versions()["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert re.search(rf", {torch.get_num_threads()} threads?$", device_name("cpu"))
