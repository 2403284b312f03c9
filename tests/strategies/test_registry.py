"""A strategy is a flag away: names and parameters are read strictly, and new ones are found."""

from typing import Annotated, Literal

import pytest
import torch

import strategies
from strategies import registry
from strategies.parameters import Range, parse_parameter
from strategies.registry import REGISTRY, configure, load, parse_strategy, register
from tests.strategies.pools import generator, pool_of, views


def test_registry_entries_have_a_summary_and_a_source():
    for entry in load().values():
        assert 10 < len(entry.summary) <= 100, entry.name
        assert entry.source, entry.name


@pytest.mark.parametrize(
    ("spec", "canonical", "rounds", "plan"),
    [
        ("random", "random", 1, "single-batch"),
        ("random:rounds=1", "random", 1, "single-batch"),
        ("entropy", "entropy", "auto", "adaptive"),
        (" entropy : rounds = 4 ", "entropy:rounds=4", 4, "adaptive"),
        ("winner", "winner", "auto", "zew-winner"),
        ("uherding:temperature=auto,rounds=4", "uherding:rounds=4", 4, "adaptive"),
        (
            "uherding:temperature=2,radius=0.5",
            "uherding:radius=0.5,temperature=2.0",
            "auto",
            "adaptive",
        ),
        (
            "match-distribution:balanced=false",
            "match-distribution:balanced=false",
            "auto",
            "adaptive",
        ),
        (
            "stochastic-entropy:form=softrank",
            "stochastic-entropy:form=softrank",
            "auto",
            "adaptive",
        ),
    ],
)
def test_parse_strategy_canonical_form_round_trip(
    spec: str, canonical: str, rounds: object, plan: str
):
    strategy = parse_strategy(spec)
    assert (strategy.spec, strategy.rounds, strategy.plan) == (canonical, rounds, plan)
    assert parse_strategy(strategy.spec) == strategy


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("entrop", "Unknown strategy: 'entrop'. Did you mean 'entropy'? Known: badge, "),
        ("", "Unknown strategy: ''"),
        ("uherding:temprature=1", "Did you mean 'temperature'? Known: anchors, radius, rounds"),
        ("entropy:beta=1", "Unknown parameter of 'entropy': 'beta'. Known: rounds."),
        ("entropy:rounds=many", "`entropy:rounds` must be a whole number from 1 to 100 or `auto`"),
        ("entropy:rounds=2.5", "got '2.5'"),
        ("entropy:rounds=0", "from 1 to 100 or `auto`; got '0'"),
        ("entropy:rounds=101", "from 1 to 100 or `auto`; got '101'"),
        ("random:rounds=3", "buys all at once"),
        ("entropy:rounds", "Cannot read 'rounds'"),
        ("entropy:rounds=2,rounds=3", "stands twice"),
        ("lci:beta=1.5", "must be a number from 0 to 1; got '1.5'"),
        ("lci:beta=nan", "got 'nan'"),
        ("uherding:radius=-1", "must be a number from 1e-09 or `auto`; got '-1'"),
        ("cluster-margin:factor=1e308", "must be a number from 1 to 1e+06; got '1e308'"),
        ("entropy-diverse:factor=1e308", "must be a number from 1 to 1e+06; got '1e308'"),
        ("bait:oversample=1e308", "must be a number from 1 to 1e+06; got '1e308'"),
        ("bait:rank=0", "a whole number from 1 to 512"),
        ("match-distribution:balanced=yes", "`true` or `false`"),
        ("stochastic-entropy:form=soft", "`power` or `softmax` or `softrank`; got 'soft'"),
    ],
)
def test_parse_strategy_refuses_and_says_what_is_valid(spec: str, message: str):
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        parse_strategy(spec)
    assert message in str(refused.value)


def test_configured_strategy_validates_typed_settings():
    assert configure("lci", {"beta": 1, "rounds": 2}).spec == "lci:beta=1.0,rounds=2"
    assert configure("match-distribution", {"balanced": False}).parameters == {"balanced": False}
    with pytest.raises(ValueError, match="whole number"):
        configure("entropy", {"rounds": True})


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", int, 3),
        ("3", float, 3.0),
        ("auto", float | Literal["auto"], "auto"),
        ("3", Annotated[int, Range(1)] | Literal["auto"], 3),
        ("true", bool, True),
        ("x y", str, "x y"),
        ("2", Literal[1, 2], 2),
        ("true", Literal["auto", True], True),
    ],
)
def test_parse_strategy_converts_to_the_declared_type(text: str, hint: object, value: object):
    read = parse_parameter("p", text, hint)
    assert read == value
    assert type(read) is type(value)


@pytest.fixture
def newcomer():
    yield
    REGISTRY.pop("newcomer", None)


