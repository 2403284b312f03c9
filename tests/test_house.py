"""The rules that hold the house up: who may import whom, and what may be in the repository."""

import ast
import importlib.util
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from evaluator.training.scoring import SOURCES

HOUSE = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "strategies": {"evaluator", "run", "local_evaluation"},
    "models": {"evaluator", "run", "local_evaluation"},
    "evaluator": {"strategies", "models", "run"},
}
DRAWING = {"matplotlib", "jinja2"}
WITHOUT = {
    # said one after another in one process: what takes seconds to load, and is not loaded by then
    "import evaluator.synthetic": {"torch", *DRAWING},  # every process that paints
    "import evaluator.worker.worker": {"torch", *DRAWING},  # every submission's
    "import evaluator.report": {"torch", *DRAWING},
    "import run; run.ZEWDPCRun('entropy')": {"timm", *DRAWING},
}


def imported(source: str) -> set[str]:
    """The top-level packages that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def modules(package: str) -> list[Path]:
    return sorted((HOUSE / package).rglob("*.py"))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_nobody_imports_across_the_wall(package: str) -> None:
    assert modules(package)
    guilty = {
        str(path.relative_to(HOUSE)): sorted(imported(path.read_text()) & FORBIDDEN[package])
        for path in modules(package)
        if imported(path.read_text()) & FORBIDDEN[package]
    }
    assert guilty == {}


def test_no_two_packages_of_the_judge_need_each_other() -> None:
    needs: dict[str, set[str]] = {}
    for path in modules("evaluator"):
        own = path.relative_to(HOUSE / "evaluator").parts[0]
        found = re.findall(r"^\s*(?:from|import) evaluator\.(\w+)", path.read_text(), flags=re.M)
        needs.setdefault(own, set()).update(name for name in found if name != own)
    order = list(TopologicalSorter(needs).static_order())  # CycleError names the ring
    assert order.index("data") < order.index("training") < order.index("experiment")


def test_the_submission_does_not_need_the_judge() -> None:
    assert "evaluator" not in imported((HOUSE / "run.py").read_text())
    assert imported((HOUSE / "base_run.py").read_text()) <= {"collections", "typing", "numpy"}


def test_nobody_loads_what_only_others_need() -> None:
    assert all(importlib.util.find_spec(name) for names in WITHOUT.values() for name in names)
    asked = (f"{said}\nprint(*{names!r} & sys.modules.keys())" for said, names in WITHOUT.items())
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(["import sys", *asked])],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = done.stdout.splitlines()
    assert dict(zip(WITHOUT, loaded, strict=True)) == dict.fromkeys(WITHOUT, "")


def test_nothing_that_crosses_the_line_is_pickled() -> None:
    pickling = {"pickle", "multiprocessing", "marshal", "shelve", "torch"}
    paths = [*modules("evaluator/worker"), HOUSE / "evaluator" / "data" / "cache.py"]
    used = {path.name: imported(path.read_text()) & pickling for path in paths}
    assert {name: found for name, found in used.items() if found} == {}
    assert not [path.name for path in paths if "allow_pickle=True" in path.read_text()]


def test_no_weights_and_no_data_are_tracked() -> None:
    listing = subprocess.run(
        ["git", "ls-files"], cwd=HOUSE, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    for name in listing.stdout.splitlines():
        path = HOUSE / name
        assert path.suffix not in {".pt", ".pth", ".ckpt", ".safetensors", ".npy", ".npz"}, name
        assert not path.exists() or path.stat().st_size < 2**20, name


def test_a_score_is_known_by_every_module_that_makes_it() -> None:
    reached, waiting = set(), {"training/scoring.py"}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        source = (HOUSE / "evaluator" / name).read_text()
        found = set(re.findall(r"^from evaluator\.([\w.]+) import", source, flags=re.MULTILINE))
        waiting |= {f"{module.replace('.', '/')}.py" for module in found} - reached
    elsewhere = {"errors.py", "records/trial.py", "records/provenance.py"}  # they make no score
    assert reached - elsewhere <= set(SOURCES)
