"""`python -m evaluator package`: what would be pushed, run as the platform would run it.

The files that git has committed at HEAD go into a fresh folder, the organisers' stand-in replaces
`evaluator/` there, and the submission runs end to end on a few painted sheets. What must not be
pushed is refused, whether it is in the last commit or in an earlier one.
"""

import argparse
import itertools
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evaluator.checks.checks import Check, add_json_flag, show
from evaluator.checks.imports import UnreadableError, unlisted_packages
from evaluator.checks.pushed import (
    Blob,
    check_out_head,
    contents,
    pushed_blobs,
    repository_of,
    uncommitted,
)
from evaluator.checks.refusals import LARGEST, secret_in, weights_in
from evaluator.errors import ConfigurationError
from evaluator.synthetic import RECIPES, generate
from evaluator.worker.process_tree import ProcessTree

STAND_IN = Path(__file__).with_name("stand_in.py")
BUDGET, SECONDS = 10, 60.0  # labels of the 40 in the pool; of compute
PATIENCE = 300.0  # seconds for the whole run
DONE = "stand-in: "  # begins what it says at the end; a submission can exit with code 0 as well
PLACEHOLDER = "your-aicrowd-username"
SHOWN = 5  # files named per refusal
LOG_LINES = 20  # shown of a run that failed
CLEAN = """\
git checkout --orphan clean && git commit -m "as it is now"   # a branch without earlier commits"""
COMMIT = 'git add -A && git commit -m "what has changed"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `package`."""
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the package in this folder")
    add_json_flag(parser)
    parser.set_defaults(run=_run)


def package(repository: Path, folder: Path) -> list[Check]:
    """Build the package in `folder` and check it.

    Raises ConfigurationError where `folder` is not empty or cannot be made, or there is no commit
    to package.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as error:
        raise ConfigurationError(
            "cannot-write", f"--out {folder} cannot be written ({error}). Give a folder elsewhere."
        ) from error
    if taken:
        raise ConfigurationError(
            "folder-taken", f"--out {folder} is not empty. Choose another, or remove it."
        )
    committed = committed_check(repository)  # before there is a package, maybe in the repository
    build(repository, folder)
    return [
        committed,
        *refusal_checks(repository),
        aicrowd_check(folder / "aicrowd.json"),
        requirements_check(folder),
        run_check(folder),
    ]


def build(repository: Path, folder: Path) -> None:
    """Write the files of HEAD into `folder`, with the stand-in in the place of `evaluator/`.

    Raises ConfigurationError where `evaluator` is committed and no folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_out_head(repository, folder)
    theirs = folder / "evaluator"
    if theirs.is_symlink() or theirs.is_file():
        raise ConfigurationError(
            "evaluator-no-folder",
            "`evaluator` is committed as a file or a link, and the platform puts a folder of that "
            f"name in its place. Remove it: git rm evaluator, and {COMMIT}",
        )
    shutil.rmtree(theirs, ignore_errors=True)
    theirs.mkdir()
    (theirs / "__init__.py").write_text('"""A stand-in for the organisers\' evaluator."""\n')
    shutil.copy(STAND_IN, theirs / "__main__.py")


def committed_check(repository: Path) -> Check:
    """Whether HEAD is what lies in the folder."""
    found = uncommitted(repository)
    if found.changed:
        detail = f"changed since the last commit: {_some(found.changed)}"
        return Check("committed", "fail", detail, f"{COMMIT}, or git stash")
    if found.untracked:
        detail = f"never added to git, so not in the package: {_some(found.untracked)}"
        return Check("committed", "warn", detail, f"{COMMIT}, or a line in .gitignore")
    return Check("committed", "ok", "everything in the folder is committed")


def refusal_checks(repository: Path) -> list[Check]:
    """No weights, no large files, no secrets: in HEAD, and in the commits that go along."""
    blobs = pushed_blobs(repository)
    large = [(blob, f"{blob.size / 2**20:.1f} MiB") for blob in blobs if blob.size > LARGEST]
    unread = [(blob, b"") for blob, _ in large]
    read = contents(repository, [blob for blob in blobs if blob.size <= LARGEST])
    weights, secrets = [], []
    for blob, content in itertools.chain(unread, read):
        if why := weights_in(blob.path, content):
            weights.append((blob, why))
        if why := secret_in(blob.path, content):
            secrets.append((blob, why))
    limit = f"{LARGEST / 2**20:g} MiB"
    return [
        _refusal("weights", weights, f"none in {len(blobs)} files", "train in pre_training_phase"),
        _refusal("file sizes", large, f"none is over {limit}", "data does not belong in git"),
        _refusal("secrets", secrets, "none of a known form", "revoke it: others may have it"),
    ]


