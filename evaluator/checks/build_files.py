"""What the platform is asked to install: which Python, and whether requirements.txt is among it.

The host builds images with repo2docker, which takes the Dockerfile where there is one, and no other
file; else environment.yml, and no requirements.txt beside it; else requirements.txt, runtime.txt.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from evaluator.checks.check import Check

VERSION = r"(\d+\.\d+)"
PYTHON_ASKED = {  # in repo2docker's order: the first that is there decides
    "Dockerfile": re.compile(rf"\bpython(?:=+|:|-)?{VERSION}", re.IGNORECASE),
    "environment.yml": re.compile(
        rf"^\s*-\s*[\"']?(?:[\w-]+::)?python\s*[<>=!~]*\s*{VERSION}", re.MULTILINE
    ),
    "runtime.txt": re.compile(rf"^\s*python-{VERSION}", re.MULTILINE),
}
REQUIREMENTS = "requirements.txt"
IMAGE_FILES = ("Dockerfile", "environment.yml")  # what takes the place of requirements.txt
COMMIT = 'git add -A && git commit -m "what the platform installs"'


def build_checks(folder: Path) -> list[Check]:
    """What the files in `folder` ask the platform for."""
    files = {name: _without_comments(folder / name) for name in PYTHON_ASKED}
    present = {name: text for name, text in files.items() if text is not None}
    return [python_version_check(folder, present), install_check(folder, present)]


def has_build_files(folder: Path) -> bool:
    """Whether a submission's folder has a file that says what its image is built from."""
    return any((folder / name).is_file() for name in PYTHON_ASKED)


def python_version_check(folder: Path, present: Mapping[str, str]) -> Check:
    """Whether every file asks for the same Python, and the code runs on it.

    present : the text of the files that are there, by name.
    """
    name = "python version"
    try:
        needed = _requires_python(folder / "pyproject.toml")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, InvalidSpecifier) as error:
        return Check(name, "fail", f"pyproject.toml: {error}", f"mend it, and {COMMIT}")
    asked = {
        file: found[1]
        for file, text in present.items()
        if (found := PYTHON_ASKED[file].search(text))
    }
    stated = "; ".join(f"{file} asks for {version}" for file, version in asked.items())
    code = f"pyproject.toml needs {needed}" if needed else "no pyproject.toml says what is needed"
    if not asked:
        detail = f"no file asks for a Python; the platform's own may be 3.7 or 3.8; {code}"
        return Check(name, "warn", detail, f"echo python-3.11 > runtime.txt; {COMMIT}")
    if silent := [file for file in present if file not in asked]:
        detail = f"{stated}; {' and '.join(silent)} asks for none; {code}"
        return Check(name, "warn", detail, f"name the version there too, and {COMMIT}")
    if len(set(asked.values())) > 1:
        return Check(name, "fail", stated, f"let them ask for the same version, and {COMMIT}")
    (version,) = set(asked.values())
    if needed is not None and not needed.contains(version):
        return Check(name, "fail", f"{stated}; {code}", f"ask for a Python {needed}, and {COMMIT}")
    return Check(name, "ok", f"{stated}; {code}")


def install_check(folder: Path, present: Mapping[str, str]) -> Check:
    """Whether requirements.txt is installed by whichever file the image is built from."""
    name = "installed"
    if not (folder / REQUIREMENTS).is_file():
        return Check(name, "ok", f"there is no {REQUIREMENTS}")
    without = [
        file for file in IMAGE_FILES if file in present and REQUIREMENTS not in present[file]
    ]
    if without:
        detail = f"{' and '.join(without)}: does not install {REQUIREMENTS}, and takes its place"
        fix = (
            f"in environment.yml under `- pip:` a line `- -r {REQUIREMENTS}`, in a Dockerfile `RUN "
            f"pip install -r {REQUIREMENTS}`; and {COMMIT}"
        )
        return Check(name, "warn", detail, fix)
    by = " and ".join(file for file in IMAGE_FILES if file in present)
    return Check(name, "ok", f"{REQUIREMENTS}{f', by {by}' if by else ''}")


def requirements_check(folder: Path) -> Check:
    """Whether requirements.txt names what run.py, and what it imports from `folder`, import."""
    name = "requirements"
    try:
        unlisted = unlisted_packages(folder)
    except ValueError as error:
        return Check(name, "fail", str(error), f"fix it, save it as UTF-8, and {COMMIT}")
    if unlisted:
        detail = f"imported, but not in requirements.txt: {', '.join(unlisted)}"
        return Check(name, "warn", detail, f"a line each in requirements.txt, and {COMMIT}")
    return Check(name, "ok", "requirements.txt names every package that is imported")


def unlisted_packages(folder: Path) -> list[str]:
    """Top-level names imported below run.py that nothing in requirements.txt provides.

    Raises ValueError where a file cannot be read.
    """
    requirements = folder / REQUIREMENTS
    try:
        text = requirements.read_text("utf-8-sig") if requirements.is_file() else ""
    except UnicodeDecodeError as error:
        raise ValueError(f"requirements.txt is not UTF-8 text: {error}") from error
    listed = {_normal(name) for name in re.findall(r"^\s*([A-Za-z][\w.-]*)", text, re.MULTILINE)}
    providers = metadata.packages_distributions()
    return [
        name
        for name in sorted(foreign_imports(folder, ["run"]))
        if listed.isdisjoint(map(_normal, providers.get(name, [name])))
    ]


def foreign_imports(folder: Path, modules: Sequence[str]) -> set[str]:
    """Top-level names that `modules` of `folder` and what they import there need from outside it.

    Python's own are left out. Raises ValueError where a file cannot be read.
    """
    seen, waiting, foreign = set(sys.stdlib_module_names), list(modules), set()
    while waiting:
        if (name := waiting.pop()) in seen:
            continue
        seen.add(name)
        sources = [*folder.glob(f"{name}.py"), *(folder / name).rglob("*.py")]
        if not sources:
            foreign.add(name)
        for source in sources:
            where = source.relative_to(folder)
            try:
                waiting += _imported(ast.parse(source.read_bytes(), str(where)))
            except (SyntaxError, ValueError, OSError) as error:
                raise ValueError(f"{where} cannot be read as Python: {error}") from error
    return foreign


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _imported(node: ast.AST) -> Iterator[str]:
    """Top-level names that a module imports; what it tries to import, it can do without."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield child.module.partition(".")[0]
        elif not isinstance(child, ast.Try):
            yield from _imported(child)


def _requires_python(file: Path) -> SpecifierSet | None:
    if not file.is_file():
        return None
    project = tomllib.loads(file.read_text("utf-8-sig")).get("project", {})
    needed = project.get("requires-python")
    return None if needed is None else SpecifierSet(needed)


def _without_comments(file: Path) -> str | None:
    """The text of a file, if it is one."""
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    return re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
