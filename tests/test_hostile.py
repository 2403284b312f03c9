"""Submissions that do harm, by malice or by mistake, one after another through one evaluator.

Each row ends as it should, leaves no process and no shared memory, and its record is a whole line
of the journal. The evaluator still works after all of them; the images are what they were.
"""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from evaluator.data.dataset import Splits, open_splits
from evaluator.experiment.evaluation import Evaluation
from evaluator.experiment.plan import Plan
from evaluator.experiment.run_trial import log_of
from evaluator.experiment.scheduler import run
from evaluator.experiment.submissions import name_submissions
from evaluator.records.journal import Record, read_records
from evaluator.records.trial import Pair
from evaluator.training.scoring import Scorer
from evaluator.worker.bubblewrap import BubblewrapRunner
from evaluator.worker.capped_log import FIRST, LAST, last_lines
from evaluator.worker.outcome import Limits
from evaluator.worker.runner import SubprocessRunner
from tests.submissions import left_running, skip_without_bubblewrap, write_submission

BUDGET = 5
LINE = "unlabelled_dataset._purchase.__self__._channel"  # the child's end of the line
MARKER = f"/tmp/zewdpc-hostile-{os.getpid()}"  # made by a pickle that was loaded


@dataclass(frozen=True)
class Row:
    """What a submission does where, and what must come of it."""

    places: dict[str, str]
    status: str
    reason: str = "^$"  # searched in the reason, as are the next two where they belong
    warning: str = ""
    log: str = ""
    source: str | None = None  # the whole of run.py, instead of places
    seconds: float = 120.0
    limits: Limits = field(default_factory=Limits)
    isolated: bool = False


