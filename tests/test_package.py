"""What would be pushed is built, run without the judge, and refused where it must not go out."""

import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluator.checks import package as packaging
from evaluator.checks.imports import UnreadableError, unlisted_packages
from evaluator.checks.package import (
    aicrowd_check,
    build,
    committed_check,
    package,
    refusal_checks,
    requirements_check,
    run_check,
)
from evaluator.checks.refusals import LARGEST, secret_in, weights_in
from evaluator.errors import ConfigurationError
from tests.repositories import AICROWD, HOUSE, RUN, commit, git, make_repository, write


def saved(value: Any, folder: Path, **how: Any) -> bytes:
    torch.save(value, folder / "saved", **how)
    return (folder / "saved").read_bytes()


def traced(value: torch.nn.Module, folder: Path) -> bytes:
    torch.jit.script(value).save(str(folder / "saved"))
    return (folder / "saved").read_bytes()


def safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(8)


WEIGHTS: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    # case: (path, content, why it is refused)
    "by suffix": ("models/best.PTH", lambda folder: b"", "its name ends in .pth"),
    "an array": ("features.npz", lambda folder: b"", "its name ends in .npz"),
    "torch.save": ("a.dat", lambda folder: saved({"w": torch.ones(2)}, folder), "a zip as torch"),
    "torch.save of old": (
        "b.bin",
        lambda folder: saved(torch.ones(2), folder, _use_new_zipfile_serialization=False),
        "old versions of torch.save",
    ),
    "safetensors": (
        "c.dat",
        lambda folder: safetensors(b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
        "a safetensors file",
    ),
    "a pickle": ("d", lambda folder: __import__("pickle").dumps([1, 2]), "a pickle"),
    "HDF5": ("e", lambda folder: b"\x89HDF\r\n\x1a\n" + bytes(9), "an HDF5 file"),
    "a module": ("run.py", lambda folder: RUN.encode(), ""),
    "an empty file": ("__init__.py", lambda folder: b"", ""),
    "a picture": ("a.png", lambda folder: b"\x89PNG\r\n\x1a\n" + bytes(99), ""),
    "a zip of something else": ("a.whl", lambda folder: b"PK\x03\x04" + b"x/data.py" * 3, ""),
    "JSON": ("a.json", lambda folder: b'{"a": 12, "b": {"c": 1}}', ""),
    "a length and no tensors": ("g", lambda folder: safetensors(b"{nothing of the kind}"), ""),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_are_known_by_name_and_by_content(case: str, tmp_path: Path) -> None:
    path, content, why = WEIGHTS[case]
    found = weights_in(path, content(tmp_path))
    assert why in found
    assert bool(found) == bool(why)


# Put together here, so that this file does not hold what it looks for.
SECRETS: dict[str, tuple[str, str, str]] = {
    # case: (path, content, what is given away)
    "an SSH key": ("k", "-----BEGIN OPENSSH PRIVATE " + "KEY-----\nb3Bl", "a private key"),
    "a PEM key": ("k", "-----BEGIN PRIVATE " + "KEY-----\nMII", "a private key"),
    "a PGP key": ("k", "-----BEGIN PGP PRIVATE " + "KEY BLOCK-----", "a private key"),
    "AWS": ("a.py", "key = 'AKIA" + "ABCDEFGHIJ234567'", "an AWS access key"),
    "GitHub": ("a.py", "ghp_" + "a1" * 18, "a GitHub token"),
    "GitHub, fine-grained": ("a", "github_pat_" + "a" * 22 + "_" + "b" * 59, "a GitHub token"),
    "GitLab": ("a", "url = https://me:glpat-" + "x" * 20 + "@host", "a GitLab token"),
    "Hugging Face": ("a", "token: hf_" + "a" * 34, "a Hugging Face token"),
    "AIcrowd": ("a.sh", "export AICROWD_API_KEY=" + "0a" * 16, "an AIcrowd key"),
    "AIcrowd, in JSON": ("a", '{"aicrowd_token": "' + "0a" * 16 + '"}', "an AIcrowd key"),
    ".env": ("deploy/.env", "A=1", ".env holds passwords"),
    ".env of a stage": (".env.production", "A=1", ".env.production holds passwords"),
    ".netrc": (".netrc", "", ".netrc holds passwords"),
    "an example of .env": (".env.example", "A=", ""),
    "a public key": ("k.pub", "-----BEGIN PUBLIC KEY-----", ""),
    "a digest": ("a", "sha256: " + "0a" * 32, ""),
    "words that begin alike": ("a.py", "hf_model = ghp_one(AKIAN)", ""),
}


@pytest.mark.parametrize("case", SECRETS)
def test_secrets_are_known_by_their_form(case: str) -> None:
    path, content, what = SECRETS[case]
    found = secret_in(path, content.encode())
    assert what in found
    assert bool(found) == bool(what)


def refused(repository: Path) -> dict[str, tuple[str, str]]:
    return {
        check.name: (check.detail, check.fix) for check in refusal_checks(repository) if check.fix
    }


PUSHED: dict[str, tuple[dict[str, str | bytes], str, str]] = {
    # case: (files, the check that refuses, its words)
    "weights": ({"a b/best.pth": b"x"}, "weights", "a b/best.pth: its name ends in .pth"),
    "large weights": ({"best.pth": b"x" * (LARGEST + 1)}, "weights", "best.pth: its name"),
    "a large file": ({"pool.tar": b"x" * (LARGEST + 1)}, "file sizes", "pool.tar: 10.0 MiB"),
    "a secret": ({".netrc": "machine x"}, "secrets", ".netrc: .netrc holds"),
}


@pytest.mark.parametrize("case", PUSHED)
def test_refused_at_head_and_in_the_history(case: str, tmp_path: Path) -> None:
    files, name, words = PUSHED[case]
    repository = make_repository(tmp_path / "repository")
    assert refused(repository) == {}
    commit(repository, files)
    detail, fix = refused(repository)[name]
    assert words in detail
    (path,) = files
    assert f"git rm --cached {shlex.quote(path)}" in fix

    git(repository, "rm", "--quiet", path)
    commit(repository)
    detail, fix = refused(repository)[name]
    assert f"{path} (in an earlier commit)" in detail
    assert fix.startswith("git checkout --orphan clean && git commit")

    git(repository, "checkout", "--quiet", "--orphan", "clean")
    commit(repository)
    assert refused(repository) == {}


def test_odd_names_are_recognised(tmp_path: Path) -> None:
    names = ("a\u2028b.pth", "c\nd.pth", "\u00e4 '\u00f6.pth")
    repository = make_repository(tmp_path, {name: name for name in names})
    detail, _ = refused(repository)["weights"]
    assert all(f"{name}: its name" in detail for name in names)


def test_only_a_few_of_many_files_are_named(tmp_path: Path) -> None:
    repository = make_repository(tmp_path, {f"{n}.pt": str(n) for n in range(9)})
    assert refused(repository)["weights"][0].endswith("\nand 4 more")


def test_what_is_not_committed_is_not_packaged(tmp_path: Path) -> None:
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
    build(repository, tmp_path / "built")
    assert (tmp_path / "built" / "strategies" / "a.py").read_text() == "A = 1"
    assert not (tmp_path / "built" / "strategies" / "b.py").exists()
    assert git(repository, "status", "--short").startswith("M strategies/a.py")


def test_the_package_has_the_stand_in_and_nothing_of_the_judge(tmp_path: Path) -> None:
    judge = {"evaluator/__init__.py": "", "evaluator/worker/vault.py": "LABELS = 1"}
    repository = make_repository(tmp_path / "repository", judge)
    (repository / "submit.sh").write_text("#!/bin/sh\n")
    (repository / "submit.sh").chmod(0o755)
    commit(repository)
    build(repository, tmp_path / "built")
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
def test_aicrowd_json_is_complete(case: str, tmp_path: Path) -> None:
    content, wrong = AICROWD_FILES[case]
    if content is not None:
        (tmp_path / "aicrowd.json").write_text(content)
    found = aicrowd_check(tmp_path / "aicrowd.json")
    assert found.status == ("fail" if wrong else "ok")
    assert wrong in found.detail


def test_the_placeholder_is_the_one_that_the_kit_ships() -> None:
    shipped = json.loads((HOUSE / "aicrowd.json").read_text())
    assert set(packaging.FIELDS) <= set(shipped)
    right = {name for name, (is_right, _) in packaging.FIELDS.items() if is_right(shipped[name])}
    assert right == set(packaging.FIELDS) - (
        {"authors"} if shipped["authors"] == [packaging.PLACEHOLDER] else set()
    )


IMPORTS: dict[str, tuple[dict[str, str | bytes], list[str]]] = {
    # case: (files, what is imported and not listed)
    "listed": ({"run.py": "import numpy.linalg, json", "requirements.txt": "numpy==2\n"}, []),
    "under another name": (
        {
            "run.py": "from PIL import Image\nimport sklearn",
            "requirements.txt": "Pillow\nscikit_learn>1",
        },
        [],
    ),
    "not listed": ({"run.py": "import numpy", "requirements.txt": "# numpy\n"}, ["numpy"]),
    "along with what is listed": ({"run.py": "import numpy", "requirements.txt": "scipy"}, []),
    "no requirements": ({"run.py": "def f():\n    import numpy"}, ["numpy"]),
    "two modules away": (
        {"run.py": "import a", "a.py": "from b.c import d", "b/c.py": "import nowhere_to_be_had"},
        ["nowhere_to_be_had"],
    ),
    "not imported by the submission": ({"run.py": "", "tests/t.py": "import numpy"}, []),
    "only tried": ({"run.py": "try:\n    import numpy\nexcept ImportError:\n    pass"}, []),
    "relative": ({"run.py": "import a", "a/__init__.py": "from . import b", "a/b.py": ""}, []),
}


@pytest.mark.parametrize("case", IMPORTS)
def test_what_is_imported_is_in_the_requirements(case: str, tmp_path: Path) -> None:
    files, unlisted = IMPORTS[case]
    write(tmp_path, files)
    assert unlisted_packages(tmp_path) == unlisted


UNREADABLE: dict[str, tuple[dict[str, str | bytes], str, str]] = {
    # case: (files, words of what is wrong, of the fix)
    "UTF-16": (
        {"requirements.txt": "numpy".encode("utf-16")},
        "requirements.txt is not UTF-8 text",
        "save it as UTF-8",
    ),
    "a Latin-1 comment": (
        {"requirements.txt": b"numpy  # f\xfcr alle"},
        "requirements.txt is not UTF-8 text",
        "save it as UTF-8",
    ),
    "a Latin-1 module": ({"a/b.py": b"x = 'f\xfcr'"}, "a/b.py is not Python", "as UTF-8"),
    "a UTF-16 module": ({"a/b.py": "x".encode("utf-16")}, "a/b.py is not Python", "as UTF-8"),
    "no Python": ({"a/b.py": "def f(:"}, "a/b.py is not Python: invalid syntax", "fix it"),
    "a link that leads nowhere": ({}, "a/b.py cannot be read: No such file", "commit a/b.py"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_cannot_be_read_is_named(case: str, tmp_path: Path) -> None:
    files, words, fix = UNREADABLE[case]
    write(tmp_path, {"run.py": "import a", "a/__init__.py": "", **files})
    if not files:
        (tmp_path / "a" / "b.py").symlink_to("/nowhere/b.py")
    with pytest.raises(UnreadableError) as caught:
        unlisted_packages(tmp_path)
    assert str(caught.value).startswith(words)
    assert fix in caught.value.fix
    assert caught.value.fix in requirements_check(tmp_path).fix


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    write(tmp_path, {"run.py": "import numpy", "requirements.txt": b"\xef\xbb\xbfnumpy"})
    assert unlisted_packages(tmp_path) == []


@pytest.mark.parametrize("link", [True, False])
def test_an_evaluator_that_is_no_folder_is_refused(link: bool, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository")
    if link:
        (repository / "evaluator").symlink_to(HOUSE / "evaluator")
    else:
        (repository / "evaluator").touch()
    commit(repository)
    with pytest.raises(ConfigurationError, match="git rm evaluator"):
        build(repository, tmp_path / "out")


def test_what_is_printed_at_exit_does_not_hide_that_all_went_well(tmp_path: Path) -> None:
    goodbye = "import atexit\natexit.register(print, 'bye\\n' * 30)\nprint('bought ', end='')\n"
    write(tmp_path, {"run.py": goodbye + RUN})
    shutil.copy(HOUSE / "base_run.py", tmp_path)
    write(tmp_path, {"evaluator/__main__.py": packaging.STAND_IN.read_bytes()})
    found = run_check(tmp_path)
    assert found.status == "ok", found
    assert found.detail.startswith("bought 10 of 10 labels in")


def checks_of(repository: Path, folder: Path) -> dict[str, Any]:
    return {check.name: check for check in package(repository, folder)}


def test_a_small_submission_from_a_commit_to_its_predictions(tmp_path: Path) -> None:
    repository = make_repository(
        tmp_path / "repository", {"evaluator/__init__.py": "raise OSError"}
    )
    checks = checks_of(repository, tmp_path / "out")
    assert {check.status for check in checks.values()} == {"ok"}, checks
    assert checks["run"].detail.startswith("bought 10 of 10 labels in")
    assert not list((tmp_path / "out").rglob("__pycache__"))
    with pytest.raises(ConfigurationError, match="is not empty"):
        package(repository, tmp_path / "out")


def test_a_package_inside_the_repository_is_no_file_left_uncommitted(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    assert checks_of(repository, repository / "out")["committed"].status == "ok"
    with pytest.raises(ConfigurationError, match=r"run\.py cannot be written .*Give a folder"):
        package(repository, repository / "run.py")


RUNS: dict[str, tuple[dict[str, str | bytes], str]] = {
    # case: (files, words of the detail)
    "a module that was left out": ({"run.py": f"import mine\n{RUN}"}, "No module named 'mine'"),
    "something of the judge": (
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
def test_what_breaks_on_the_platform_breaks_here(case: str, tmp_path: Path) -> None:
    files, words = RUNS[case]
    repository = make_repository(tmp_path / "repository", files)
    if case == "a module that was left out":
        write(repository, {"mine.py": ""})
    found = checks_of(repository, tmp_path / "out")["run"]
    assert found.status == "fail"
    assert words in found.detail


def test_the_command_says_by_its_exit_code_whether_to_push(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository", {"aicrowd.json": "[]"})
    (repository / "run.py").unlink()
    commit(repository)

    def command(folder: Path) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "evaluator", "package", "--json"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(HOUSE)},
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
def test_this_submission_can_be_pushed(tmp_path: Path) -> None:
    if not (HOUSE / ".git").exists():
        pytest.skip("not a git checkout")
    git(tmp_path, "clone", "--quiet", str(HOUSE), "repository")
    repository = tmp_path / "repository"
    about = json.loads((repository / "aicrowd.json").read_text())
    commit(repository, {"aicrowd.json": json.dumps({**about, "authors": ["somebody"]})})
    checks = checks_of(repository, tmp_path / "out")
    assert {check.status for check in checks.values()} == {"ok"}, checks
