"""submit.sh pushes one annotated tag of what is committed, or says why it does not."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPO_ROOT
from tests.repositories import ENVIRONMENT, commit, git, make_repository


@dataclass(frozen=True)
class Sides:
    """A submission's repository, and the bare one that it is pushed to."""

    ours: Path
    theirs: Path

    def submit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["./submit.sh", *arguments],
            cwd=self.ours,
            env={**ENVIRONMENT, "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    def tags(self) -> tuple[str, str]:
        return git(self.ours, "tag"), git(self.theirs, "tag")


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs.git"
    ours.mkdir()
    shutil.copy(REPO_ROOT / "submit.sh", ours)
    ignore = shutil.ignore_patterns("__pycache__")
    for package in ("core", "evaluator", "shared"):
        shutil.copytree(REPO_ROOT / package, ours / package, ignore=ignore)
    make_repository(ours, {".gitignore": "__pycache__/\n"})
    git(tmp_path, "init", "--quiet", "--bare", str(theirs))
    git(ours, "remote", "add", "aicrowd", str(theirs))
    return Sides(ours, theirs)


def test_submit_pushes_an_annotated_tag_once(sides: Sides) -> None:
    done = sides.submit("v1.0_a-b")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Submitted" in done.stdout
    tag = "submission-v1.0_a-b"
    assert sides.tags() == (tag, tag)
    assert git(sides.theirs, "cat-file", "-t", tag) == "tag"
    assert git(sides.theirs, "rev-parse", f"{tag}^{{commit}}") == git(
        sides.ours, "rev-parse", "HEAD"
    )

    again = sides.submit("v1.0_a-b")
    assert again.returncode == 1
    assert "the tag submission-v1.0_a-b exists already" in again.stderr
    git(sides.ours, "tag", "--delete", tag)
    from_afar = sides.submit("v1.0_a-b")
    assert from_afar.returncode == 1
    assert "exists at the remote already" in from_afar.stderr


def test_submit_refuses_a_commit_twice(sides: Sides) -> None:
    git(sides.ours, "tag", "submission-first")
    git(sides.ours, "tag", "no-submission")
    done = sides.submit("second")
    assert done.returncode == 1
    assert "this commit was submitted as submission-first" in done.stderr
    assert sides.tags() == ("no-submission\nsubmission-first", "")


def lose_the_remote(sides: Sides) -> None:
    git(sides.ours, "remote", "remove", "aicrowd")


def lose_the_other_side(sides: Sides) -> None:
    shutil.rmtree(sides.theirs)
    sides.theirs.mkdir()


def leave_a_change(sides: Sides) -> None:
    with (sides.ours / "run.py").open("a") as file:
        file.write("# one more thought\n")


def commit_weights(sides: Sides) -> None:
    commit(sides.ours, {"best.pth": "weights"})


REFUSED: dict[Callable[[Sides], None], str] = {
    lose_the_remote: "git remote add aicrowd ADDRESS",
    lose_the_other_side: "the remote 'aicrowd' does not answer",
    leave_a_change: "nothing was pushed: fix what is marked FAIL above",
    commit_weights: "nothing was pushed: fix what is marked FAIL above",
}


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_submit_refuses_with_the_reason_and_tags_nothing(
    spoil: Callable[[Sides], None], sides: Sides
) -> None:
    spoil(sides)
    done = sides.submit("first")
    assert done.returncode == 1
    assert REFUSED[spoil] in done.stderr
    assert git(sides.ours, "tag") == ""


@pytest.mark.parametrize(
    "arguments",
    [(), ("a", "b"), ("",), ("a b",), ("a/b",), ("é",), ("a..b",), ("a.lock",), ("$(id)",)],
    ids=str,
)
def test_submit_refuses_name(arguments: tuple[str, ...], sides: Sides) -> None:
    done = sides.submit(*arguments)
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "name" in done.stderr
    assert done.stdout == ""
    assert sides.tags() == ("", "")


def test_submit_refused_push_leaves_no_tag(sides: Sides) -> None:
    hook = sides.theirs / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'not today' >&2\nexit 1\n")
    hook.chmod(0o755)
    done = sides.submit("first")
    assert done.returncode == 1
    assert "not today" in done.stderr
    assert "The tag was taken back" in done.stderr
    assert sides.tags() == ("", "")
