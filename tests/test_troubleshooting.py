"""Every error that a person can meet has its entry in docs/troubleshooting.md, and it is true."""

import ast
import pickle
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import torch

from evaluator.__main__ import main as evaluator_main
from evaluator.cli import main as local_evaluation
from evaluator.data import dataset
from evaluator.records.trial import Status
from models.networks import build_network, find_weights
from run import ZEWDPCRun
from shared import errors
from shared.errors import ConfigurationError, DatasetError
from strategies.pool_view import PoolView
from strategies.registry import REGISTRY, parse_strategy, register
from tests.conftest import REPO_ROOT

PAGE = REPO_ROOT / errors.PAGE
EXPLAINED = {"ConfigurationError", "DatasetError"}
GAP = "…"  # stands in a message, and on the page, for what differs from case to case
FAILURES = set(get_args(Status)) - {"ok"}


def explained_errors() -> Iterator[tuple[str, ast.Call]]:
    """Where the evaluator, or `choose.py`, makes an error for a person to read."""
    packages = ("evaluator", "labelling", "shared")
    modules = [path for name in packages for path in sorted((REPO_ROOT / name).rglob("*.py"))]
    for path in [*modules, REPO_ROOT / "choose.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in EXPLAINED:
                yield f"{path.relative_to(REPO_ROOT)}:{node.lineno}", node


@cache
def codes() -> dict[str, list[str]]:
    """Each code with the messages that go by it."""
    found: dict[str, list[str]] = {}
    for where, call in explained_errors():
        assert len(call.args) == 2, f"{where}: expected (code, message)"
        code = call.args[0]
        assert isinstance(code, ast.Constant), f"{where}: the code must be a literal"
        found.setdefault(code.value, []).append(template(call.args[1]))
    return found


def template(message: ast.expr) -> str:
    """The words of a message, with a gap for everything that is put in."""
    if isinstance(message, ast.Constant):
        return str(message.value)
    if isinstance(message, ast.JoinedStr):
        return "".join(template(part) for part in message.values)
    if isinstance(message, ast.BinOp):
        return template(message.left) + template(message.right)
    return GAP


@cache
def entries() -> dict[str, str]:
    """The page's entries: heading -> text."""
    parts = re.split(r"^#{2,3} (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return {
        heading: text
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
        if "- Symptom:" in text
    }


def symptoms(entry: str) -> list[str]:
    """The messages an entry shows, as code."""
    line = entry.partition("- Symptom:")[2].partition("\n- Why:")[0]
    spans = re.finditer(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", line)
    return [span[2].strip() for span in spans]


def appears(shown: str, message: str) -> bool:
    """Whether the fragments of `shown` stand in `message`, in that order."""
    if message.startswith(f"{GAP}: "):  # the place was put together before, as `where`
        shown = re.sub(f"^{GAP}, line [{GAP}1]: ", "", shown)
    place = 0
    for fragment in filter(None, (part.strip(" .") for part in shown.split(GAP))):
        place = message.find(fragment, place)
        if place < 0:
            return False
        place += len(fragment)
    return True


def test_error_codes_and_entries_match():
    ours = {heading for heading in entries() if heading[0].isupper() or ".toml" in heading}
    assert set(entries()) - ours == set(codes()) | FAILURES
    assert ours == set(OWN)


@pytest.mark.parametrize("heading", entries())
def test_troubleshooting_entry_is_complete(heading: str):
    for part in ("Symptom", "Why", "Fix", "Verify"):
        assert entries()[heading].count(f"\n- {part}: ") == 1


@pytest.mark.parametrize("code", codes())
def test_troubleshooting_symptom_is_what_the_evaluator_says(code: str):
    shown = symptoms(entries()[code])
    assert shown
    # "such as" introduces an example, whose words are a lower layer's.
    own = [one for one in shown if f"such as `{one}`" not in entries()[code]]
    for one in own:
        assert any(appears(one, message) for message in codes()[code]), one


def test_see_also_anchor_is_the_code():
    for code in codes():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code)


@pytest.mark.parametrize("kind", [ConfigurationError, DatasetError])
def test_error_text_is_message_and_link(kind: type[errors.ExplainedError]):
    error = kind("missing-image", "the image a.png is missing.")
    assert str(error) == "the image a.png is missing."
    lines = ["the image a.png is missing.", "see docs/troubleshooting.md#missing-image"]
    assert error.explained.splitlines() == lines


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(DatasetError("missing-image", "a.png is missing.")))
    assert (error.code, str(error)) == ("missing-image", "a.png is missing.")


