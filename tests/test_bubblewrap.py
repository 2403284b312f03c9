"""`--isolate`: what a submission in the sandbox finds, and that it is evaluated there.

The same search runs once without the sandbox, where it must find what it looks for.
"""

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from evaluator.cli import main
from evaluator.data.dataset import Splits, open_splits
from evaluator.records.trial import Pair
from evaluator.worker.bubblewrap import (
    KEPT_VARIABLES,
    BubblewrapRunner,
    Sandbox,
    _mounts,
    _secrets,
    _weight_folders,
    _what_forbids,
    require,
)
from evaluator.worker.outcome import Limits, Outcome
from evaluator.worker.process_tree import namespace_pid
from evaluator.worker.runner import SubprocessRunner, TrialInputs
from evaluator.worker.vault import LabelVault
from shared.errors import ConfigurationError
from tests.conftest import REPO_ROOT, SIZES, write_split
from tests.submissions import left_running, write_submission
from tests.test_process_tree import gone, wait_for

BUDGET = 3
GIVEN = {
    "PYTHONUTF8",  # files are read as UTF-8 whatever the locale
    *("HOME", "TMPDIR", "PWD", "USER", "LOGNAME", "PYTHONPATH", "PYTHONUSERBASE"),
    *("PYTHONUNBUFFERED", "HF_HUB_OFFLINE", "TORCH_HOME", "HF_HUB_CACHE"),
}
SEARCH = """
import json, socket, ctypes
found = {"labels": [], "journals": [], "written": []}
for folder, inside, files in os.walk(START):
    if folder in ("/proc", "/sys"):
        inside.clear()
    for name in files:
        if name == "labels.csv" and "dark,bright" in open(os.path.join(folder, name)).read():
            found["labels"].append(os.path.join(folder, name))
        if name == "purchases.jsonl":
            found["journals"].append(os.path.join(folder, name))

def reached(family, address):
    line = socket.socket(family)
    line.settimeout(5)
    try:
        line.connect(address)
        return True
    except OSError:
        return False
    finally:
        line.close()

found["network"] = reached(socket.AF_INET, ("127.0.0.1", PORT))
found["local sockets"] = reached(socket.AF_UNIX, ABSTRACT)

def readable(path):
    try:
        with open(path, "rb") as file:
            return bool(file.read(1))
    except OSError:
        return False

def writable(path):
    try:
        os.close(os.open(path, os.O_WRONLY))
        return True
    except OSError:
        return False

found["kernel settings"] = writable("/proc/sys/kernel/core_pattern")
found["its own process"] = writable("/proc/self/oom_score_adj")
evaluator = EVALUATOR
found["environment of the evaluator"] = readable(f"/proc/{evaluator}/environ")
found["memory of the evaluator"] = os.path.exists(f"/proc/{evaluator}/mem")
found["processes"] = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
found["variables"] = sorted(os.environ)
found["secret"] = os.environ.get("ZEWDPC_SECRET")
found["weights"] = readable(os.path.join(os.environ["TORCH_HOME"], "hub", "net.pth"))
try:
    os.kill(evaluator, 0)
    found["signal to the evaluator"] = True
except OSError:
    found["signal to the evaluator"] = False
isolated = os.getppid() == 1 and socket.gethostname() == "isolated"
if isolated:
    found["trace"] = ctypes.CDLL(None, use_errno=True).ptrace(0x4206, evaluator, 0, 0)  # SEIZE
    os.kill(1, signal.SIGKILL)

source = os.path.dirname(os.path.abspath(__file__))
places = {
    "home": ".", "tmp": "/tmp", "submission": source, "root": "/", "usr": "/usr", "etc": "/etc",
    "repository": REPO_ROOT, "results": os.path.join(source, "results"), "python": sys.prefix,
    "images": os.path.dirname(unlabelled_dataset.images.filename),
}
for name, folder in places.items() if isolated else ():
    try:
        with open(os.path.join(folder, "zewdpc-was-here"), "w") as file:
            file.write("x")
        found["written"].append(name)
    except OSError:
        pass
print("FOUND" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def permitted() -> None:
    try:
        require()
    except ConfigurationError as error:
        pytest.skip(str(error))


@dataclass
class World:
    """A submission's folder that holds a data set, journals and history, as a kit's does."""

    folder: Path
    splits: Splits
    vault: LabelVault
    log: Path

    @property
    def hidden(self) -> tuple[Path, ...]:
        return self.splits.root, self.folder / "results"

    def run(
        self, *, isolated: bool = True, seconds: float = 300, limits: Limits | None = None, **places
    ) -> Outcome:
        limits = limits or Limits()
        runner = (
            BubblewrapRunner(limits, hidden=self.hidden) if isolated else SubprocessRunner(limits)
        )
        trial = TrialInputs(self.splits, Pair(BUDGET, seconds / 60), self.vault, self.log)
        outcome = runner.run(write_submission(self.folder, **places), trial)
        assert left_running() == [], "a process was left behind"
        return outcome


@pytest.fixture
def world(tmp_path: Path) -> World:
    folder = tmp_path / "kit"
    for seed, (split, n) in enumerate(SIZES.items()):
        write_split(folder / "pool" / split, n, seed)
    (folder / "results").mkdir()
    (folder / "results" / "purchases.jsonl").write_text("{}\n")
    for copy in (folder, folder / "copies" / "old", folder / ".cache" / "old"):
        copy.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "pool" / "unlabelled" / "labels.csv", copy)
    splits = open_splits(folder / "pool", progress=False)
    vault = LabelVault(splits.unlabelled.labels, BUDGET)
    return World(folder.resolve(), splits, vault, tmp_path / "trial.log")


@pytest.fixture
def search(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The search as code, with things to find: a secret, two servers, weights."""
    monkeypatch.setenv("ZEWDPC_SECRET", "of the evaluator")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "torch" / "hub").mkdir(parents=True)
    (tmp_path / "torch" / "hub" / "net.pth").write_bytes(b"weights")
    with ExitStack() as stack:
        network = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind(f"\0zewdpc-{os.getpid()}")
        local.listen()
        known = {
            "PORT": network.getsockname()[1],
            "ABSTRACT": f"\0zewdpc-{os.getpid()}",
            "EVALUATOR": os.getpid(),
            "REPO_ROOT": str(REPO_ROOT),
        }
        yield "\n".join(f"{name} = {value!r}" for name, value in known.items()) + SEARCH