@pytest.mark.usefixtures("newcomer")
def test_register_needs_only_a_decorator_and_a_docstring():
    @register("newcomer", source="tests")
    def first_k(pool, k, rng, *, offset: int = 0):
        """The first k images."""
        return torch.arange(offset, offset + k)

    strategy = parse_strategy("newcomer:offset=2")
    assert strategy.select(pool_of(views()), 3, generator()).tolist() == [2, 3, 4]
    register("newcomer", source="tests")(first_k)  # as when its module is imported again
    with pytest.raises(ValueError, match=r"registered already, by .*first_k; .*uniform needs anot"):
        register("newcomer", source="tests")(uniform)
    with pytest.raises(ValueError, match="needs a docstring"):
        register("undocumented", source="tests")(lambda pool, k, rng: None)


def uniform(pool, k, rng):
    """The first k images."""
    return torch.arange(k)


@pytest.mark.parametrize(
    ("name", "plan", "message"),
    [
        *((name, "adaptive", "must hold none of") for name in ("", " a", "a:b", "a,b", "a=b")),
        ("newcomer", "once", "must be `single-batch` or `adaptive` or `zew-winner`; got 'once'"),
    ],
)
def test_register_refuses_names_and_plans(name, plan, message):
    with pytest.raises(ValueError, match=message):
        register(name, source="tests", plan=plan)(uniform)


REFUSED_ARGUMENTS = {
    "pool, k": r"must take \(pool, k, rng\)",
    "pool, k, rng, power: float = 1.0": "after a `[*]`, its parameters; it takes .*power: float",
    "pool, k, rng, *, power: float": "'power' of strategy 'newcomer' needs a default",
    "pool, k, rng, *, rounds: int = 1": "must not be called `rounds`",
    "pool, k, rng, *, power=1.0": "needs a type, as in `power: float = 1.0`",
    "pool, k, rng, *, power: float | None = None": "cannot be read from text: float | None",
    "pool, k, rng, *, power: Literal[None] = None": "cannot be read from text",
    "pool, k, rng, *, power: Annotated[float, 2] = 1.0": "cannot be read from text",
    "pool, k, rng, *, power: Annotated[int, Range(1)] = 0": "a whole number from 1; got 0",
    "pool, k, rng, *, power: int = True": "must be a whole number; got True",
    "pool, k, rng, *, power: str = None": "must be text; got None",
}


@pytest.mark.parametrize("arguments", REFUSED_ARGUMENTS)
def test_register_refuses_parameters_that_cannot_be_set(arguments):
    made = {"Annotated": Annotated, "Literal": Literal, "Range": Range}
    exec(f"def made({arguments}): 'The first k images.'", made)
    with pytest.raises(ValueError, match=REFUSED_ARGUMENTS[arguments]):
        register("newcomer", source="tests")(made["made"])
    assert "newcomer" not in REGISTRY


@pytest.mark.usefixtures("newcomer")
@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (torch.tensor([1, 1, 2]), "only 2 distinct images of 3"),
        (torch.tensor([1, 2]), r"must answer with a LongTensor \(3,\)"),
        (torch.tensor([1.0, 2.0, 3.0]), "got torch.float32"),
        (torch.tensor([58, 59, 60]), r"outside 0\.\.59"),
        (torch.tensor([-1, 2, 3]), r"outside 0\.\.59"),
        ([1, 2, 3], r"must answer with a LongTensor \(3,\); got list"),
        (None, "got NoneType"),
        (torch.arange(3).numpy(), "got ndarray"),
    ],
)
def test_select_checks_what_a_new_strategy_returns(answer: object, complaint: str):
    @register("newcomer", source="tests")
    def faulty(pool, k, rng):
        """Does not keep its promise."""
        return answer

    with pytest.raises(ValueError, match=complaint):
        parse_strategy("newcomer").select(pool_of(views()), 3, generator())


@pytest.mark.usefixtures("newcomer")
@pytest.mark.parametrize(
    "path",
    ["my_strategy.py", "new_folder/mine.py", "new_folder/within/mine.py", "package/__init__.py"],
)
def test_load_finds_modules_and_packages(path, tmp_path, monkeypatch):
    module = tmp_path / path
    module.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / ".copies").mkdir()
    (tmp_path / ".copies" / "my_strategy.py").write_text("raise ImportError")
    documented = registry.__doc__ or ""
    assert "@register" in documented
    module.write_text(
        "from strategies.registry import register\n"
        "@register('newcomer', source='tests')\n"
        "def mine(pool, k, rng, *, power: float = 1.0):\n"
        "    '''The k images with the largest embedding norm.'''\n"
        "    return pool.embeddings.norm(dim=1).pow(power).topk(k).indices\n"
    )
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path)])
    picks = parse_strategy("newcomer:power=2").select(pool_of(views()), 4, generator())
    assert picks.tolist() == views()["embeddings"].norm(dim=1).topk(4).indices.tolist()


@pytest.mark.usefixtures("newcomer")
def test_load_repeats_the_error_of_a_broken_module(tmp_path, monkeypatch):
    (tmp_path / "half_way.py").write_text(
        "from strategies.registry import register\n"
        "@register('newcomer', source='tests')\n"
        "def mine(pool, k, rng):\n"
        "    '''The first k images.'''\n"
        "nowhere\n"
    )
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path)])
    for _ in range(2):
        with pytest.raises(NameError, match="nowhere"):
            load()
