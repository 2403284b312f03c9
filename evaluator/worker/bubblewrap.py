"""`--isolate`: the submission's process in a sandbox without labels, network or evaluator.

bubblewrap (https://github.com/containers/bubblewrap) gives it user, process, network, IPC and
host-name namespaces of its own, and a file system that shows only what is listed here. Every path
is the same inside as outside; what is not listed does not exist inside.
"""

import os
import shutil
import site
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from evaluator.worker.namespaces import NAMESPACES, PROBE, SYSTEM
from evaluator.worker.process_tree import ProcessTree
from evaluator.worker.runner import JOB_FILE, REPO_ROOT, SubprocessRunner
from shared.errors import ConfigurationError

IMAGES = ("training_images", "unlabelled_images", "test_images")  # files that the worker maps
# The kernel's session keyring is in no namespace and goes from parent to child: labels that one
# trial puts there, the next could read. So each begins with an empty one (keyctl_join_session).
OWN_KEYRING = """
import ctypes, os, sys
keyctl = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine)
if keyctl:
    ctypes.CDLL(None).syscall(keyctl, 1, None)
os.execvp(sys.argv[1], sys.argv[1:])
"""
ETC = (
    *("alternatives", "fonts", "group", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d"),
    *("localtime", "mime.types", "nsswitch.conf", "os-release", "passwd", "timezone", "OpenCL"),
)
GPU_DEVICES = ("nvidia*", "dri", "kfd")  # in /dev
GPU_DRIVER = ("/sys/bus/pci", "/sys/module/nvidia", "/sys/class/drm", "/sys/class/kfd")
KEPT_VARIABLES = frozenset(
    [
        *("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "LANG"),
        *("LD_LIBRARY_PATH", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "OMP_NUM_THREADS"),
        *("OPENBLAS_NUM_THREADS", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED"),
        *("PYTORCH_CUDA_ALLOC_CONF", "TZ"),
    ]
)
SECRETS = (".git", "labels.csv")  # names, anywhere in the submission's folder
PACKAGES = ("site-packages", "dist-packages")
USER_NAMESPACE_SWITCHES = {  # file below /proc/sys: the value that forbids user namespaces
    "kernel/unprivileged_userns_clone": "0",
    "kernel/apparmor_restrict_unprivileged_userns": "1",
    "user/max_user_namespaces": "0",
}


@dataclass(frozen=True)
class Sandbox:
    """How `--isolate` runs a submission.

    Parameters
    ----------
    hidden : folders that must not be seen even where they lie inside something that is shown:
        the data set, the journals.
    """

    hidden: tuple[Path, ...] = ()

    def command(
        self, inner: list[str], submission: Path, needed: Iterable[Path], scratch: Path
    ) -> list[str]:
        """`inner` wrapped so that it sees the system, its folder and `needed`, all read-only.

        Parameters
        ----------
        submission : the folder of run.py.
        needed : files of the evaluator that the worker opens: its job, the decoded images.
        scratch : an existing folder of the evaluator; subfolders of it become /tmp and `home`.
        """
        hidden = {path.resolve() for path in self.hidden if path.exists()}
        if submission in hidden:
            raise ConfigurationError(
                "isolate-folder",
                f"--isolate: {submission} holds the submission and is also the data set's folder "
                "or --out, which the submission must not see. Move one of them.",
            )
        empty, tmp, home = scratch / "empty", scratch / "tmp", home_of(scratch)
        empty.touch()
        tmp.mkdir()
        home.mkdir()
        shown = {
            *_python(),
            *_weights(),
            REPO_ROOT / "base_run.py",
            REPO_ROOT / "evaluator",
            REPO_ROOT / "shared",
            REPO_ROOT / "core",  # of evaluator.trainer
            submission,
        }
        shown |= {*needed, *(path for path in map(Path, SYSTEM) if path.exists())}
        return [
            *("bwrap", *NAMESPACES, "--hostname", "isolated"),
            *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/dev/shm"),
            *("--bind", str(tmp), "/tmp"),
            *_pairs("--ro-bind-try", (f"/etc/{name}" for name in ETC)),
            *_gpu(),
            *_mounts(shown, hidden | set(_secrets(submission)), empty),
            *("--bind", str(home), str(home), "--chdir", str(home)),
            # Root's files in /proc/sys ask for no capability, only for root's number.
            *("--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/"),
            *("--", sys.executable, "-I", "-S", "-c", OWN_KEYRING, *inner),
        ]

    def environment(self, scratch: Path) -> dict[str, str]:
        """The few variables that a submission may know, with its scratch folder as home."""
        home = str(home_of(scratch))
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in KEPT_VARIABLES or name.startswith("LC_")
        }
        weights = {
            name: str(path) for name, path in _weight_folders(os.environ).items() if path.is_dir()
        }
        asked = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        packages = [path for path in asked if Path(path).name in PACKAGES]
        return {
            **kept,
            **weights,
            **{"HOME": home, "TMPDIR": home, "USER": "submission", "LOGNAME": "submission"},
            "HF_HUB_OFFLINE": "1",
            "PYTHONUTF8": "1",
            "PYTHONPATH": os.pathsep.join([str(REPO_ROOT), *packages]),
            "PYTHONUSERBASE": site.getuserbase(),
        }


@dataclass(frozen=True)
class BubblewrapRunner(SubprocessRunner):
    """Runs a submission in a sandbox, where it sees no labels, no network and no other process.

    hidden : folders that it must not see even where they lie inside something that it sees: data
        sets, journals.
    """

    hidden: tuple[Path, ...] = ()

    name: ClassVar[str] = "bubblewrap"
    trusted: ClassVar[bool] = False

    def _start(
        self,
        command: list[str],
        job: Mapping[str, Any],
        scratch: Path,
        **streams: Any,
    ) -> ProcessTree:
        sandbox = Sandbox(self.hidden)
        needed = [scratch / JOB_FILE, *(Path(job[name]) for name in IMAGES if name in job)]
        folder = Path(job["submission"]).parent
        return ProcessTree(
            sandbox.command(command, folder, needed, scratch),
            cwd=home_of(scratch),
            env={**sandbox.environment(scratch), "PYTHONUNBUFFERED": "1"},
            sandboxed=True,
            **streams,
        )


def home_of(scratch: Path) -> Path:
    """The submission's one writable folder: its working directory, HOME and TMPDIR."""
    return scratch / "home"


def require() -> None:
    """Raise ConfigurationError, saying what to do, where bubblewrap is missing or forbidden."""
    if not shutil.which("bwrap"):
        raise ConfigurationError(
            "no-bubblewrap",
            "--isolate needs bubblewrap, which is not installed: apt-get install bubblewrap "
            "(or dnf, pacman, zypper: the package has the same name everywhere).",
        )
    done = subprocess.run(PROBE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigurationError(
            "sandbox-forbidden",
            f"--isolate: bubblewrap may not make a sandbox here ({done.stderr.strip()}). "
            f"{_what_forbids(Path('/proc/sys'))}",
        )


def _what_forbids(switches: Path) -> str:
    for name, forbidding in USER_NAMESPACE_SWITCHES.items():
        try:
            value = (switches / name).read_text().strip()
        except OSError:
            continue
        if value == forbidding:
            allowed = {"0": "1", "1": "0"}[value] if name.startswith("kernel") else "15000"
            dotted = name.replace("/", ".")
            return (
                f"User namespaces are switched off by {dotted} = {value}; an administrator can "
                f"allow them: sudo sysctl {dotted}={allowed}"
            )
    return (
        "In a chroot it cannot work. Inside a container its host must allow it, for Docker: "
        "--security-opt seccomp=unconfined --security-opt apparmor=unconfined "
        "--security-opt systempaths=unconfined."
    )


def _mounts(shown: set[Path], hidden: set[Path], empty: Path) -> Iterator[str]:
    """Shown paths bound read-only, hidden ones covered; the deeper path decides."""
    plan = {**dict.fromkeys(hidden, False), **dict.fromkeys(shown, True)}
    covers = []
    for path in sorted(plan, key=lambda path: (len(path.parts), path)):
        above = next((plan[parent] for parent in path.parents if parent in plan), False)
        if plan[path] == above:
            continue  # seen already, or not there to be hidden
        if plan[path]:
            yield from ("--ro-bind", str(path), str(path))
        elif path.is_dir():
            yield from ("--tmpfs", str(path))
            covers.append(str(path))
        else:
            yield from ("--ro-bind", str(empty), str(path))
    for cover in covers:
        yield from ("--remount-ro", cover)


def _secrets(submission: Path) -> Iterator[Path]:
    """What a submission's own folder may hold of data sets: label files, a kit's data, history."""
    environment = set(_python())  # large, and shown as a whole
    names = {*SECRETS}
    if (submission / "local_evaluation.py").is_file():
        names |= {"data", "results"}
    for folder, inside, files in os.walk(submission):
        found = [Path(folder, name) for name in names.intersection((*inside, *files))]
        yield from (path.resolve() for path in found if path.exists())
        inside[:] = [n for n in inside if n not in names and Path(folder, n) not in environment]
        names = {*SECRETS}  # `data` is the kit's at the top only


def _python() -> Iterator[Path]:
    """The interpreter and every package it has, wherever they lie."""
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    for path in (*map(Path, prefixes), *_packages()):
        if path.is_dir():
            yield path
            yield path.resolve()
    yield Path(sys.executable).resolve()


def _packages() -> Iterator[Path]:
    """Folders of installed packages that the interpreter in use has on its path."""
    yield from (Path(path) for path in sys.path if Path(path).name in PACKAGES)


def _weight_folders(environment: Mapping[str, str]) -> dict[str, Path]:
    """Where torchvision, timm and the hub keep pretrained weights; no token lies in these."""
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    hub = Path(environment.get("HF_HOME") or cache / "huggingface") / "hub"
    return {
        "TORCH_HOME": Path(environment.get("TORCH_HOME") or cache / "torch"),
        "HF_HUB_CACHE": Path(environment.get("HF_HUB_CACHE") or hub),
    }


def _weights() -> Iterator[Path]:
    for path in _weight_folders(os.environ).values():
        if path.is_dir():
            yield from (path, path.resolve())


def _gpu() -> list[str]:
    devices = [str(path) for name in GPU_DEVICES for path in sorted(Path("/dev").glob(name))]
    if not devices:
        return []
    buses = map(str, sorted(Path("/sys/devices").glob("pci*")))
    driver = _pairs("--ro-bind-try", (*GPU_DRIVER, *buses))
    return [*_pairs("--dev-bind-try", devices), *driver]


def _pairs(option: str, paths: Iterable[str]) -> list[str]:
    return [word for path in paths for word in (option, path, path)]