BOTH = pytest.mark.parametrize(
    "command",
    [
        lambda: evaluator_main(["data", "check", "no/such/folder"]),
        lambda: local_evaluation(["--data", "no/such/folder"]),
    ],
)


@BOTH
def test_commands_print_the_link_of_an_error(
    command: Callable[[], int], capsys: pytest.CaptureFixture[str]
):
    assert command() == 2
    printed = capsys.readouterr().err.splitlines()
    assert printed[-1] == "see docs/troubleshooting.md#missing-split"


@BOTH
def test_commands_print_errors_of_the_disk(
    command: Callable[[], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    def broken(_: Path) -> None:
        raise OSError(5, "Input/output error")

    def at_fault(_: Path) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(dataset, "find_splits", broken)
    assert command() == 2
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "error: [Errno 5] Input/output error",
        "see docs/troubleshooting.md#cannot-write",
    ]
    monkeypatch.setattr(dataset, "find_splits", at_fault)
    with pytest.raises(FileNotFoundError):  # with its traceback
        command()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("make --out /proc/x/y", "cannot-write"),
        ("contact-sheet --out /proc/c.png", "cannot-write"),
        ("contact-sheet --out c.foo", "sheets-setting"),
    ],
)
def test_data_command_reports_what_cannot_be_written(
    words: str, code: str, capsys: pytest.CaptureFixture[str]
):
    assert evaluator_main(["data", *words.split(), "--recipe", "debug"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"#{code}")


@pytest.mark.parametrize("workers", ["0", "-1", "two"])
@pytest.mark.parametrize("words", [["make", "--recipe", "debug"], ["check", "DIR"]])
def test_data_command_refuses_workers_below_one(
    words: list[str], workers: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        evaluator_main(["data", *words, "--workers", workers])
    assert ended.value.code == 2
    assert f"{workers!r} is not a whole number of 1 or more" in capsys.readouterr().err


def configured(folder: Path, text: str | None) -> None:
    if text is not None:
        (folder / "submission.toml").write_text(text)
    ZEWDPCRun(config=folder / "submission.toml")


def break_the_promise() -> None:
    try:
        register("mine", source="tests")(_half)
        parse_strategy("mine").select(PoolView(60, {}), 7, torch.Generator())
    finally:
        REGISTRY.pop("mine", None)


def _half(pool: PoolView, k: int, rng: torch.Generator) -> torch.Tensor:
    """Not a LongTensor."""
    return torch.zeros(k)


def ask_for_a_committee() -> None:
    view = torch.full((9, 2), 0.5)
    pool = PoolView.from_tensors(probabilities=view, embeddings=view)
    parse_strategy("bald").select(pool, 2, torch.Generator())


OWN: dict[str, Callable[[Path], object]] = {
    "Unknown strategy": lambda folder: parse_strategy("entrpy"),
    "Unknown parameter": lambda folder: parse_strategy("entropy:round=3"),
    "Mistyped parameter": lambda folder: parse_strategy("entropy:rounds=three"),
    "Cannot read a parameter": lambda folder: parse_strategy("entropy:rounds"),
    "Strategy broke its promise": lambda folder: break_the_promise(),
    "Missing view": lambda folder: ask_for_a_committee(),
    "submission.toml: unknown setting": lambda folder: configured(folder, 'stratgy = "entropy"'),
    "submission.toml: mistyped setting": lambda folder: configured(folder, 'seed = "0"'),
    "submission.toml: too few nets": lambda folder: configured(
        folder, 'strategy = "bald"\n[learner]\nmembers = 1'
    ),
    "submission.toml: no such device": lambda folder: configured(
        folder, '[learner]\ndevice = "xpu"'
    ),
    "submission.toml: no such weights": lambda folder: find_weights("resnet10t", "nofile.pt"),
    "submission.toml: weights that cannot be read": lambda folder: build_network(
        "resnet10t", 2, 32, torch.Generator(), Path(__file__)
    ),
    "submission.toml: weights that are not here": lambda folder: find_weights("resnet10t", "yes"),
    "submission.toml: not TOML": lambda folder: configured(folder, "strategy = entropy"),
    "submission.toml: missing": lambda folder: configured(folder, None),
}


@pytest.mark.parametrize("heading", OWN)
def test_troubleshooting_entry_shows_the_buyers_own_message(heading: str, tmp_path: Path):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        OWN[heading](tmp_path)
    shown = symptoms(entries()[heading])
    assert len(shown) == 1
    assert appears(shown[0], str(caught.value)), str(caught.value)
