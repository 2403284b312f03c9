"""Which packages a submission imports, and which of them its requirements.txt names."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path


class UnreadableError(ValueError):
    """A file of the submission cannot be read; `fix` says what to do."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


def unlisted_packages(folder: Path) -> list[str]:
    """What run.py and the modules it imports from `folder` need and requirements.txt lacks.

    Raises UnreadableError where that cannot be known.
    """
    requirements = folder / "requirements.txt"
    try:
        text = requirements.read_text("utf-8-sig") if requirements.is_file() else ""
    except UnicodeDecodeError as error:
        raise UnreadableError(
            f"requirements.txt is not UTF-8 text: {error}", "save it as UTF-8"
        ) from error
    listed = _with_what_they_require(re.findall(r"^\s*([A-Za-z][\w.-]*)", text, re.MULTILINE))
    providers = metadata.packages_distributions()
    needed = {name: providers.get(name, [name]) for name in sorted(_foreign_imports(folder))}
    return [name for name, by in needed.items() if listed.isdisjoint(map(_normal, by))]


def _with_what_they_require(names: Iterable[str]) -> set[str]:
    """Distributions, and those that are installed along with them."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = _normal(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        waiting += [re.split(r"[^\w.-]", line)[0] for line in requires if "extra ==" not in line]
    return found


def _foreign_imports(folder: Path) -> set[str]:
    """Top-level names imported below run.py that are neither in `folder` nor in Python."""
    foreign: set[str] = set()
    seen: set[str] = set()
    waiting = ["run"]
    while waiting:
        name = waiting.pop()
        if name in seen or name in sys.stdlib_module_names:
            continue
        seen.add(name)
        package, module = folder / name, folder / f"{name}.py"
        if not package.is_dir() and not module.is_file():
            foreign.add(name)
            continue
        for source in [*package.rglob("*.py"), *([module] if module.is_file() else [])]:
            waiting += _imported(_parsed(source, folder))
    return foreign


def _parsed(source: Path, folder: Path) -> ast.Module:
    name = source.relative_to(folder)
    try:
        return ast.parse(source.read_bytes(), str(name))
    except SyntaxError as error:
        fix = "fix it; where it is an encoding, save it as UTF-8"
        raise UnreadableError(f"{name} is not Python: {error}", fix) from error
    except OSError as error:
        fix = f"commit {name} itself, if it is a link to another file"
        raise UnreadableError(f"{name} cannot be read: {error.strerror}", fix) from error


def _imported(node: ast.AST) -> Iterator[str]:
    """Top-level names that a module imports; what it tries to import, it can do without."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield child.module.partition(".")[0]
        elif not isinstance(child, ast.Try):
            yield from _imported(child)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
