"""The doctor says what is wrong and how to fix it, also where almost nothing is installed."""

import hashlib
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.pretrained.imagenet_weights import PACKAGES
from evaluator.checks import doctor, installation
from evaluator.checks.check import Check, table
from evaluator.checks.doctor import data_checks, examine
from evaluator.checks.installation import TorchFacts
from evaluator.training.pipelines import PIPELINES
from evaluator.worker.outcome import Limits
from shared.errors import missing_requirement
from tests.conftest import REPO_ROOT

GIB = 2**30
PINS = {"torch": "2.10.0", "torchvision": "0.25.0", "numpy": "2.4.6", "tqdm": "4.70.1"}
T4 = {"name": "Tesla T4, 15.0 GiB, compute capability 7.5", "error": ""}
NO_GPU = {"gpus": [], "no_cuda": "Found no NVIDIA driver on your system.", "weights": []}
DEAD = "ImportError: libcudart.so.12: cannot open shared object file"


def with_gpu(**changes: Any) -> TorchFacts:
    return {**NO_GPU, "no_cuda": "", "gpus": [{**T4, **changes}]}


def torch_with(
    torch: str | None, needs: str | None = "2.10.0", facts: TorchFacts = NO_GPU
) -> Check:
    installed = {**PINS, "torch": torch}.get
    return installation.torch_check(facts, PINS, installed, needs)


def requirements(**installed: str | None) -> Check:
    return installation.requirements_check(PINS, {**PINS, **installed}.get)


