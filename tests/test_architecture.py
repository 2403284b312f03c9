"""The architecture: who may import whom, and what may be in the repository."""

import ast
import importlib.util
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from evaluator.training.scoring import scoring_modules
from tests.conftest import REPO_ROOT

ENTRY_POINTS = {"run", "choose", "label", "local_evaluation"}
FORBIDDEN = {
    "shared": {"evaluator", "strategies", "models", "labelling", "core", *ENTRY_POINTS},
    "core": {"evaluator", "shared", "strategies", "models", "labelling", "base_run", *ENTRY_POINTS},
    "strategies": {"evaluator", "labelling", "shared", *ENTRY_POINTS},
    "models": {"evaluator", "labelling", "shared", *ENTRY_POINTS},
    "labelling": {"evaluator", *ENTRY_POINTS},
    "evaluator": {"strategies", "models", "labelling", *ENTRY_POINTS},
}
TABLES_AND_PLOTS = {"matplotlib", "jinja2", "pandas"}
NOT_LOADED = {
    # said one after another in one process: what takes seconds to load, and is not loaded by then
    "import evaluator.synthetic": {
        "torch",
        *TABLES_AND_PLOTS,
    },  # every process that generates images
    "import evaluator.worker.worker": {"torch", *TABLES_AND_PLOTS},  # every submission's
    "import evaluator.report, evaluator.analysis.leaderboard": {"torch", *TABLES_AND_PLOTS},
    "import run; run.ZEWDPCRun('entropy')": {"timm", *TABLES_AND_PLOTS},
}
UNSAFE_TO_LOAD = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "multiprocessing"}
CORE_LINES = 300
# Imported by what makes a score, without a say in it.
UNSCORED = {
    REPO_ROOT / "evaluator" / name
    for name in (
        "errors.py",
        "console.py",
        "atomic_io.py",
        "temp_dirs.py",
        "records/trial.py",
        "records/provenance.py",
    )
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
    return sorted((REPO_ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", [name for name in FORBIDDEN if (REPO_ROOT / name).is_dir()])
def test_packages_import_nothing_across_their_wall(package: str) -> None:
    found = {
        str(path.relative_to(REPO_ROOT)): imported(path.read_text()) & FORBIDDEN[package]
        for path in modules(package)
    }
    assert found
    assert {path: names for path, names in found.items() if names} == {}


def test_core_stays_small_and_needs_only_torch() -> None:
    sources = [path.read_text() for path in modules("core") if "pretrained" not in path.parts]
    assert (
        set().union(*map(imported, sources)) <= {"core", "torch", "numpy"} | sys.stdlib_module_names
    )
    assert sum(len(source.splitlines()) for source in sources) < CORE_LINES


def test_core_pretrained_needs_only_timm_besides() -> None:
    found = set().union(*(imported(path.read_text()) for path in modules("core/pretrained")))
    assert found - sys.stdlib_module_names == {"core", "torch", "numpy", "timm", "huggingface_hub"}


def test_evaluator_packages_have_no_import_cycle() -> None:
    needs: dict[str, set[str]] = {}
    for path in modules("evaluator"):
        own = path.relative_to(REPO_ROOT / "evaluator").parts[0]
        found = re.findall(r"^\s*(?:from|import) evaluator\.(\w+)", path.read_text(), flags=re.M)
        needs.setdefault(own, set()).update(name for name in found if name != own)
    order = list(TopologicalSorter(needs).static_order())  # CycleError names the cycle
    assert order.index("data") < order.index("training") < order.index("experiment")


def test_submission_does_not_need_the_evaluator() -> None:
    assert "evaluator" not in imported((REPO_ROOT / "run.py").read_text())
    assert imported((REPO_ROOT / "base_run.py").read_text()) <= {"collections", "typing", "numpy"}


def test_imports_load_nothing_slow_that_only_others_need() -> None:
    assert all(importlib.util.find_spec(name) for names in NOT_LOADED.values() for name in names)
    asked = (
        f"{said}\nprint(*{names!r} & sys.modules.keys())" for said, names in NOT_LOADED.items()
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(["import sys", *asked])],
        cwd=REPO_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = done.stdout.splitlines()
    assert dict(zip(NOT_LOADED, loaded, strict=True)) == dict.fromkeys(NOT_LOADED, "")


@pytest.mark.parametrize(
    "path",
    [*modules("evaluator/worker"), *modules("evaluator/data")],
    ids=lambda path: path.name,
)
def test_modules_that_read_foreign_bytes_cannot_unpickle(path: Path) -> None:
    source = path.read_text()
    assert imported(source).isdisjoint(UNSAFE_TO_LOAD)
    assert not re.search(r"allow_pickle\s*=\s*True|torch\.load|read_pickle", source)


def test_repository_tracks_no_weights_and_no_data() -> None:
    listing = subprocess.run(
        ["git", "ls-files"], cwd=REPO_ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    for name in listing.stdout.splitlines():
        path = REPO_ROOT / name
        assert path.suffix not in {".pt", ".pth", ".ckpt", ".safetensors", ".npy", ".npz"}, name
        assert not path.exists() or path.stat().st_size < 2**20, name


def imported_files(path: Path, packages: set[str]) -> set[Path]:
    """The modules of `packages` that a module imports from, as files of the repository."""
    files: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            not isinstance(node, ast.ImportFrom)
            or (node.module or "").split(".")[0] not in packages
        ):
            continue
        module = REPO_ROOT / str(node.module).replace(".", "/")
        if module.is_dir():
            inside = [module / f"{alias.name}.py" for alias in node.names]
            files |= {one if one.exists() else module / "__init__.py" for one in inside}
        else:
            files.add(module.with_suffix(".py"))
    return files


def test_source_digest_covers_every_module_that_a_score_depends_on() -> None:
    reached: set[Path] = set()
    waiting = {REPO_ROOT / "evaluator" / "training" / "scoring.py"}
    while waiting:
        path = waiting.pop()
        reached.add(path)
        if path not in UNSCORED:
            waiting |= imported_files(path, {"evaluator", "core"}) - reached
    assert reached - UNSCORED <= set(scoring_modules())
    assert REPO_ROOT / "core" / "muon.py" in reached


@pytest.mark.parametrize("action", ["import", "split"])
def test_data_import_and_split_are_understood_where_they_once_stood(action: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evaluator", "data", action, "--help"],
        cwd=REPO_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"usage: python -m labelling {action}" in done.stdout
