"""What would be pushed is built, run by a mock evaluator, and refused where it must not go out."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluator.checks import package as packaging
from evaluator.checks.package import (
    LARGEST,
    aicrowd_check,
    check_out_head,
    committed_check,
    files_checks,
    package,
    replace_evaluator,
    run_check,
)
from shared.errors import ConfigurationError
from tests.conftest import REPO_ROOT
from tests.repositories import AICROWD, RUN, commit, git, make_repository, write

FILES: dict[str, tuple[dict[str, str | bytes], str, str]] = {
    # case: (files, the check that fails, words of its detail)
    "weights": ({"a b/best.pth": b"x"}, "weights", "committed: a b/best.pth"),
    "weights by another suffix": ({"models/best.SAFETENSORS": b"x"}, "weights", "best.SAFETENSORS"),
    "an array": ({"features.npz": b"x"}, "weights", "features.npz"),
    "large weights": ({"best.pth": b"x" * (LARGEST + 1)}, "weights", "best.pth"),
    "a large file": ({"pool.tar": b"x" * (LARGEST + 1)}, "file sizes", "committed: pool.tar"),
    "a large file of the evaluator": (
        {"evaluator/pool.tar": b"x" * (LARGEST + 1)},
        "file sizes",
        "evaluator/pool.tar",
    ),
    "not in an archive of git's": (
        {"best.pth": b"x", ".gitattributes": "best.pth export-ignore"},
        "weights",
        "best.pth",
    ),
    "many": ({f"{n}.pt": b"x" for n in range(9)}, "weights", "0.pt, 1.pt, 2.pt, 3.pt, 4.pt, and 4"),
    "an odd name": ({"a\u2028b\nc.pth": b"x"}, "weights", "a\u2028b\nc.pth"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_checks_refuse_weights_and_large_files(case: str, tmp_path: Path) -> None:
    files, name, words = FILES[case]
    repository = make_repository(tmp_path / "repository", files)
    check_out_head(repository, tmp_path / "out")
    checks = {check.name: check for check in files_checks(tmp_path / "out")}
    assert checks[name].status == "fail"
    assert words in checks[name].detail
    assert checks[name].fix.startswith("git rm --cached ")
    assert all(shlex.quote(path) in checks[name].fix for path in files if path[0] != ".")


def test_files_checks_pass_sources_and_small_files(tmp_path: Path) -> None:
    write(tmp_path, {"run.py": RUN, "a.json": "{}", "a.png": bytes(LARGEST), "a/__init__.py": ""})
    (tmp_path / "link.txt").symlink_to("/nowhere")
    assert [check.status for check in files_checks(tmp_path)] == ["ok", "ok"]


def test_committed_check_and_check_out_head_of_uncommitted_files(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository", {"strategies/a.py": "A = 1"})
    assert committed_check(repository).status == "ok"
    write(repository, {"strategies/b.py": "", "scratch dir/c.py": ""})
    found = committed_check(repository)
    assert (found.status, found.detail.split(": ")[1]) == ("warn", "scratch dir/, strategies/b.py")
    write(repository, {"strategies/a.py": "A = 2"})
    found = committed_check(repository)
    assert (found.status, found.detail) == (
        "fail",
        "changed since the last commit: strategies/a.py",
    )
    check_out_head(repository, tmp_path / "built")
    assert (tmp_path / "built" / "strategies" / "a.py").read_text() == "A = 1"
    assert not (tmp_path / "built" / "strategies" / "b.py").exists()
    assert git(repository, "status", "--short").startswith("M strategies/a.py")


def test_replace_evaluator_leaves_nothing_of_ours(tmp_path: Path) -> None:
    evaluator_files = {"evaluator/__init__.py": "", "evaluator/worker/vault.py": "LABELS = 1"}
    repository = make_repository(tmp_path / "repository", evaluator_files)
    (repository / "submit.sh").write_text("#!/bin/sh\n")
    (repository / "submit.sh").chmod(0o755)
    commit(repository)
    check_out_head(repository, tmp_path / "built")
    replace_evaluator(tmp_path / "built")
    theirs = sorted(path.name for path in (tmp_path / "built" / "evaluator").iterdir())
    assert theirs == ["__init__.py", "__main__.py"]
    assert "evaluator." not in (tmp_path / "built" / "evaluator" / "__main__.py").read_text()
    assert os.access(tmp_path / "built" / "submit.sh", os.X_OK)
    assert not (tmp_path / "built" / ".git").exists()


AICROWD_FILES: dict[str, tuple[str | None, str]] = {
    # case: (content, what is wrong with it)
    "as it should be": (AICROWD, ""),
    "missing": (None, "it is not committed"),
    "not JSON": ("{", "it is not JSON"),
    "a list": ("[]", "it is no JSON object"),
    "no challenge": (AICROWD.replace("challenge_id", "challenge"), "challenge_id: expected"),
    "no authors": (AICROWD.replace('["somebody"]', "[]"), "authors: expected a list"),
    "one author, no list": (AICROWD.replace('["somebody"]', '"somebody"'), "authors: expected"),
    "the placeholder": (
        AICROWD.replace("somebody", "your-aicrowd-username"),
        'authors: expected a list of your AIcrowd names, not "your-aicrowd-username"',
    ),
    "an empty description": (AICROWD.replace('"d"', '" "'), "description: expected a text"),
    "gpu as a text": (AICROWD.replace("true", '"true"'), "gpu: expected true or false"),
    "two mistakes": (AICROWD.replace('"d"', "1").replace("true", "1"), "text; gpu: expected"),
}


@pytest.mark.parametrize("case", AICROWD_FILES)
def test_aicrowd_check(case: str, tmp_path: Path) -> None:
    content, wrong = AICROWD_FILES[case]
    if content is not None:
        (tmp_path / "aicrowd.json").write_text(content)
    found = aicrowd_check(tmp_path / "aicrowd.json")
    assert found.status == ("fail" if wrong else "ok")
    assert wrong in found.detail


def test_aicrowd_placeholder_is_the_one_of_this_repository() -> None:
    shipped = json.loads((REPO_ROOT / "aicrowd.json").read_text())
    assert set(packaging.FIELDS) <= set(shipped)
    right = {name for name, (is_right, _) in packaging.FIELDS.items() if is_right(shipped[name])}
    assert right == set(packaging.FIELDS) - (
        {"authors"} if shipped["authors"] == [packaging.PLACEHOLDER] else set()
    )


@pytest.mark.parametrize("link", [True, False])
def test_replace_evaluator_refuses_what_is_no_folder(link: bool, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository")
    if link:
        (repository / "evaluator").symlink_to(REPO_ROOT / "evaluator")
    else:
        (repository / "evaluator").touch()
    commit(repository)
    check_out_head(repository, tmp_path / "out")
    with pytest.raises(ConfigurationError, match="git rm evaluator"):
        replace_evaluator(tmp_path / "out")


def test_run_check_finds_success_before_output_at_exit(tmp_path: Path) -> None:
    goodbye = "import atexit\natexit.register(print, 'bye\\n' * 30)\nprint('bought ', end='')\n"
    write(tmp_path, {"run.py": goodbye + RUN})
    shutil.copy(REPO_ROOT / "base_run.py", tmp_path)
    write(tmp_path, {"evaluator/__main__.py": packaging.MOCK_EVALUATOR.read_bytes()})
    found = run_check(tmp_path)
    assert found.status == "ok", found
    assert found.detail.startswith("bought 10 of 10 labels in")


def checks_of(repository: Path, folder: Path) -> dict[str, Any]:
    return {check.name: check for check in package(repository, folder)}


def test_package_of_a_small_submission(tmp_path: Path) -> None:
    repository = make_repository(
        tmp_path / "repository", {"evaluator/__init__.py": "raise OSError"}
    )
    checks = checks_of(repository, tmp_path / "out")
    assert {check.status for check in checks.values()} == {"ok"}, checks
    assert checks["run"].detail.startswith("bought 10 of 10 labels in")
    assert not list((tmp_path / "out").rglob("__pycache__"))
    with pytest.raises(ConfigurationError, match="is not empty"):
        package(repository, tmp_path / "out")


def test_package_inside_the_repository(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    assert checks_of(repository, repository / "out")["committed"].status == "ok"
    with pytest.raises(ConfigurationError, match=r"run\.py cannot be written .*Give a folder"):
        package(repository, repository / "run.py")


RUNS: dict[str, tuple[dict[str, str | bytes], str]] = {
    # case: (files, words of the detail)
    "a module that was left out": ({"run.py": f"import mine\n{RUN}"}, "No module named 'mine'"),
    "something of our evaluator": (
        {
            "run.py": f"import evaluator.worker.vault\n{RUN}",
            "evaluator/worker/vault.py": "",
        },
        "No module named 'evaluator.worker'",
    ),
    "no dict": (
        {
            "run.py": RUN.replace("return {i:", "return [").replace(
                "for i in range(budget)}", "for i in range(budget)]"
            )
        },
        "not a dict",
    ),
    "an exit that looks like success": (
        {"run.py": RUN.replace("self.classes = ", "raise SystemExit(0)  # ")},
        "ended with exit code 0",
    ),
    "what is not Python": ({"run.py": "def broken(:"}, "SyntaxError"),
    "a name left on the contract": (
        {"run.py": RUN.replace("ZEWDPCBaseRun = Run", "ZEWDPCBaseRun = Contract")},
        "NotImplementedError",
    ),
}


@pytest.mark.parametrize("case", RUNS)
def test_run_check_fails_where_the_platform_would(case: str, tmp_path: Path) -> None:
    files, words = RUNS[case]
    repository = make_repository(tmp_path / "repository", files)
    if case == "a module that was left out":
        write(repository, {"mine.py": ""})
    found = checks_of(repository, tmp_path / "out")["run"]
    assert found.status == "fail"
    assert words in found.detail


def test_package_command_exit_code(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository", {"aicrowd.json": "[]"})
    (repository / "run.py").unlink()
    commit(repository)

    def command(folder: Path) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "evaluator", "package", "--json"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(REPO_ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    done = command(repository)
    assert done.returncode == 1, done.stderr
    failed = [check for check in json.loads(done.stdout)["checks"] if check["status"] == "fail"]
    assert [check["name"] for check in failed] == ["aicrowd.json", "run"]
    done = command(tmp_path)
    assert done.returncode == 2
    assert "known only in a git repository that has a commit" in done.stderr


@pytest.mark.slow
def test_package_of_this_submission(tmp_path: Path) -> None:
    if not (REPO_ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    git(tmp_path, "clone", "--quiet", str(REPO_ROOT), "repository")
    repository = tmp_path / "repository"
    about = json.loads((repository / "aicrowd.json").read_text())
    commit(repository, {"aicrowd.json": json.dumps({**about, "authors": ["somebody"]})})
    checks = checks_of(repository, tmp_path / "out")
    assert {check.status for check in checks.values()} == {"ok"}, checks
