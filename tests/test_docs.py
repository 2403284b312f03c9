"""What the pages say holds: links lead somewhere, commands run, code blocks do what they claim.

A comment on the line before a fenced block says what the block is, and GitHub does not show it:

    <!-- bash-test -->              run by bash; `bash-test slow` where it takes over ten seconds
    <!-- python-test -->            run by Python
    <!-- file-test PATH -->         written to PATH first
    <!-- append-test PATH -->       added at the end of PATH
    <!-- insert-test PATH LINE -->  put into PATH, after the line LINE

The blocks of one page are run in their order, in one copy of the repository.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from fnmatch import fnmatch
from pathlib import Path

import pytest

from evaluator.__main__ import COMMANDS
from evaluator.cli import main
from evaluator.records.trial import PurchaseRecord, ScoreRecord
from evaluator.training.pipelines import PIPELINES
from tests.conftest import REPO_ROOT

NOT_OURS = ("data", "results", ".*")  # made here; what begins with a dot holds no page
PAGES = sorted(
    path
    for path in REPO_ROOT.rglob("*.md")
    if not any(
        fnmatch(part, made) for part in path.relative_to(REPO_ROOT).parts for made in NOT_OURS
    )
)
FENCE = re.compile(r"(?:^<!-- (?P<mark>.+?) -->\n)?^```\w*\n(?P<text>.*?)^```$", re.M | re.S)
MARKS = {"bash-test", "python-test", "file-test", "append-test", "insert-test"}


def name_of(page: Path) -> str:
    return str(page.relative_to(REPO_ROOT))


# Links


def prose(page: Path) -> str:
    """A page without its code blocks, whose brackets are no links."""
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings; the second of a name ends in -1."""
    seen: dict[str, int] = {}
    for title in re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        number = seen[anchor] = seen.get(anchor, -1) + 1
        if number:
            seen[f"{anchor}-{number}"] = 0
    return set(seen)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


# Blocks


@dataclass(frozen=True)
class Block:
    """One fenced block that a test runs or writes."""

    kind: str
    argument: str
    text: str

    @property
    def slow(self) -> bool:
        return self.kind == "bash-test" and self.argument == "slow"


def blocks(page: Path) -> list[Block]:
    marked = [
        (match["mark"].partition(" "), match["text"])
        for match in FENCE.finditer(page.read_text())
        if match["mark"]
    ]
    return [Block(kind, argument, text) for (kind, _, argument), text in marked]


def test_documentation_marks_are_known_and_have_a_block() -> None:
    for page in PAGES:
        assert {block.kind for block in blocks(page)} <= MARKS
        written = re.findall(r"^<!-- \w+-test", page.read_text(), flags=re.MULTILINE)
        assert len(written) == len(blocks(page)), name_of(page)


TESTED = [page for page in PAGES if blocks(page)]


def copy_repository(folder: Path) -> Path:
    """Every file but what was made here: environments, caches, data, results."""

    def left_out(directory: str, names: list[str]) -> set[str]:
        made_here = NOT_OURS if Path(directory) == REPO_ROOT else ()  # evaluator/data is code
        return {
            name
            for name in names
            if name == "__pycache__" or any(fnmatch(name, made) for made in made_here)
        }

    return shutil.copytree(REPO_ROOT, folder / "repository", ignore=left_out)


def carry_out(block: Block, repository: Path) -> None:
    """Run a block or write it; AssertionError with what it printed where it fails."""
    if block.kind in ("bash-test", "python-test"):
        shell = ["bash", "-euo", "pipefail", "-c"]
        command = (
            [*shell, block.text]
            if block.kind == "bash-test"
            else [sys.executable, "-c", block.text]
        )
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            command,
            cwd=repository,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(repository)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
        return
    path_word, _, line = block.argument.partition(" ")
    target = repository / path_word
    if block.kind == "file-test":
        target.write_text(block.text)
    elif block.kind == "append-test":
        target.write_text(target.read_text() + block.text)
    else:
        before, found, after = target.read_text().partition(f"{line}\n")
        assert found, f"{target} has no line {line!r}"
        target.write_text(before + found + block.text + after)


@pytest.mark.parametrize("page", TESTED, ids=name_of)
def test_documentation_blocks_run(page: Path, tmp_path: Path) -> None:
    repository = copy_repository(tmp_path)
    for block in blocks(page):
        if not block.slow:
            carry_out(block, repository)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in TESTED if any(block.slow for block in blocks(page))], ids=name_of
)
def test_documentation_slow_blocks_run(page: Path, tmp_path: Path) -> None:
    repository = copy_repository(tmp_path)
    for block in blocks(page):
        if block.slow or block.kind.startswith(("file", "append", "insert")):
            carry_out(block, repository)


def test_carry_out_fails_with_its_block(tmp_path: Path) -> None:
    for text in ("false", "false | true", "echo $unknown"):
        with pytest.raises(AssertionError):
            carry_out(Block("bash-test", "", text), tmp_path)
    with pytest.raises(AssertionError, match="IndexError"):
        carry_out(Block("python-test", "", "[][0]"), tmp_path)


# Words that stand for something in the code


@pytest.mark.parametrize(
    ("record", "file", "besides"),
    [
        (PurchaseRecord, "purchases.jsonl", set()),
        (ScoreRecord, "scores.jsonl", {"copied_from"}),
    ],
)
def test_documentation_contract_names_every_field_of_a_record(
    record: type, file: str, besides: set[str]
) -> None:
    page = (REPO_ROOT / "docs" / "contract.md").read_text()
    table = page.partition(f"`{file}`, one line per")[2].partition("| field |")[2]
    rows = re.findall(r"^\| (`.+?`) \|", table.partition("\n\n")[0], flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {field.name for field in fields(record)} | besides


def flags_in(page: Path) -> Iterator[str]:
    """The flags that a page gives to local_evaluation.py."""
    for line in page.read_text().replace("\\\n", " ").splitlines():
        for command in re.findall(r"local_evaluation\.py ([^`#]*)", line):
            yield from re.findall(r"(?<!\S)--[a-z-]+", command)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_documentation_names_only_flags_that_exist(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(flags_in(page)) <= known


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_documentation_names_only_commands_that_exist(page: Path) -> None:
    named = set(re.findall(r"python -m evaluator ([a-z]+)", page.read_text()))
    assert named <= set(COMMANDS)


def test_documentation_demo_equals_the_makefiles() -> None:
    made = (REPO_ROOT / "Makefile").read_text().replace("\\\n\t", "")
    demo = made.partition("DEMO := ")[2].splitlines()[0]
    typed = (REPO_ROOT / "README.md").read_text().replace("\\\n    ", "")
    commands = re.findall(r"^python local_evaluation.py (.+)$", typed, flags=re.MULTILINE)
    assert sorted(commands[0].split()) == sorted(demo.split())


def test_readme_names_every_pipeline() -> None:
    section = (REPO_ROOT / "README.md").read_text().partition("## How a submission is scored")[2]
    assert {name for name in PIPELINES if f"`{name}`" not in section} == set()