def findings(log: Path) -> dict[str, object]:
    (line,) = [line for line in log.read_text().splitlines() if line.startswith("FOUND")]
    found: dict[str, object] = json.loads(line.removeprefix("FOUND"))
    return found


def test_sandbox_hides_labels_network_and_evaluator(
    permitted: None, world: World, search: str
) -> None:
    outcome = world.run(purchase="START = '/'\n" + search)
    assert (outcome.status, outcome.reason) == ("ok", "")
    assert [line for line in outcome.warnings if "CPU contention" not in line] == []
    assert not (REPO_ROOT / "zewdpc-was-here").exists()
    assert list(world.vault.purchased) == list(range(BUDGET))
    found = findings(world.log)
    assert found.pop("processes") == [1, 2], "bubblewrap's and its own"
    assert found.pop("trace") == -1
    variables = found.pop("variables")
    assert isinstance(variables, list)
    assert {name for name in variables if not name.startswith("LC_")} <= KEPT_VARIABLES | GIVEN
    assert found == {
        "labels": [],
        "journals": [],
        # A repository below /tmp is seen in a folder of the sandbox's own /tmp.
        "written": ["home", "tmp", *(["repository"] if REPO_ROOT.is_relative_to("/tmp") else [])],
        "kernel settings": False,
        "its own process": False,
        "network": False,
        "local sockets": False,
        "environment of the evaluator": False,
        "memory of the evaluator": False,
        "secret": None,
        "weights": True,
        "signal to the evaluator": False,
    }
    assert list(world.folder.rglob("zewdpc-was-here")) == []
    assert not Path("/tmp/zewdpc-was-here").exists()


def test_run_without_a_sandbox_sees_what_the_sandbox_hides(world: World, search: str) -> None:
    outcome = world.run(isolated=False, purchase=f"START = {str(world.folder)!r}\n" + search)
    assert outcome.status == "ok", outcome.reason
    found = findings(world.log)
    assert len(found["labels"]) == 6  # three splits and three copies
    assert len(found["journals"]) == 1
    processes = found["processes"]
    assert isinstance(processes, list)
    assert os.getpid() in processes
    known = ("network", "local sockets", "environment of the evaluator", "memory of the evaluator")
    assert [found[name] for name in (*known, "signal to the evaluator")] == [True] * 5
    assert found["secret"] == "of the evaluator"
    assert found["its own process"] is True


def test_sandbox_deadline(permitted: None, world: World) -> None:
    outcome = world.run(
        seconds=3,
        purchase="""
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(600)
                os._exit(0)
            time.sleep(600)
        """,
    )
    assert outcome.status == "timeout"
    assert outcome.reason.startswith("purchase: the compute budget")
    assert outcome.left_running == 1


