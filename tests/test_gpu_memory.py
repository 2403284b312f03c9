"""A submission has the platform's GPU memory, on whatever card, and imports torch when it likes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evaluator.data.dataset import open_splits
from evaluator.experiment.config import EvaluationConfig
from evaluator.experiment.flags import parser
from evaluator.records.trial import Pair
from evaluator.worker.outcome import Limits
from evaluator.worker.runner import SubprocessRunner, TrialInputs
from evaluator.worker.vault import LabelVault
from tests.submissions import write_submission

# What `torch.cuda` does at its first use, with two cards: it carries out what was asked for before.
FAKE_CUDA = """
import contextlib
from types import SimpleNamespace

current, limited, _queued, _initialised = 0, {}, [], False
CARDS = [SimpleNamespace(name="Small", total_memory=8e9)]
CARDS += [SimpleNamespace(name="Large", total_memory=80e9)]

def _lazy_call(call):
    call() if _initialised else _queued.append(call)

def init():
    global _initialised
    _initialised = True
    for call in _queued:
        call()

def device_count():
    return len(CARDS)

def get_device_properties(number):
    return CARDS[number]

@contextlib.contextmanager
def device(number):
    global current
    before, current = current, number
    yield
    current = before

def set_per_process_memory_fraction(fraction, number):
    assert _initialised and current == number
    limited[number] = fraction
"""
LIMIT = "from evaluator.worker.gpu_memory import limit_gpu_memory; limit_gpu_memory(16e9, print)\n"


def fake_torch(folder: Path, cuda: str = FAKE_CUDA) -> Path:
    """A package `torch` that imports its `cuda` as the real one does."""
    (folder / "torch").mkdir(parents=True)
    (folder / "torch" / "__init__.py").write_text("from torch import cuda\n")
    (folder / "torch" / "cuda.py").write_text(cuda)
    return folder


def python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    paths = [*map(str, path), str(Path(__file__).resolve().parents[1])]
    head = f"import sys; sys.path[:0] = {paths!r}\n"
    return subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, check=False
    )


IMPORTS = (
    "import torch",
    "import torch.cuda",
    "from torch import cuda",
    "from torch.cuda import init",
)


@pytest.mark.parametrize("how", IMPORTS)
def test_limit_gpu_memory_at_the_first_use(how: str, tmp_path: Path) -> None:
    done = python(
        LIMIT
        + f"assert 'torch' not in sys.modules\n{how}\nimport torch\nassert not torch.cuda.limited\n"
        "torch.cuda.init()\nassert torch.cuda.limited == {1: 0.2}, torch.cuda.limited\n"
        "assert torch.cuda.current == 0",
        fake_torch(tmp_path),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Small: 8.0 of its 8.0 GB; the platform's has 16 (--gpu-memory)",
        "Large: 16.0 of its 80.0 GB; the platform's has 16 (--gpu-memory)",
    ]


def test_limit_gpu_memory_leaves_a_process_without_torch_alone() -> None:
    done = python(LIMIT + "import json, os.path, importlib\nassert 'torch' not in sys.modules")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_limit_gpu_memory_lets_an_import_fail_as_it_would(tmp_path: Path) -> None:
    folder = fake_torch(tmp_path, "raise ImportError('libcuda is broken')")
    code = "try:\n    import torch\nexcept ImportError as error:\n    print(error)\n"
    mended = f"open({str(folder / 'torch' / 'cuda.py')!r}, 'w').write({FAKE_CUDA!r})\n"
    used = "import torch\ntorch.cuda.init()\nprint(torch.cuda.limited)"
    done = python(LIMIT + 2 * code + mended + used, folder)
    first, second, *_, limited = done.stdout.splitlines()
    assert (first, second, limited) == (*2 * ["libcuda is broken"], "{1: 0.2}"), done.stderr


def test_limit_gpu_memory_asks_real_torch_before_cuda_is_used() -> None:
    """The fake does what torch does: `_lazy_call` keeps what is to be done at the first use."""
    done = python(
        LIMIT + "import torch\nassert not torch.cuda.is_initialized()\n"
        "asked = [call.__module__ for call, _ in torch.cuda._queued_calls]\n"
        "print(asked.count('evaluator.worker.gpu_memory'))"
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_limit_gpu_memory_of_a_submission(squares: Path, tmp_path: Path) -> None:
    use = "import torch; torch.cuda.init(); print('limited to', torch.cuda.limited)"
    run_py = write_submission(fake_torch(tmp_path / "mine"), pre_training=use)
    splits = open_splits(squares, progress=False)
    vault = LabelVault(splits.unlabelled.labels, 5)
    log = tmp_path / "log"
    runner = SubprocessRunner(Limits(gpu_memory=20e9))
    outcome = runner.run(run_py, TrialInputs(splits, Pair(5, 1), vault, log))
    assert (outcome.status, outcome.reason) == ("ok", "")
    assert "Large: 20.0 of its 80.0 GB; the platform's has 20 (--gpu-memory)" in log.read_text()
    assert "limited to {1: 0.25}" in log.read_text()


@pytest.mark.parametrize(
    ("flags", "gpu", "conditions"),
    [
        ((), True, ", 16 GB of a GPU"),
        (("--gpu-memory", "40"), True, ", 40 GB of a GPU"),
        ((), False, ""),
        (("--runner", "local"), True, ""),
        (("--engine", "ray"), True, ""),  # the trials are given none
        (("--engine", "ray", "--gpus-per-trial", "0.5"), False, ", 16 GB of a GPU"),
    ],
)
def test_gpu_condition(
    flags: tuple[str, ...], gpu: bool, conditions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    config = EvaluationConfig.from_flags(parser().parse_args(flags), flags)
    assert config.conditions() == f"round 2, 16 GiB{conditions}"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_limit_gpu_memory_on_a_gpu() -> None:
    done = python(
        LIMIT.replace("16e9", "1e9")
        + "import torch\nkept = torch.empty(500_000_000, dtype=torch.uint8, device='cuda')\n"
        "try:\n    torch.empty(1_000_000_000, dtype=torch.uint8, device='cuda')\n"
        "except torch.OutOfMemoryError:\n    print('full')"
    )
    assert done.stdout.splitlines()[-1] == "full", done.stderr
