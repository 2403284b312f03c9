"""`python -m evaluator package`: what would be pushed, run as the platform would run it.

The files that git has committed at HEAD go into a fresh folder, a mock of the organisers' evaluator
takes the place of `evaluator/` there, and the submission runs end to end on a few synthetic images.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from evaluator.checks.build_files import build_checks, requirements_check
from evaluator.checks.check import Check, add_json_flag, show
from evaluator.synthetic import RECIPES, generate
from evaluator.worker.process_tree import ProcessTree
from shared.errors import ConfigurationError

MOCK_EVALUATOR = Path(__file__).with_name("mock_evaluator.py")
BUDGET, SECONDS = 10, 60.0  # labels of the 40 in the pool; of compute
PATIENCE = 300.0  # seconds for the whole run
SUCCESS = "mock evaluator: "  # begins its last line; a submission can exit with code 0 as well
LARGEST = 10 * 2**20  # bytes of a file
WEIGHT_SUFFIXES = frozenset(
    {".pt", ".pth", ".pt2", ".ckpt", ".safetensors", ".torchscript", ".mar", ".onnx", ".tflite"}
    | {".h5", ".hdf5", ".keras", ".npy", ".npz", ".pkl", ".pickle", ".joblib"}
)
PLACEHOLDER = "your-aicrowd-username"
SHOWN = 5  # files named in one finding
LOG_LINES = 20  # shown of a run that failed
COMMIT = 'git add -A && git commit -m "what has changed"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `package`."""
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the package in this folder")
    add_json_flag(parser)
    parser.set_defaults(run=_run)


def _run(flags: argparse.Namespace) -> int:
    repository = repository_of(Path())
    if flags.out:
        return show(package(repository, flags.out), as_json=flags.json)
    with tempfile.TemporaryDirectory(prefix="zewdpc-package-") as folder:
        return show(package(repository, Path(folder)), as_json=flags.json)


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
    committed = committed_check(repository)  # before the package is made, maybe in the repository
    check_out_head(repository, folder)
    files = [*files_checks(folder)]
    replace_evaluator(folder)
    return [
        committed,
        *files,
        aicrowd_check(folder / "aicrowd.json"),
        requirements_check(folder),
        *build_checks(folder),
        run_check(folder),
    ]


def repository_of(folder: Path) -> Path:
    """The top folder of the git repository that `folder` is in, which has a commit."""
    top = Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    _git(top, "rev-parse", "--verify", "HEAD")
    return top


def check_out_head(repository: Path, folder: Path) -> None:
    """Write the files of HEAD into `folder`, as a clone has them.

    `git archive` would leave out files that .gitattributes marks `export-ignore`, and a push sends
    them.
    """
    with tempfile.TemporaryDirectory() as scratch:  # an index of its own leaves theirs alone
        index = str(Path(scratch) / "index")
        _git(repository, "read-tree", "HEAD", GIT_INDEX_FILE=index)
        target = f"--prefix={folder.resolve()}{os.sep}"
        _git(repository, "checkout-index", "--all", target, GIT_INDEX_FILE=index)


def replace_evaluator(folder: Path) -> None:
    """Put the mock evaluator in the place of `evaluator/`.

    Raises ConfigurationError where `evaluator` is committed and no folder.
    """
    theirs = folder / "evaluator"
    if theirs.is_symlink() or theirs.is_file():
        raise ConfigurationError(
            "evaluator-no-folder",
            "`evaluator` is committed as a file or a link, and the platform puts a folder of that "
            f"name in its place. Remove it: git rm evaluator, and {COMMIT}",
        )
    shutil.rmtree(theirs, ignore_errors=True)
    theirs.mkdir()
    (theirs / "__init__.py").write_text('"""A mock of the organisers\' evaluator."""\n')
    shutil.copy(MOCK_EVALUATOR, theirs / "__main__.py")


def committed_check(repository: Path) -> Check:
    """Whether HEAD is what lies in the folder."""
    listing = _git(repository, "status", "--porcelain", "--no-renames", "-z")
    entries = [(entry[:2], entry[3:]) for entry in listing.split("\0") if entry]
    changed = [path for state, path in entries if state != "??"]
    untracked = [path for state, path in entries if state == "??"]
    if changed:
        detail = f"changed since the last commit: {_some(changed)}"
        return Check("committed", "fail", detail, f"{COMMIT}, or git stash")
    if untracked:
        detail = f"never added to git, so not in the package: {_some(untracked)}"
        return Check("committed", "warn", detail, f"{COMMIT}, or a line in .gitignore")
    return Check("committed", "ok", "everything in the folder is committed")