Case = tuple[Callable[[], Check], str, str, str]
CASES: dict[str, Case] = {
    # case: (the check, its status, words of the detail, words of the fix)
    "old python": (lambda: installation.python_check((3, 10, 4)), "fail", "3.10.4; 3.11", "make"),
    "new python": (lambda: installation.python_check((3, 14, 0, "final")), "ok", "3.14.0", ""),
    "no torch": (lambda: torch_with(None), "fail", "not installed: torch", "pip install"),
    "torch that torchvision was not built for": (
        lambda: torch_with("2.9.0"),
        "fail",
        "torch 2.9.0 with torchvision 0.25.0, which was built for torch 2.10.0",
        "pip install",
    ),
    "torch that cannot be imported": (
        lambda: torch_with("2.10.0", facts=DEAD),
        "fail",
        "cannot be imported: ImportError: libcudart.so.12",
        "--force-reinstall",
    ),
    "another torch that works": (
        lambda: torch_with("2.12.0", needs="2.12.0"),
        "warn",
        "torch 2.12.0 with torchvision 0.25.0; pinned is torch 2.10.0 with torchvision 0.25.0",
        "pip install",
    ),
    "torch as pinned": (lambda: torch_with("2.10.0"), "ok", "torch 2.10.0 with", ""),
    "a missing package": (
        lambda: requirements(tqdm=None, numpy="1.0"),
        "fail",
        "not installed: tqdm",
        "pip",
    ),
    "another version": (
        lambda: requirements(numpy="2.3.0"),
        "warn",
        "numpy 2.3.0 (pinned: 2.4.6)",
        "pip",
    ),
    "all at their pins": (requirements, "ok", "2 at their pins", ""),
    "no gpu": (
        lambda: installation.gpu_check(NO_GPU, None),
        "warn",
        "no GPU: quick pipeline",
        "--pipeline quick",
    ),
    "a gpu": (
        lambda: installation.gpu_check(with_gpu(), "Tesla T4, 570.86"),
        "ok",
        "Tesla T4, 15.0 GiB, compute capability 7.5; nvidia-smi: Tesla T4, 570.86",
        "",
    ),
    "a gpu without kernels": (
        lambda: installation.gpu_check(with_gpu(error="no kernel image"), None),
        "fail",
        "failed a test matrix multiplication: no kernel image",
        "--device cpu",
    ),
    "a gpu that torch does not use": (
        lambda: installation.gpu_check(NO_GPU, "Tesla T4, 450.80\nTesla T4, 450.80"),
        "warn",
        "Tesla T4, 450.80; Tesla T4, 450.80 is there, but torch does not use it: Found no",
        "update the driver",
    ),
    "a gpu without torch": (
        lambda: installation.gpu_check(DEAD, "Tesla T4, 570.86"),
        "warn",
        "not looked at, for torch does not import (nvidia-smi: Tesla T4",
        "fix torch",
    ),
    "hardly any memory": (
        lambda: doctor.memory_check(GIB),
        "fail",
        "1.0 GiB; at least 2",
        "2 GiB",
    ),
    "half the node's memory": (
        lambda: doctor.memory_check(8 * GIB),
        "warn",
        "8.0 GiB; the platform's node has 16 GiB",
        "--memory 6 ",
    ),
    "the node's memory": (lambda: doctor.memory_check(int(15.5 * GIB)), "ok", "15.5 GiB", ""),
    "half a processor": (
        lambda: doctor.cpu_check(0.5),
        "warn",
        "0.5 usable; the platform's",
        "--pairs",
    ),
    "four processors": (lambda: doctor.cpu_check(4), "ok", "4 usable", ""),
    "a full disk": (
        lambda: doctor.disk_check(GIB // 2, Path("r")),
        "fail",
        "0.5 GiB free in r",
        "room",
    ),
    "a small disk": (
        lambda: doctor.disk_check(5 * GIB, Path("r")),
        "warn",
        "about 4 GiB",
        "room",
    ),
    "a large disk": (
        lambda: doctor.disk_check(50 * GIB, Path("r")),
        "ok",
        "50.0 GiB free",
        "",
    ),
    "nowhere to write": (
        lambda: doctor.write_check("results", [Path("/proc/results")], "--out elsewhere"),
        "fail",
        "/proc/results cannot be written",
        "--out elsewhere",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_check_status_detail_and_fix(case: str) -> None:
    check, status, detail, fix = CASES[case]
    found = check()
    assert found.status == status
    assert detail in found.detail
    assert fix in found.fix


def test_write_check_takes_the_second_folder(tmp_path: Path) -> None:
    folders = [Path("/proc/data"), tmp_path / "not" / "yet" / "there"]
    found = doctor.write_check("cache", folders, "a fix")
    assert (found.status, found.detail) == ("ok", f"{folders[1]} can be written")
    assert list(tmp_path.iterdir()) == []


def test_node_is_what_trials_are_limited_to() -> None:
    assert (Limits().memory, Limits().cpus) == (doctor.NODE_MEMORY, doctor.NODE_CPUS)


def test_total_memory_and_usable_cpus_of_a_container(tmp_path: Path) -> None:
    memory, cpus = doctor.total_memory(tmp_path), doctor.usable_cpus(tmp_path)
    (tmp_path / "memory.max").write_text("1073741824\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert (doctor.total_memory(tmp_path), doctor.usable_cpus(tmp_path)) == (GIB, 0.5)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert (doctor.total_memory(tmp_path), doctor.usable_cpus(tmp_path)) == (memory, cpus)


def test_read_pins_ignores_comments_and_markers() -> None:
    text = "# torch==1.0 is old\ntorch==2.10.0  # newest\nscikit-learn==1.9.1; python_version>'3'\n"
    assert installation.read_pins(text) == {"torch": "2.10.0", "scikit-learn": "1.9.1"}


def test_weights_looked_for_are_those_that_are_downloaded() -> None:
    pretrained = {p.architecture for p in PIPELINES.values() if p.pretrained}
    downloaded = {name for name in pretrained if name not in PACKAGES}  # of installed packages
    assert downloaded == set(installation.TORCHVISION_NETWORKS)


def test_weights_check_absent_damaged_intact(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()[:8]
    path = tmp_path / f"net-{digest}.pth"
    entry = {"architecture": "net", "path": str(path), "url": "https://example.org/net.pth"}
    facts = {**NO_GPU, "weights": [entry]}
    absent = installation.weights_check(facts)
    assert (absent.status, absent.fix) == (
        "warn",
        f"curl -L --create-dirs -o {path} https://example.org/net.pth",
    )
    path.write_bytes(b"weig")
    damaged = installation.weights_check(facts)
    assert (damaged.status, damaged.fix) == ("fail", f"rm {path}")
    path.write_bytes(b"weights")
    assert installation.weights_check(facts).status == "ok"
    assert installation.weights_check(DEAD).status == "warn"


PROGRAMS: dict[str, tuple[dict[str, int], Callable[[], Check], str]] = {
    # case: (programs on the path and what they exit with, the check, its status)
    "no bubblewrap": ({}, doctor.bubblewrap_check, "warn"),
    "bubblewrap that the kernel refuses": ({"bwrap": 1}, doctor.bubblewrap_check, "warn"),
    "bubblewrap": ({"bwrap": 0}, doctor.bubblewrap_check, "ok"),
    "no git": ({}, doctor.git_check, "warn"),
    "git": ({"git": 0}, doctor.git_check, "ok"),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_program_checks(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, check, status = PROGRAMS[case]
    for name, code in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check().status == status


def spoil_nothing(root: Path) -> None:
    """A whole data set."""


def lose_an_image(root: Path) -> None:
    (root / "unlabelled" / "images" / "0003.png").unlink()


def cut_the_first_image(root: Path) -> None:
    path = root / "validation" / "images" / "0000.png"
    path.write_bytes(path.read_bytes()[:60])


def swell_the_first_image(root: Path) -> None:
    path = root / "training" / "images" / "0000.png"
    size = struct.pack(">4sII5B", b"IHDR", 30_000, 30_000, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + size + struct.pack(">I", zlib.crc32(size))
    path.write_bytes(path.read_bytes()[:8] + header + path.read_bytes()[33:])


def write_a_label_that_is_none(root: Path) -> None:
    path = root / "training" / "labels.csv"
    path.write_text(path.read_text().replace("0000.png,1", "0000.png,7"))


def lose_the_labels(root: Path) -> None:
    for path in root.rglob("labels.csv"):
        path.unlink()


DATA = {
    spoil_nothing: ("ok", "24 training, 40 unlabelled, 16 validation; 3 classes; 16 x 16 px"),
    lose_an_image: ("fail", "0003.png is missing"),
    cut_the_first_image: ("fail", "0000.png cannot be read"),
    swell_the_first_image: ("fail", "0000.png cannot be read"),
    write_a_label_that_is_none: ("fail", "line 2: dark is '7'"),
    lose_the_labels: ("warn", "no labels.csv in it"),
}


@pytest.mark.parametrize("spoil", DATA, ids=lambda spoil: spoil.__name__)
def test_data_checks(spoil: Callable[[Path], None], make_data: Callable[[], Path]) -> None:
    root = make_data()
    spoil(root)
    (found,) = data_checks(root.parent)
    assert (found.name, found.status) == ("data: squares", DATA[spoil][0])
    assert DATA[spoil][1] in found.detail


def test_data_checks_without_data_set(tmp_path: Path) -> None:
    (found,) = data_checks(tmp_path / "data")
    assert (found.status, found.fix) == ("warn", "python -m evaluator data make --recipe demo")


def test_check_demands_a_fix() -> None:
    with pytest.raises(ValueError, match="says no fix"):
        Check("torch", "fail", "broken")


def test_table_breaks_no_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    fix = "python -m pip install " + " ".join(f"package-{n}" for n in range(30))
    shown = table([Check("torch", "fail", "word " * 50, fix), Check("git", "ok", "2.39")])
    assert fix in shown
    assert max(len(line) for line in shown.splitlines() if "fix:" not in line) <= 60
    assert shown.endswith("1 ok, 1 FAIL")


def run_doctor(*flags: str, python: tuple[str, ...] = (), **environment: str) -> Any:
    return subprocess.run(
        [sys.executable, *python, "-m", "evaluator", *flags],
        cwd=REPO_ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


BROKEN_TORCH = {
    # case: (what torch/__init__.py does, what the doctor says)
    "missing library": (
        "raise OSError('libtorch_cpu.so: no such file')",
        "OSError: libtorch_cpu.so",
    ),
    "ends the process": ("import os; os.abort()", "ended by signal 6"),
    "ends it in silence": ("raise SystemExit(3)", "no message"),
}


@pytest.mark.parametrize("case", BROKEN_TORCH)
def test_doctor_reports_a_torch_that_breaks(case: str, tmp_path: Path) -> None:
    source, words = BROKEN_TORCH[case]
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(source)
    done = run_doctor("doctor", "--json", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    checks = {check["name"]: check for check in found["checks"]}
    assert found["ok"] is False
    assert checks["torch"]["status"] == "fail"
    assert words in checks["torch"]["detail"]
    assert {checks[name]["status"] for name in ("gpu", "weights")} == {"warn"}


def test_doctor_runs_where_nothing_is_installed() -> None:
    done = run_doctor("doctor", python=("-S",))  # no site-packages
    assert done.returncode == 1, done.stderr
    assert "not installed: torch and torchvision" in done.stdout
    fixes = {installation.how_to_install(prefix=p) for p in (sys.prefix, sys.base_prefix)}
    assert any(f"fix: {fix}" in done.stdout for fix in fixes)  # by whether -S knows where it is
    assert run_doctor("--help", python=("-S",)).returncode == 0
    other = run_doctor("validate", python=("-S",))
    assert other.returncode == 2
    assert "`python3 -m evaluator doctor` says what is missing" in other.stderr


def test_how_to_install_outside_an_environment(tmp_path: Path) -> None:
    step_in = ". .venv/bin/activate"
    outside = sys.base_prefix
    assert installation.how_to_install(tmp_path, outside).endswith(
        f"-m venv .venv && {step_in} && {installation.INSTALL}"
    )
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    assert installation.how_to_install(tmp_path, outside) == step_in
    assert installation.how_to_install(tmp_path, str(tmp_path / ".venv")) == installation.INSTALL


@pytest.mark.parametrize("script", ["local_evaluation.py", "choose.py"])
def test_commands_outside_the_environment(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-S", script, "--help"],
        cwd=REPO_ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: `{script}` cannot start: No module named")


def test_missing_requirement_inside_an_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for prefix, step_in in (("elsewhere", False), (sys.base_prefix, True)):
        monkeypatch.setattr(sys, "prefix", prefix)
        told = str(missing_requirement("x", ImportError("no y")))
        assert "cannot start: no y. " in told
        assert (". .venv/bin/activate" in told) == step_in


def test_examine_runs_every_check(tmp_path: Path) -> None:
    checks = {check.name: check for check in examine(tmp_path)}
    assert " ".join(checks) == (
        "python torch requirements gpu weights memory processors disk results cache data git "
        "ray bubblewrap"
    )
    # These tests run, so what they need cannot be missing.
    assert {checks[name].status for name in ("python", "results", "cache")} == {"ok"}
    assert checks["torch"].status in ("ok", "warn")