def test_sandbox_memory_limit(permitted: None, world: World) -> None:
    outcome = world.run(
        limits=Limits(memory=600 * 2**20),
        pre_training="""
            subprocess.Popen([sys.executable, "-c",
                              "x = bytearray(700 * 2**20); import time; time.sleep(600)"])
            time.sleep(600)
        """,
    )
    assert outcome.status == "out_of_memory", outcome.reason


def test_sandbox_process_limit(permitted: None, world: World) -> None:
    outcome = world.run(
        limits=Limits(processes=20),
        pre_training="""
            for _ in range(40):
                if os.fork() == 0:
                    time.sleep(600)
                    os._exit(0)
            time.sleep(600)
        """,
    )
    assert outcome.status == "crashed"
    assert "processes at one time; at most 20 are allowed" in outcome.reason


def test_sandbox_counts_processes_left_running(permitted: None, world: World) -> None:
    outcome = world.run(
        after_purchase="""
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(600)
                os._exit(0)
        """
    )
    assert (outcome.status, outcome.left_running) == ("ok", 1)
    assert outcome.warnings == ["1 processes were left running; killed."]


@pytest.mark.parametrize(
    ("code", "words"),
    [("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"), ("os._exit(3)", "exit code 3")],
)
def test_sandbox_reports_how_the_process_ended(
    code: str, words: str, permitted: None, world: World
) -> None:
    outcome = world.run(purchase=code)
    assert outcome.status == "crashed"
    assert words in outcome.reason


def test_preflight_is_sandboxed(permitted: None, world: World) -> None:
    guarded = "open(os.path.join(os.path.dirname(__file__), 'was-here'), 'w')"
    submission = write_submission(world.folder, at_import=guarded)
    with pytest.raises(ConfigurationError, match="Read-only file system"):
        BubblewrapRunner(hidden=world.hidden).preflight(submission, [{}])
    assert not (world.folder / "was-here").exists()


KEYRING_CALLS = {"x86_64": (250, 248), "aarch64": (219, 217)}  # keyctl, add_key
LEAVE_A_KEY = """
import ctypes
libc = ctypes.CDLL(None)
print(libc.syscall(KEYCTL, 10, -3, b"user", b"labels", 0) > 0)  # found in the session's keyring
libc.syscall(ADD_KEY, b"user", b"labels", b"0101", 4, -3)
"""


def test_sandbox_gives_each_trial_an_empty_keyring(permitted: None, tmp_path: Path) -> None:
    keyctl, add_key = KEYRING_CALLS[os.uname().machine]
    if ctypes.CDLL(None).syscall(keyctl, 1, None) < 0:  # as a login does
        pytest.skip("the kernel allows no keyrings here")
    code = LEAVE_A_KEY.replace("KEYCTL", str(keyctl)).replace("ADD_KEY", str(add_key))
    inner = [sys.executable, "-I", "-S", "-c", code]
    (tmp_path / "submission").mkdir()

    def trial(name: str) -> str:
        (tmp_path / name).mkdir()
        command = Sandbox().command(inner, tmp_path / "submission", [], tmp_path / name)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert [trial("first"), trial("second")] == ["False", "False"]
    plain = [subprocess.run(inner, capture_output=True, text=True, check=True) for _ in range(2)]
    assert [done.stdout.strip() for done in plain] == ["False", "True"], "the test tests nothing"


EVALUATOR = """
import os, subprocess, sys, time
from pathlib import Path
from evaluator.worker.process_tree import ProcessTree
from evaluator.worker.bubblewrap import Sandbox
scratch = Path(sys.argv[1])
inner = ["sh", "-c", "setsid sleep 600 & touch ready; sleep 600"]
sandbox = Sandbox()
ProcessTree(
    sandbox.command(inner, scratch / "submission", [], scratch),
    cwd=scratch, env=sandbox.environment(scratch), output=2, pass_fds=[], sandboxed=True,
)
time.sleep(600)
"""


def test_sandbox_ends_with_a_killed_evaluator(permitted: None, tmp_path: Path) -> None:
    (tmp_path / "submission").mkdir()
    evaluator = subprocess.Popen(
        [sys.executable, "-c", EVALUATOR, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(REPO_ROOT)},
    )
    wait_for((tmp_path / "home" / "ready").exists)
    family = psutil.Process(evaluator.pid).children(recursive=True)
    assert [process.name() for process in family].count("sleep") >= 1
    evaluator.kill()
    evaluator.wait()
    wait_for(lambda: all(gone(process.pid) for process in family))