def files_checks(folder: Path) -> Iterator[Check]:
    """Whether `folder` is free of weights and of large files."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    weights = [path for path in files if path.suffix.lower() in WEIGHT_SUFFIXES]
    large = [path for path in files if path.stat().st_size > LARGEST]
    for name, found, fine, advice in (
        ("weights", weights, f"none in {len(files)} files", "train in pre_training_phase"),
        ("file sizes", large, f"none is over {LARGEST / 2**20:g} MiB", "keep data outside git"),
    ):
        if found:
            paths = [str(path.relative_to(folder)) for path in found]
            fix = f"git rm --cached {shlex.join(paths)} && git commit -m {name!r}   # {advice}"
            yield Check(name, "fail", f"committed: {_some(paths)}", fix)
        else:
            yield Check(name, "ok", fine)


def aicrowd_check(file: Path) -> Check:
    """Whether aicrowd.json has what a submission needs."""
    name = "aicrowd.json"
    if not file.is_file():
        return Check(name, "fail", "it is not committed", f"git add {name} && git commit -m {name}")
    try:
        about = json.loads(file.read_bytes())
    except ValueError as error:
        return Check(name, "fail", f"it is not JSON: {error}", f"fix it, and {COMMIT}")
    if not isinstance(about, dict):
        return Check(name, "fail", "it is no JSON object", f"fix it, and {COMMIT}")
    wrong = [
        f"{key}: {expected}"
        for key, (right, expected) in FIELDS.items()
        if not right(about.get(key))
    ]
    if wrong:
        return Check(name, "fail", "; ".join(wrong), f"edit {name}, and {COMMIT}")
    authors = ", ".join(about["authors"])
    return Check(name, "ok", f"{about['challenge_id']}, by {authors}, gpu: {about['gpu']}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_authors(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(map(_is_text, value))
        and PLACEHOLDER not in value
    )


FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {  # of aicrowd.json: (right, expected)
    "challenge_id": (_is_text, "expected the challenge's name, a text"),
    "authors": (_are_authors, f'expected a list of your AIcrowd names, not "{PLACEHOLDER}"'),
    "description": (_is_text, "expected a text"),
    "gpu": (lambda value: isinstance(value, bool), "expected true or false"),
}


def run_check(folder: Path) -> Check:
    """Run the package end to end under the mock evaluator."""
    if not (folder / "run.py").is_file():
        return Check(
            "run", "fail", "run.py is not committed", "git add run.py && git commit -m run.py"
        )
    with tempfile.TemporaryDirectory(prefix="zewdpc-") as scratch:
        data = generate(RECIPES["debug"], Path(scratch) / "debug", workers=1, progress=False)
        log = Path(scratch) / "log"
        code = _run_mock_evaluator(folder, data, log)
        output = log.read_text(errors="replace")
    _, succeeded, result = output.rpartition(SUCCESS)  # more may follow, printed at exit
    if code == 0 and succeeded:
        return Check("run", "ok", result.partition("\n")[0])
    ended = f"took more than {PATIENCE:g} s" if code is None else f"ended with exit code {code}"
    end_of_log = "\n".join(output.splitlines()[-LOG_LINES:])
    fix = "python -m evaluator validate   # missing here: what is not committed, and our evaluator"
    return Check("run", "fail", f"the packaged submission {ended}\n{end_of_log}", fix)


def _run_mock_evaluator(folder: Path, data: Path, log: Path) -> int | None:
    """Its exit code; None where it took too long."""
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


def _some(found: Sequence[str]) -> str:
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return ", ".join([*found[:SHOWN], *more])


def _git(folder: Path, *arguments: str, **environment: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            check=False,
            env={**os.environ, **environment},
            errors="replace",  # paths are shown, never opened
        )
    except FileNotFoundError:
        raise ConfigurationError(
            "no-repository", "git is not installed, and what it pushes is asked for."
        ) from None
    if done.returncode:
        raise ConfigurationError(
            "no-repository",
            f"`git {' '.join(arguments)}` in {folder.absolute()} failed: {done.stderr.strip()}. "
            "What would be pushed is known only in a git repository that has a commit.",
        )
    return done.stdout