ROWS: dict[str, Row] = {
    # too much of something
    "a storm of forks": Row(
        {
            "purchase": """
                for _ in range(200):
                    if os.fork() == 0:
                        time.sleep(600)
                        os._exit(0)
                time.sleep(600)
            """
        },
        "crashed",
        r"purchase: \d+ processes at one time; at most 60 are allowed",
        limits=Limits(processes=60),
    ),
    "a storm of forks out of its process group": Row(
        {
            "purchase": """
                for _ in range(100):
                    if os.fork() == 0:
                        os.setsid()
                        time.sleep(600)
                        os._exit(0)
                time.sleep(600)
            """
        },
        "crashed",
        "processes at one time; at most 60 are allowed",
        limits=Limits(processes=60),
    ),
    "output without end": Row(
        {
            "purchase": """
                for _ in range(300):
                    os.write(1, b"spam and eggs\\n" * 75000)
            """,
            "prediction": "print('the last words')",
        },
        "ok",
        log=r"(?s)[\d,]+ bytes were left out of this log.*the last words",
    ),
    "memory that it forbids to look at": Row(
        {
            "pre_training": """
                import ctypes
                ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
                hoard = bytearray(os.urandom(2**20)) * 600
                time.sleep(600)
            """
        },
        "out_of_memory",
        "GiB of private memory in all its processes",
        limits=Limits(memory=600 * 2**20),
    ),
    "a full disk": Row(
        {
            "pre_training": """
                with open("/dev/full", "w") as file:
                    file.write("a checkpoint")
            """
        },
        "crashed",
        "pre_training: OSError: .*No space left on device",
    ),
    "infinite recursion": Row(
        {
            "purchase": """
                def again():
                    again()
                again()
            """
        },
        "crashed",
        "purchase: RecursionError",
    ),
    "a CUDA device without memory": Row(
        {"pre_training": "import torch; raise torch.OutOfMemoryError('CUDA out of memory.')"},
        "out_of_memory",
        "pre_training: .*CUDA out of memory",
    ),
    "an excuse of ten megabytes": Row(
        {"purchase": "raise ValueError('because ' * 1250000)"},
        "crashed",
        r"^purchase: ValueError: (because ){400,500}b?e?c?a?u?s?e? ?$",
    ),
    "words that a terminal obeys, and too many": Row(
        {
            "purchase": rf"""
                os.write(1, b"\x1b[2J\x1b]52;c;cm0gLXJm\x07 all is well\n")
                {LINE}.send({{"type": "failed", "reason": "\x1b[8m" + "x" * 1000000}})
            """
        },
        "crashed",
        r"^purchase: \\x1b\[8mx{4000,}$",
    ),
    "a flood of progress": Row(
        {"purchase": "for i in range(20000): register_progress(i / 20000)"}, "ok"
    ),
    # time
    "clocks that it turned back": Row(
        {
            "pre_training": """
                stop = threading.Event()
                time.time = time.monotonic = time.perf_counter = lambda: 0.0
                while time.monotonic() < 1:
                    stop.wait(0.1)
            """
        },
        "timeout",
        "pre_training: the compute budget",
        seconds=3,
    ),
    "deaf to SIGTERM and SIGINT": Row(
        {
            "purchase": """
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                time.sleep(600)
            """
        },
        "timeout",
        "purchase: the compute budget",
        seconds=3,
    ),
    "a stopped process": Row(
        {"purchase": "os.kill(os.getpid(), signal.SIGSTOP)"},
        "timeout",
        "purchase: the compute budget",
        seconds=3,
    ),
    "an import that takes minutes": Row(
        {"at_import": "time.sleep(600)"},
        "timeout",
        "start-up: its time limit was used up",
        limits=Limits(start_up=5),
    ),
    "a prediction that takes minutes": Row(
        {"prediction": "time.sleep(600)"},
        "timeout",
        "prediction: its time limit was used up",
        limits=Limits(prediction=2),
    ),
    # an end of its own
    "sys.exit(0) in the middle": Row(
        {"purchase": "sys.exit(0)"}, "crashed", "purchase: .* ended with exit code 0 before"
    ),
    "KeyboardInterrupt": Row(
        {"purchase": "raise KeyboardInterrupt"}, "crashed", "purchase: .* killed by SIGINT"
    ),
    "its own process group killed": Row(
        {"purchase": "os.killpg(os.getpgrp(), signal.SIGKILL)"},
        "crashed",
        "purchase: .* killed by SIGKILL",
    ),
    "memory that is not its own": Row(
        {"purchase": "import ctypes; ctypes.string_at(8)"}, "crashed", "killed by SIGSEGV"
    ),
    "standard streams closed": Row({"purchase": "os.closerange(0, 3)"}, "ok"),
    "sys.stdout closed, and a reason to tell without sys.stderr": Row(
        {
            "purchase": "sys.stdout.close()",
            "prediction": "sys.stderr.close(); raise ValueError('the reason')",
        },
        "crashed",
        "prediction: ValueError: the reason",
    ),
    "a sys.stdout of its own making": Row({"purchase": "sys.stdout = object()"}, "ok"),
    "every file closed": Row(
        {"purchase": "os.closerange(0, 256); time.sleep(600)"},
        "crashed",
        "purchase: .* closed its connection to the evaluator but kept running",
    ),
    "the line closed": Row(
        {"purchase": f"{LINE}.close()"}, "crashed", "purchase: .* ended with exit code 1"
    ),
    "questions to a keyboard": Row(
        {"pre_training": "input('Continue? ')"}, "crashed", "pre_training: EOFError"
    ),
    "a thread that never ends": Row(
        {"prediction": "threading.Thread(target=threading.Event().wait).start()"}, "ok"
    ),
    "a fork that returns from its phase": Row(
        {
            "purchase": """
                if os.fork() == 0:
                    return {}
                os.wait()
            """
        },
        "ok",
    ),
    "a fork that raises out of its phase": Row(
        {
            "purchase": """
                if os.fork() == 0:
                    raise ValueError("a worker of mine failed, which I can live with")
                os.wait()
            """
        },
        "ok",
        log="a worker of mine failed",
    ),
    # run.py
    "a syntax error": Row({}, "crashed", "(?s)start-up: .*SyntaxError", source="def broken(:"),
    "no class": Row({}, "crashed", "start-up: .*has no name `ZEWDPCBaseRun`", source="x = 1"),
    "no prediction phase": Row(
        {"at_import": "del Submission.prediction_phase"},
        "crashed",
        "prediction: NotImplementedError",
    ),
    "its own folder deleted": Row(
        {"pre_training": "import shutil; shutil.rmtree(os.path.dirname(__file__))"}, "ok"
    ),
    # answers
    "words for predictions": Row(
        {"prediction": "predictions = ['scratch', 'dent']"}, "bad_output", "prediction: dtype str"
    ),
    "ragged predictions": Row(
        {"prediction": "predictions = [[0], [0, 1]]"}, "crashed", "prediction: ValueError"
    ),
    "huge predictions": Row(
        {"prediction": "predictions = np.zeros((len(test_dataset), 2**24), dtype=np.uint8)"},
        "bad_output",
        r"shape \[16, 16777216\]; expected \[16, 3\]",
    ),
    "a pickle that acts when it is loaded": Row(
        {
            "prediction": f"""
                class Trap:
                    def __reduce__(self):
                        return os.mkdir, ({MARKER!r},)
                predictions = np.array([[Trap()] * 3] * len(test_dataset), dtype=object)
            """
        },
        "bad_output",
        "dtype object",
    ),
    "pickles on the line": Row(
        {
            "purchase": f"""
                import pickle
                class Trap:
                    def __reduce__(self):
                        return os.mkdir, ({MARKER!r},)
                {LINE}.send({{"type": "done", "claimed": []}}, pickle.dumps(Trap()))
                {LINE}._socket.sendall(pickle.dumps(Trap()) * 100)
            """
        },
        "crashed",
        "prediction: A message of",
    ),
    "deep JSON": Row(
        {
            "purchase": f"""
                import struct
                body = b"[" * 500000
                {LINE}._socket.sendall(struct.pack(">II", len(body), 0) + body)
            """
        },
        "crashed",
        "purchase: A message was not JSON",
    ),
    "an answer before the question": Row(
        {"purchase": f"{LINE}.send({{'type': 'done', 'claimed': [0, 1, 2, 3, 4]}})"},
        "crashed",
        "^prediction: ",
    ),
    "an error that cannot be printed": Row(
        {
            "purchase": r"""
                class Mute(Exception):
                    def __str__(self):
                        raise RuntimeError("no comment")
                raise Mute("\udcff")
            """
        },
        "crashed",
        "purchase: .*Mute",
    ),
    "output that is no text": Row(
        {"purchase": r"os.write(1, b'\xff\xfe\x00 bytes')"}, "ok", log=r"\\xff\\xfe"
    ),
    # purchases
    "purchases from many threads": Row(
        {
            "purchase": """
                threads = [threading.Thread(target=unlabelled_dataset.purchase_label, args=(i,))
                           for i in (4, 3, 2, 1, 0) for _ in range(3)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            """
        },
        "ok",
    ),
    "purchases that go on after the phase": Row(
        {
            "after_purchase": """
                def buy():
                    while True:
                        unlabelled_dataset.purchase_label(0)
                sys.setswitchinterval(1e-5)
                self.buyers = [threading.Thread(target=buy, daemon=True) for _ in range(20)]
                for buyer in self.buyers:
                    buyer.start()
                time.sleep(0.3)
            """,
            "prediction": """
                for buyer in self.buyers:
                    buyer.join()  # until its refusal stands in the log
            """,
        },
        "ok",
        log="Labels are sold in the purchase phase only",
    ),
    "purchases in a forked process": Row(
        {
            "purchase": """
                import multiprocessing
                with multiprocessing.get_context("fork").Pool(1) as pool:
                    pool.map(unlabelled_dataset.purchase_label, [0])
            """
        },
        "crashed",
        "was called .*in a worker process",
    ),
    "its own data set": Row(
        {
            "purchase": """
                type(unlabelled_dataset).purchase_label = lambda self, i: np.zeros(3)
            """
        },
        "ok",
        warning="returned 5 indices, but 0 were bought",
    ),
    "its own vault": Row(
        {
            "purchase": """
                import evaluator.worker.vault, evaluator.worker.worker
                evaluator.worker.vault.LabelVault.purchase = lambda self, i: (1, 1, 1)
                evaluator.worker.vault.LabelVault.budget = 1000
            """,
            "after_purchase": "unlabelled_dataset.purchase_label(30)",
        },
        "over_budget",
        "All 5 labels of the budget are bought; index 30 was refused",
    ),
    # what belongs to the evaluator
    "images written into": Row(
        {"purchase": "unlabelled_dataset.images[:] = 0"}, "crashed", "ValueError: .*read-only"
    ),
    "mapped pages written into": Row(
        {
            "purchase": """
                import ctypes
                ctypes.memset(unlabelled_dataset.images.ctypes.data, 0, 4096)
            """
        },
        "crashed",
        "killed by SIGSEGV",
    ),
    "shared memory left": Row(
        {
            "purchase": """
                import ctypes
                from multiprocessing import shared_memory
                block = shared_memory.SharedMemory(create=True, size=4096)
                system = ctypes.CDLL(None)
                system.shmat.restype = ctypes.c_void_p
                assert system.shmat(system.shmget(0, 4096, 0o1600), None, 0) != 2**64 - 1
                time.sleep(600)
            """
        },
        "timeout",
        "purchase: the compute budget",
        seconds=3,
    ),
    "a journal of its own making": Row(
        {"purchase": "open('OUT/purchases.jsonl', 'a').write('{}')"},
        "crashed",
        "FileNotFoundError",
        isolated=True,
    ),
    "its own folder deleted in the sandbox": Row(
        {"pre_training": "import run; os.remove(run.__file__)"},
        "crashed",
        "Read-only file system",
        isolated=True,
    ),
    "image files overwritten in the sandbox": Row(
        {
            "purchase": """
                np.memmap(unlabelled_dataset.images.filename, np.uint8, "r+")[:] = 0
            """
        },
        "crashed",
        "Read-only file system|Permission denied",
        isolated=True,
    ),
    "folders that are hard to remove": Row(
        {
            "purchase": """
                os.makedirs("closed/inside")
                os.chmod("closed", 0)
                for _ in range(3000):
                    os.mkdir("deeper")
                    os.chdir("deeper")
            """
        },
        "ok",
        isolated=True,
    ),
    "shared memory left in the sandbox": Row(
        {
            "purchase": """
                import ctypes
                open("/dev/shm/zewdpc-hostile", "w").write("left")
                assert ctypes.CDLL(None).shmget(0x5a4557, 4096, 0o1600) >= 0  # IPC_CREAT
            """
        },
        "ok",
        isolated=True,
    ),
}
OTHERS = 5.0  # seconds for another program's shared memory, made but not mapped yet, to be used
ROUGHLY_A_NOTE = 200  # bytes of the line that says what was left out