def aicrowd_check(file: Path) -> Check:
    """Whether aicrowd.json has what a submission needs."""
    name = "aicrowd.json"
    if not file.is_file():
        return Check(name, "fail", "it is not committed", f"git add {name} && git commit -m {name}")
    try:
        about = json.loads(file.read_text())
    except ValueError as error:
        return Check(name, "fail", f"it is not JSON: {error}", f"fix it, and {COMMIT}")
    if not isinstance(about, dict):
        return Check(name, "fail", "it is no JSON object", f"fix it, and {COMMIT}")
    wrong = [f"{key}: {says}" for key, (right, says) in FIELDS.items() if not right(about.get(key))]
    if wrong:
        return Check(name, "fail", "; ".join(wrong), f"edit {name}, and {COMMIT}")
    authors = ", ".join(about["authors"])
    return Check(name, "ok", f"{about['challenge_id']}, by {authors}, gpu: {about['gpu']}")


def requirements_check(folder: Path) -> Check:
    """Whether requirements.txt names what the submission imports."""
    name = "requirements"
    try:
        unlisted = unlisted_packages(folder)
    except UnreadableError as error:
        return Check(name, "fail", str(error), f"{error.fix}, and {COMMIT}")
    if unlisted:
        detail = f"imported, but not in requirements.txt: {', '.join(unlisted)}"
        return Check(name, "warn", detail, f"a line each in requirements.txt, and {COMMIT}")
    return Check(name, "ok", "requirements.txt names every package that is imported")


def run_check(folder: Path) -> Check:
    """Run the package end to end under the organisers' stand-in."""
    if not (folder / "run.py").is_file():
        return Check(
            "run", "fail", "run.py is not committed", "git add run.py && git commit -m run.py"
        )
    with tempfile.TemporaryDirectory(prefix="zewdpc-") as scratch:
        data = generate(RECIPES["debug"], Path(scratch) / "debug", workers=1, progress=False)
        log = Path(scratch) / "log"
        code = _stand_in(folder, data, log)
        said = log.read_text(errors="replace")
    _, done, result = said.rpartition(DONE)  # more may follow, from what a submission does at exit
    if code == 0 and done:
        return Check("run", "ok", result.splitlines()[0])
    said = "\n".join(said.splitlines()[-LOG_LINES:])
    ended = f"took more than {PATIENCE:g} s" if code is None else f"ended with exit code {code}"
    fix = "python -m evaluator validate   # missing here: what is not committed, and our evaluator"
    return Check("run", "fail", f"the packaged submission {ended}\n{said}", fix)


def _stand_in(folder: Path, data: Path, log: Path) -> int | None:
    command = [sys.executable, "-m", "evaluator", str(data)]
    command += ["--budget", str(BUDGET), "--seconds", str(SECONDS)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # the package stays as it was pushed
    with log.open("wb") as output:
        tree = ProcessTree(command, cwd=folder, env=environment, output=output, pass_fds=[])
        try:
            return tree.wait(PATIENCE)
        finally:
            tree.kill()


def _run(flags: argparse.Namespace) -> int:
    repository = repository_of(Path())
    if flags.out:
        return show(package(repository, flags.out), as_json=flags.json)
    with tempfile.TemporaryDirectory(prefix="zewdpc-package-") as folder:
        return show(package(repository, Path(folder)), as_json=flags.json)


def _refusal(name: str, found: list[tuple[Blob, str]], fine: str, advice: str) -> Check:
    if not found:
        return Check(name, "ok", fine)
    told = [
        f"{blob.path}{'' if blob.at_head else ' (in an earlier commit)'}: {why}"
        for blob, why in found
    ]
    paths = shlex.join(blob.path for blob, _ in found if blob.at_head)
    steps = [f"git rm --cached {paths}   # {advice}"] if paths else []
    # A commit that removes a file leaves it in the ones before, and they are pushed too.
    steps += [CLEAN]
    return Check(name, "fail", _some(told, "\n"), "\n".join(steps))


def _some(found: Sequence[str], separator: str = ", ") -> str:
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return separator.join([*found[:SHOWN], *more])


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _authors(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(map(_text, value))
        and PLACEHOLDER not in value
    )


FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {  # of aicrowd.json: (right, what is wanted)
    "challenge_id": (_text, "expected the challenge's name, a text"),
    "authors": (_authors, f'expected a list of your AIcrowd names, not "{PLACEHOLDER}"'),
    "description": (_text, "expected a text"),
    "gpu": (lambda value: isinstance(value, bool), "expected true or false"),
}
