"""The submissions of an evaluation: where their code is, their names, whether they changed."""

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from shared.atomic_io import atomic_directory
from shared.errors import ConfigurationError

CHECKOUTS = Path("build/submissions")  # the code of commits, by their hash


@dataclass(frozen=True)
class Submission:
    """A run.py to evaluate; `name` tells it from others that it is compared with."""

    path: Path
    name: str = ""

    @cached_property
    def code(self) -> str:
        """The digest of its files as they were when this was first asked for."""
        return submission_digest(self.path)


def find_submissions(words: Sequence[str]) -> tuple[Submission, ...]:
    """What `--submission` names: paths of run.py, and PATH@REVISION for the code of a commit.

    Raises ConfigurationError for a revision that git does not know.
    """
    return name_submissions([_path_of(word) for word in words])


def name_submissions(paths: Sequence[Path]) -> tuple[Submission, ...]:
    """Each path once; named by folder (or file, where it is no run.py) where there are several."""
    distinct = list({path.resolve(): path for path in paths}.values())
    if len(distinct) == 1:
        return (Submission(distinct[0]),)
    parts = [_name_parts(path) for path in distinct]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-depth:]) for own in parts]
        if len(set(names)) == len(names):
            break
    return tuple(Submission(path, name) for path, name in zip(distinct, names, strict=True))


def _name_parts(path: Path) -> tuple[str, ...]:
    parts = path.resolve().with_suffix("").parts[1:]
    return parts[:-1] if path.name == "run.py" and len(parts) > 1 else parts


def _path_of(word: str) -> Path:
    path, at, revision = word.rpartition("@")
    if not at or Path(word).exists():
        return Path(word)
    return checkout(Path(path), revision)


def checkout(run_py: Path, revision: str) -> Path:
    """`run_py` as it was in a commit, with everything beside it, in a folder of that commit."""
    here = run_py.resolve()
    top = Path(os.fsdecode(_git(run_py, revision, here.parent, "rev-parse", "--show-toplevel")))
    named = f"{revision}^{{commit}}"
    commit = _git(
        run_py, revision, top, "rev-parse", "--verify", "--end-of-options", named
    ).decode()
    folder = CHECKOUTS / commit[:12]
    if not folder.exists():
        archive = _git(run_py, revision, top, "archive", "--format=tar", commit)
        with atomic_directory(folder) as made, tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(made, filter="data")
    return folder / here.relative_to(top)


def _git(run_py: Path, revision: str, folder: Path, *words: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    except OSError as error:
        raise _no_revision(run_py, revision, str(error)) from error
    if done.returncode:
        raise _no_revision(run_py, revision, done.stderr.decode(errors="backslashreplace").strip())
    return done.stdout.removesuffix(b"\n")


def _no_revision(run_py: Path, revision: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        "no-revision",
        f"--submission {run_py}@{revision}: git has no such commit of it ({why}). Give a path of "
        "a run.py in a git repository, @ and a commit, tag or branch: run.py@HEAD~1.",
    )


def submission_digest(run_py: Path) -> str:
    """Changes when the code or configuration beside `run_py` changes.

    Covers the .py and .toml files in its folder and up to three levels of packages below,
    leaving out what is hidden and, beside `run_py`, the evaluator, tests, data and results.
    """
    folder = run_py.resolve().parent
    skipped = {"evaluator", "tests", "benchmarks", "docs", "data", "results", "build", "logs"}
    skipped |= {"examples", "labelling", "local_evaluation.py", "choose.py", "label.py"}
    digest = hashlib.blake2b(digest_size=6)
    for depth in range(4):
        for path in sorted(folder.glob("*/" * depth + "*")):
            parts = path.relative_to(folder).parts
            hidden = parts[0] in skipped or any(part.startswith(".") for part in parts)
            if path.suffix in (".py", ".toml") and path.is_file() and not hidden:
                digest.update(os.fsencode("/".join(parts)) + b"\0" + path.read_bytes())
    return digest.hexdigest()
