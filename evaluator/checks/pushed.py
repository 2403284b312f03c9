"""What a push would send: the files committed at HEAD, and those of the commits before it."""

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluator.errors import ConfigurationError


@dataclass(frozen=True)
class Blob:
    """A file's content in git. `at_head`: it is in the last commit, not only in earlier ones."""

    path: str
    digest: str
    size: int  # bytes
    at_head: bool


@dataclass(frozen=True)
class Uncommitted:
    """Paths that differ from HEAD, and paths that git has never been told of."""

    changed: tuple[str, ...]
    untracked: tuple[str, ...]


def repository_of(folder: Path) -> Path:
    """The top folder of the git repository that `folder` is in, which has a commit."""
    top = Path(_git(folder, "rev-parse", "--show-toplevel").decode().strip())
    _git(top, "rev-parse", "--verify", "HEAD")
    return top


def uncommitted(repository: Path) -> Uncommitted:
    listing = _text(_git(repository, "status", "--porcelain", "--no-renames", "-z"))
    entries = [(entry[:2], entry[3:]) for entry in listing.split("\0") if entry]
    return Uncommitted(
        tuple(path for state, path in entries if state != "??"),
        tuple(path for state, path in entries if state == "??"),
    )


def check_out_head(repository: Path, folder: Path) -> None:
    """Write the files of HEAD into `folder`, as a clone would have them."""
    with tempfile.TemporaryDirectory() as scratch:  # an index of its own leaves theirs alone
        environment = {**os.environ, "GIT_INDEX_FILE": str(Path(scratch) / "index")}
        _git(repository, "read-tree", "HEAD", environment=environment)
        target = f"--prefix={folder.resolve()}{os.sep}"
        _git(repository, "checkout-index", "--all", target, environment=environment)


def pushed_blobs(repository: Path) -> list[Blob]:
    """Every file of HEAD, and every other content that its history has."""
    blobs = []
    listing = _text(_git(repository, "ls-tree", "-r", "-z", "--long", "HEAD"))
    for entry in listing.split("\0"):
        about, _, path = entry.partition("\t")
        if about.split()[1:2] == ["blob"]:
            _, _, digest, size = about.split()
            blobs.append(Blob(path, digest, int(size), at_head=True))
    known = {blob.digest for blob in blobs}
    objects = _git(repository, "rev-list", "--objects", "HEAD")
    pattern = "--batch-check=%(objecttype) %(objectname) %(objectsize) %(rest)"
    everything = _text(_git(repository, "cat-file", pattern, given=objects))
    for line in everything.rstrip("\n").split("\n"):
        kind, digest, size, path = line.split(" ", 3)
        if kind == "blob" and digest not in known:
            blobs.append(Blob(path, digest, int(size), at_head=False))
    return blobs


def contents(repository: Path, blobs: Iterable[Blob]) -> Iterator[tuple[Blob, bytes]]:
    """The bytes of each blob, one after another, so that a large history fits into memory."""
    command = ["git", "-C", str(repository), "cat-file", "--batch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for blob in blobs:
            process.stdin.write(f"{blob.digest}\n".encode())
            process.stdin.flush()
            process.stdout.readline()  # "DIGEST blob SIZE"
            yield blob, process.stdout.read(blob.size + 1)[:-1]


def _text(output: bytes) -> str:
    """Paths are shown, never opened: one that is not UTF-8 need only be recognisable."""
    return output.decode(errors="replace")


def _git(
    folder: Path,
    *arguments: str,
    given: bytes = b"",
    environment: dict[str, str] | None = None,
) -> bytes:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, check=False, env=environment
        )
    except FileNotFoundError:
        raise ConfigurationError(
            "no-repository", "git is not installed, and what it pushes is asked for."
        ) from None
    if done.returncode:
        said = _text(done.stderr).strip()
        raise ConfigurationError(
            "no-repository",
            f"`git {' '.join(arguments)}` in {folder.absolute()} failed: {said}. What would be "
            "pushed is known only in a git repository that has a commit.",
        )
    return done.stdout