@pytest.fixture(scope="module")
def splits(squares: Path) -> Splits:
    return open_splits(squares, progress=False)


@pytest.fixture(scope="module")
def pixels(splits: Splits) -> str:
    return digest(splits)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = shared_memory()
    yield
    assert left_running() == [], "a process was left"
    deadline = time.monotonic() + OTHERS
    while (left := shared_memory() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, "shared memory was left"
    assert not Path(MARKER).exists(), "something of the child's was unpickled"


def digest(splits: Splits) -> str:
    files = (path.read_bytes() for _, path in sorted(splits.image_files.items()))
    return hashlib.sha256(b"".join(files)).hexdigest()


def shared_memory() -> set[str]:
    """Files in /dev/shm and System V segments that no process uses."""
    used = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended, or is somebody else's
                used.update(re.findall(r"/dev/shm/(\S+)", (folder / "maps").read_text()))
    files = {path.name for path in Path("/dev/shm").iterdir()} - used
    segments = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return files | {f"segment {fields[1]}" for fields in segments if fields[6] == "0"}


def evaluate(folder: Path, splits: Splits, out: Path, row: Row) -> tuple[Record, Path]:
    """One trial of a real evaluation; its record as the journal has it, and its log."""
    places = {place: code.replace("OUT", str(out)) for place, code in row.places.items()}
    submission = write_submission(folder / "submission", row.source, **places)
    plan = Plan(
        splits,
        name_submissions([submission]),
        strategies=(None,),
        pairs=(Pair(BUDGET, row.seconds / 60),),
        seeds=1,
        training_seeds=1,
        pipelines=(),
        conditions=folder.name,
    )
    runner = (
        BubblewrapRunner(row.limits, hidden=(splits.root, out))
        if row.isolated
        else SubprocessRunner(row.limits)
    )
    evaluation = Evaluation(
        plan,
        out,
        Scorer(splits, weights="none", device="cpu"),
        runner,
    )
    run(evaluation)
    (trial,) = plan.trials()
    recorded = [r for r in read_records(evaluation.purchases.path) if r["trial"] == trial.identity]
    assert len(recorded) == 1
    return recorded[0], log_of(trial, evaluation.out)


@pytest.mark.parametrize("name", ROWS)
def test_hostile_submission(
    name: str, splits: Splits, pixels: str, out: Path, tmp_path: Path
) -> None:
    row = ROWS[name]
    if row.isolated:
        skip_without_bubblewrap()
    record, log = evaluate(tmp_path, splits, out, row)
    shown = f"{record['reason']}\n{last_lines(log)}"
    assert record["status"] == row.status, shown
    assert re.search(row.reason, record["reason"]), shown
    assert re.search(row.warning, "\n".join(record["warnings"])), record["warnings"]
    assert re.search(row.log, log.read_bytes().decode(errors="backslashreplace")), shown
    assert log.stat().st_size <= FIRST + LAST + ROUGHLY_A_NOTE
    assert len(record["reason"]) < 5000
    assert re.sub(r"[\n\t]", "", shown).isprintable()
    assert digest(splits) == pixels
    if record["status"] == "ok" and not row.warning:
        assert sorted(record["purchased"]) == list(range(BUDGET))


def test_evaluator_still_works_after_all_hostile_submissions(
    splits: Splits, pixels: str, out: Path, tmp_path: Path
) -> None:
    record, _ = evaluate(tmp_path, splits, out, Row({}, "ok"))
    assert (record["status"], record["warnings"], record["left_running"]) == ("ok", [], 0)
    assert record["purchased"] == list(range(BUDGET))
    assert digest(splits) == pixels


def test_shared_memory_check_can_fail() -> None:
    """The check that every row passes is one that something can fail."""
    before = shared_memory()
    file = Path("/dev/shm") / f"zewdpc-hostile-{os.getpid()}"
    file.touch()
    try:
        assert file.name in shared_memory() - before
    finally:
        file.unlink()