@pytest.mark.slow
def test_isolated_trials_have_their_own_conditions(
    permitted: None, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", str(squares), "--pairs", "5:1", "--pipeline", "quick", "--plan", "--quiet"]
    assert main([*flags, "--isolate", "--out", str(tmp_path / "out")]) == 0
    assert "round 2, 16 GiB, isolated" in capsys.readouterr().out


def test_namespace_pid_outside_a_sandbox() -> None:
    assert namespace_pid(os.getpid()) == 0
    assert namespace_pid(2**22 + 1) == 0


# What stands where: shown and hidden folders, and which of them is bound or covered.
LAYOUTS = {
    "a hidden folder in a shown one": (["a"], ["a/data"], ["+a", "-a/data"]),
    "a shown file in a hidden folder": (["a", "a/d/x.npy"], ["a/d"], ["+a", "-a/d", "+a/d/x.npy"]),
    "shown twice": (["a", "a/d"], [], ["+a"]),
    "hidden and not there anyway": (["a"], ["data"], ["+a"]),
    "hidden twice": (["a"], ["a/d", "a/d/e"], ["+a", "-a/d"]),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_mounts_deeper_path_decides(case: str, tmp_path: Path) -> None:
    shown, hidden, expected = LAYOUTS[case]
    for name in (*shown, *hidden):
        path = tmp_path / name
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            path.mkdir(parents=True, exist_ok=True)
    words = list(
        _mounts({tmp_path / name for name in shown}, {tmp_path / name for name in hidden}, tmp_path)
    )
    steps = []
    while words:
        option = words.pop(0)
        path = Path(words.pop(0)).relative_to(tmp_path).as_posix()
        if option == "--ro-bind":
            words.pop(0)
            steps.append(f"+{path}")
        elif option == "--tmpfs":
            steps.append(f"-{path}")
        else:
            assert option == "--remount-ro"
    assert steps == expected


def test_secrets_of_a_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = ("data", "results", ".git", "theirs/.git", "mine/labels.csv", ".cache/d/labels.csv")
    for name in ("data/zew", "results", ".git", "theirs/.git", "mine", ".cache/d", ".venv"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("data/zew", "mine", ".cache/d", "theirs/.git", ".venv"):
        (tmp_path / name / "labels.csv").touch()
    (tmp_path / "local_evaluation.py").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))  # in use, so not searched
    assert set(_secrets(tmp_path)) == {tmp_path / name for name in secret}


@pytest.mark.parametrize(
    "target", ["truth.txt", "../pool/training/labels.csv", "/etc/fstab", "gone.csv"]
)
def test_sandbox_covers_the_target_of_a_link_to_labels(
    target: str, permitted: None, world: World
) -> None:
    (world.folder / "mine").mkdir()
    (world.folder / "mine" / "truth.txt").write_text("dark,bright")
    (world.folder / "mine" / "labels.csv").symlink_to(target)
    outcome = world.run(
        purchase="""
            link = os.path.join(os.path.dirname(__file__), "mine", "labels.csv")
            assert not os.path.exists(link) or not open(link).read()
        """
    )
    assert (outcome.status, outcome.reason) == ("ok", "")


WEIGHTS = [
    ({"XDG_CACHE_HOME": "/c"}, "/c/torch", "/c/huggingface/hub"),
    ({"TORCH_HOME": "/t", "HF_HOME": "/h"}, "/t", "/h/hub"),
    ({"HF_HUB_CACHE": "/x", "HF_HOME": "/h", "XDG_CACHE_HOME": "/c"}, "/c/torch", "/x"),
]


@pytest.mark.parametrize(("environment", "torch_home", "hub"), WEIGHTS)
def test_weight_folders_by_environment(
    environment: dict[str, str], torch_home: str, hub: str
) -> None:
    expected = {"TORCH_HOME": Path(torch_home), "HF_HUB_CACHE": Path(hub)}
    assert _weight_folders(environment) == expected


def test_sandbox_refuses_submission_in_hidden_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Move one of them"):
        Sandbox((tmp_path,)).command(["true"], tmp_path, [], tmp_path / "scratch")


def test_require_names_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--isolate", "--list"]) == 2
    assert "apt-get install bubblewrap" in capsys.readouterr().err


def test_require_repeats_what_bubblewrap_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refusing = tmp_path / "bwrap"
    refusing.write_text(
        "#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1"
    )
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"setting up uid map: Permission denied"):
        require()


SWITCHES = [
    ("user/max_user_namespaces", "0", r"sudo sysctl user.max_user_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("user/max_user_namespaces", "15000", "--security-opt"),
]


@pytest.mark.parametrize(("switch", "value", "words"), SWITCHES)
def test_what_forbids_names_the_kernel_switch(
    switch: str, value: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / switch).parent.mkdir(parents=True)
    (tmp_path / switch).write_text(f"{value}\n")
    assert words in _what_forbids(tmp_path)
