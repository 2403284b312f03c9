"""Whatever submission.toml or a flag says: it is taken as meant, or refused."""

import json
import string
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evaluator.experiment.plan import parse_pairs
from run import ZEWDPCRun
from shared.errors import ConfigurationError
from strategies.registry import load, parse_strategy
from tests.fuzz import BOUNDED, tried

SETTINGS = {
    "": ["strategy", "seed", "learner", "planner", "stratgy"],
    "learner": [
        *("device", "backbone", "pretrained", "image_size", "batch_size", "learning_rate"),
        *("weight_decay", "positive_weight", "members", "warm_start", "precision", "threads"),
        "network",
    ],
    "planner": [
        *("epochs", "refit_epochs", "max_rounds", "pre_training_share", "reserve_share"),
        *("reserve_seconds", "final_fit", "patience"),
    ],
}
KEYS = [f"{table}.{key}".strip(".") for table, keys in SETTINGS.items() for key in keys]
WORDS = ["auto", "cpu", "cuda:0", "no", "small", "entropy", "random", "fp32", "fp16", "", "no/file"]
NUMBERS = st.sampled_from([-1, 0, 1, 2, 10**30, 10**400])
VALUES = st.one_of(
    st.booleans().map(lambda value: str(value).lower()),
    (st.integers() | NUMBERS).map(str),
    st.floats().map(repr) | st.sampled_from(["nan", "inf", "-inf", "1e400"]),
    (st.sampled_from(WORDS) | st.text(string.ascii_letters + ":,=. ", max_size=8)).map(json.dumps),
    st.sampled_from(["1979-05-27", "[]", "{}", "[1]", "{a = 1}"]),
)


@st.composite
def tomls(draw: st.DrawFn) -> str:
    """A submission.toml that is TOML: a setting or two, mostly known, of values often wrong."""
    chosen = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=2, unique=True))
    lines = [f"{key} = {draw(VALUES)}" for key in sorted(chosen, key=lambda key: "." in key)]
    return "\n".join(lines)


def refused_or_configured(content: bytes, folder: Path) -> None:
    file = folder / "submission.toml"
    file.write_bytes(content)
    submission, refusal = tried(lambda: ZEWDPCRun(config=file), ValueError)
    if not submission:
        named = "submission.toml" in str(refusal) or "`" in str(refusal)
        assert named or b"strategy" in content
        return
    for chosen in (submission.config.learner, submission.config.planner):
        numbers = [value for value in vars(chosen).values() if isinstance(value, float)]
        assert np.isfinite(numbers).all()


@BOUNDED
@given(text=tomls())
def test_fuzz_submission_toml_values(text: str, tmp_path: Path) -> None:
    refused_or_configured(text.encode(), tmp_path)


@BOUNDED
@given(
    content=st.binary(max_size=40) | st.sampled_from([b"a = " + b"[" * 5000, b"\xff\xfe", b"\0"])
)
def test_fuzz_submission_toml_bytes(content: bytes, tmp_path: Path) -> None:
    refused_or_configured(content, tmp_path)


@st.composite
def specs(draw: st.DrawFn) -> str:
    """`name:parameter=value,...`, of names that exist and of others, more or less well written."""
    name = draw(st.sampled_from(sorted(load())) | st.text(max_size=5))
    entry = load().get(name)
    known = [*entry.parameters, "rounds"] if entry else ["rounds"]
    value = st.one_of(
        st.sampled_from(["auto", "true", "false", "power", "balanced", "nan", "inf", "", "1_0"]),
        st.integers().map(str),
        st.floats().map(str),
        st.text(max_size=4),
    )
    pair = st.tuples(st.sampled_from(known) | st.text(max_size=4), value).map("=".join)
    return f"{name}:{','.join(draw(st.lists(pair | st.text(max_size=4), max_size=3)))}"


@BOUNDED
@given(specs() | st.text(max_size=20))
def test_fuzz_parse_strategy_round_trip(spec: str) -> None:
    strategy, _ = tried(lambda: parse_strategy(spec), ValueError)
    if not strategy:
        return
    again = parse_strategy(strategy.spec)
    assert again == strategy
    assert again.spec == strategy.spec


@BOUNDED
@given(st.integers(1, 10**6), st.floats(0.001, 10**6))
def test_fuzz_parse_pairs_round_trip(labels: int, minutes: float) -> None:
    (pair,) = parse_pairs([f"{labels}:{minutes!r}"])
    assert (pair.budget, pair.minutes) == (labels, minutes)
    assert parse_pairs([str(pair)]) == (pair,)


@BOUNDED
@given(st.text(max_size=12) | st.from_regex(r"[0-9_+ ]{0,3}:[-0-9_.e+naif]{0,6}", fullmatch=True))
def test_fuzz_parse_pairs_words(word: str) -> None:
    pairs, _ = tried(lambda: parse_pairs([word]), ConfigurationError)
    assert all(pair.budget >= 1 and 0 < pair.minutes < float("inf") for pair in pairs or ())
