"""The contract suite: what every strategy promises. A new one is tested by being registered."""

import os
import platform
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from strategies.parameters import canonical, describe
from strategies.pool_view import PoolView
from strategies.registry import REGISTRY, ConfiguredStrategy, Entry, load, parse_strategy
from tests.strategies.peaks import peaks_of
from tests.strategies.pools import generator, permuted, pool_of, views

load()
STRATEGIES = sorted(name for name, entry in REGISTRY.items() if "tests" not in entry.source)

# What is chosen depends on the generator; all others must ignore it while the pool is small.
RANDOM = {
    "random": "nothing but the generator",
    "kmeans": "seeds of the clusters",
    "typiclust": "seeds of the clusters",
    "probcover": "seeds of the clusters that set the radius",
    "badge": "D² sampling",
    "stochastic-entropy": "noise on the ranking",
    "cluster-margin": "seeds of the clusters, members of a cluster",
    "entropy-diverse": "seeds of the clusters",
}
# What a strategy looks at: a NaN there must be refused, one elsewhere must not matter.
LOOKS_AT = {
    "random": set(),
    "entropy": {"probabilities"},
    "winner": {"probabilities"},
    "uncertainty": {"probabilities"},
    "margin": {"probabilities"},
    "least-confidence": {"probabilities"},
    "max-loss": {"probabilities"},
    "stochastic-entropy": {"probabilities"},
    "hard-classes": {"probabilities", "validation_f1"},
    "rare-positives": {"probabilities", "labelled_labels"},
    "cvirs": {"probabilities", "thresholds", "labelled_labels"},
    "lci": {"probabilities", "thresholds", "labelled_labels"},
    "match-distribution": {"probabilities", "labelled_labels"},
    "class-quotas": {"probabilities", "thresholds"},
    "bald": {"committee"},
    "disagreement": {"committee", "thresholds"},
    "coreset": {"embeddings", "labelled_embeddings"},
    "kmeans": {"embeddings"},
    "typiclust": {"embeddings", "labelled_embeddings"},
    "maxherding": {"embeddings", "labelled_embeddings"},
    "probcover": {"embeddings", "labelled_embeddings", "labelled_labels"},
    "uherding": {
        *("probabilities", "embeddings"),
        *("labelled_embeddings", "labelled_labels", "labelled_probabilities"),
    },
    "badge": {"probabilities", "embeddings"},
    "bait": {"probabilities", "embeddings", "labelled_embeddings", "labelled_probabilities"}
    | {"labelled_labels"},
    "galaxy": {"probabilities", "labelled_probabilities", "labelled_labels", "thresholds"},
    "direct": {"probabilities", "labelled_probabilities", "labelled_labels"},
    "cluster-margin": {"probabilities", "embeddings"},
    "entropy-diverse": {"probabilities", "embeddings"},
}
EVERY = pytest.mark.parametrize("name", STRATEGIES)
EVERY_IN_THE_TABLE = pytest.mark.parametrize("name", sorted(LOOKS_AT))


def choose(name: str, pool: PoolView, k: int, seed: int = 0) -> Tensor:
    return parse_strategy(name).select(pool, k, generator(seed))


def check(picks: Tensor, k: int, size: int) -> None:
    assert picks.dtype == torch.long
    assert picks.shape == (k,)
    assert len(set(picks.tolist())) == k
    assert all(0 <= pick < size for pick in picks.tolist())


def test_strategy_documentation_has_a_paragraph_for_each():
    page = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text()
    missing = [name for name in STRATEGIES if f"\n**`{name}`**." not in page]
    assert not missing, f"docs/strategies.md does not describe {missing}"


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategy_documentation_paragraph_names_parameters_and_types(name: str):
    page = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text()
    paragraph = page.partition(f"\n**`{name}`**.")[2].partition("\n\n")[0]
    entry = REGISTRY[name]
    listed = ", ".join(
        f"`{parameter}={canonical(default)}` ({describe(entry.types[parameter])})"
        for parameter, default in entry.parameters.items()
    )
    expected = f"Parameters: {listed}." if listed else ""
    found = "Parameters:" + paragraph.partition("Parameters:")[2]
    assert found.strip() == (expected or "Parameters:"), f"docs/strategies.md lacks: {expected}"


def test_strategy_documentation_table_has_each_strategys_views():
    assert set(LOOKS_AT) == set(STRATEGIES)
    assert set(RANDOM) <= set(STRATEGIES)


@EVERY
@pytest.mark.parametrize("k", [1, 7, 59, 60])
def test_select_returns_k_distinct_positions(name: str, k: int):
    check(choose(name, pool_of(views()), k), k, 60)


@EVERY
def test_select_repeats_with_the_same_generator(name: str):
    first, second = (choose(name, pool_of(views()), 10, seed=3) for _ in range(2))
    assert first.tolist() == second.tolist()


@EVERY
def test_select_depends_on_the_generator_only_where_declared(name: str):
    sets = {tuple(sorted(choose(name, pool_of(views()), 10, seed).tolist())) for seed in range(8)}
    if name not in RANDOM:
        assert len(sets) == 1
    else:
        assert len(sets) > 1


@EVERY
def test_select_leaves_the_global_generator_alone(name: str):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = choose(name, pool_of(views()), 10)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert choose(name, pool_of(views()), 10).tolist() == first.tolist()


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - set(RANDOM) - {"maxherding"}))
@pytest.mark.parametrize("seed", [0, 1])
def test_select_does_not_depend_on_pool_order(name: str, seed: int):
    given = views(seed=seed)
    order = torch.randperm(60, generator=generator(seed + 5))
    straight = choose(name, pool_of(given), 9)
    shuffled = order[choose(name, pool_of(permuted(given, order)), 9)]
    assert sorted(shuffled.tolist()) == sorted(straight.tolist())


@pytest.mark.parametrize("seed", range(6))
def test_select_maxherding_coverage_does_not_depend_on_pool_order(seed: int):
    # Two images that cover each other and nothing else tie exactly, so the sets may differ.
    given = views(seed=seed)
    order = torch.randperm(60, generator=generator(seed + 5))
    straight = choose("maxherding", pool_of(given), 9)
    shuffled = order[choose("maxherding", pool_of(permuted(given, order)), 9)]
    unit = normalize(given["embeddings"], dim=1)
    known = normalize(given["labelled_embeddings"], dim=1)
    covered = [
        torch.cdist(torch.cat([unit[picks], known]), unit).square().neg().exp().amax(dim=0).sum()
        for picks in (straight, shuffled)
    ]
    assert float(covered[0]) == pytest.approx(float(covered[1]), rel=1e-4)


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_select_frequencies_do_not_depend_on_pool_order(name: str):
    given = views(images=12, seed=4)
    order = torch.arange(11, -1, -1)
    pools = (pool_of(given), pool_of(permuted(given, order)))
    counts = torch.zeros(2, 12)
    for seed in range(100):
        counts[0][choose(name, pools[0], 3, seed)] += 1
        counts[1][order[choose(name, pools[1], 3, seed)]] += 1
    # The standard deviation of a difference of two counts is at most 7.1; five of them.
    assert (counts[0] - counts[1]).abs().max() <= 35


@EVERY_IN_THE_TABLE
def test_select_refuses_views_that_are_not_finite(name: str):
    given = views()
    for view, value in given.items():
        spoiled = value.clone()
        spoiled.view(-1)[1] = torch.nan
        pool = pool_of({**given, view: spoiled})
        if view in LOOKS_AT[name]:
            with pytest.raises(ValueError, match=f"`{view}` has 1 values that are NaN"):
                choose(name, pool, 5)
        else:
            check(choose(name, pool, 5), 5, 60)


@EVERY_IN_THE_TABLE
def test_select_names_a_missing_view(name: str):
    for view in LOOKS_AT[name]:
        given = views()
        del given[view]
        if not {"probabilities", "embeddings", "committee"} & set(given):
            continue
        with pytest.raises(ValueError, match=f"needs `{view}`"):
            choose(name, pool_of(given), 5)


def in_vain(pool: PoolView, k: int, rng: torch.Generator) -> Tensor:
    raise AssertionError("The strategy was asked.")


NEVER_ASKED = ConfiguredStrategy(Entry("in-vain", in_vain, summary="", source="tests"))


@pytest.mark.parametrize("k", [-1, 61])
def test_select_refuses_k_outside_the_pool(k: int):
    with pytest.raises(ValueError, match=f"Cannot choose {k} of a pool of 60"):
        NEVER_ASKED.select(pool_of(views()), k, generator())


@pytest.mark.parametrize("images", [60, 0])
def test_select_of_none_is_empty(images: int):
    check(NEVER_ASKED.select(pool_of(views(images)), 0, generator()), 0, images)


def troubled(trouble: str) -> dict[str, Tensor]:
    """A pool with one thing wrong, of 30 images."""
    given = views(images=30, labelled=1 if trouble == "one labelled image" else 12)
    extreme = (given["probabilities"] > 0.5).float()
    if trouble == "nothing labelled":
        return views(images=30, labelled=0)
    if trouble == "identical images":
        one = {"probabilities": given["probabilities"][:1], "embeddings": given["embeddings"][:1]}
        given |= {view: row.expand(30, -1).contiguous() for view, row in one.items()}
        given["committee"] = given["committee"][:, :1].expand(-1, 30, -1).contiguous()
        given["labelled_embeddings"] = one["embeddings"].expand(12, -1).contiguous()
    if trouble == "duplicates":
        twice = torch.arange(30) % 15
        given = permuted(given, twice)
    if trouble == "constant columns":
        given["embeddings"] = given["embeddings"].clone()
        given["embeddings"][:, ::2] = 7.0
    if trouble == "zero embeddings":
        given["embeddings"] = torch.zeros_like(given["embeddings"])
        given["labelled_embeddings"] = torch.zeros_like(given["labelled_embeddings"])
    if trouble == "certain probabilities":
        given["probabilities"] = extreme
        given["committee"] = extreme.expand(4, -1, -1).contiguous()
        given["labelled_probabilities"] = (given["labelled_probabilities"] > 0.5).float()
    if trouble == "no positive":
        given["labelled_labels"] = torch.zeros_like(given["labelled_labels"])
    if trouble == "all positive":
        given["labelled_labels"] = torch.ones_like(given["labelled_labels"])
    if trouble == "half precision":
        given = {view: value.half() for view, value in given.items()}
    if trouble == "huge embeddings":
        given["embeddings"] = given["embeddings"] * 1e6
        given["labelled_embeddings"] = given["labelled_embeddings"] * 1e6
    return given


@EVERY
@pytest.mark.parametrize(
    "trouble",
    [
        "nothing labelled",
        "one labelled image",
        "identical images",
        "duplicates",
        "constant columns",
        "zero embeddings",
        "certain probabilities",
        "no positive",
        "all positive",
        "half precision",
        "huge embeddings",
    ],
)
def test_select_degenerate_data(name: str, trouble: str):
    for k in (6, 30):
        check(choose(name, pool_of(troubled(trouble)), k), k, 30)


@EVERY
def test_select_one_class_or_one_image(name: str):
    check(choose(name, pool_of(views(images=20, classes=1)), 5), 5, 20)
    check(choose(name, pool_of(views(images=1)), 1), 1, 1)


@EVERY_IN_THE_TABLE
def test_select_refuses_probabilities_outside_the_unit_interval(name: str):
    given = views()
    for view in ("probabilities", "committee", "labelled_probabilities"):
        if view in LOOKS_AT[name]:
            logits = given[view] * 8 - 4
            with pytest.raises(ValueError, match=rf"`{view}` must lie in \[0, 1\]"):
                choose(name, pool_of({**given, view: logits}), 5)


@EVERY
def test_select_does_not_change_its_inputs(name: str):
    given = views()
    before = {view: value.clone() for view, value in given.items()}
    choose(name, pool_of(given), 20)
    assert all(torch.equal(given[view], before[view]) for view in given)


@EVERY
def test_select_time_of_a_moderate_pool(name: str):
    pool = pool_of(views(images=2000, dimensions=64, classes=6, labelled=200))
    choose(name, pool, 5)  # reads the views, which are not the strategy's cost
    start = time.process_time()  # of all threads: does not depend on what else the machine does
    choose(name, pool, 100)
    assert time.process_time() - start < 5


@pytest.fixture(scope="module")
def peaks() -> dict[str, float]:
    if not os.access("/proc/self/clear_refs", os.W_OK) or platform.libc_ver()[0] != "glibc":
        pytest.skip("needs Linux's /proc and glibc")
    return peaks_of(STRATEGIES)


@EVERY
def test_select_memory_stays_below_full_matrices(name: str, peaks: dict[str, float]):
    # N x N squared distances and their mask are 170 MB, N x (C D) gradients 74 MB; coverage is
    # allowed its one block of kernel values, 144 MB, the others their working blocks.
    assert peaks[name] < (240 if name in {"maxherding", "uherding", "probcover"} else 100)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@EVERY
def test_select_agrees_on_gpu_and_cpu(name: str):
    given = views(images=400, dimensions=16)
    on_gpu = {view: value.cuda() for view, value in given.items()}
    here, there = (choose(name, pool_of(where), 40) for where in (given, on_gpu))
    shared = len(set(here.tolist()) & set(there.tolist()))
    # Rounding may turn a draw or a tie; what follows from it may differ.
    assert shared >= (20 if name in RANDOM else 38)


@pytest.mark.parametrize("spec", sorted(n for n in LOOKS_AT if "embeddings" in LOOKS_AT[n]))
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_select_agrees_in_half_precision_blocks(
    spec: str, kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    given = views()
    for view in ("embeddings", "labelled_embeddings"):
        given[view] = (given[view] + 3).to(kind)  # far from their mean
    kept = choose(spec, pool_of(given), 10)
    monkeypatch.setattr("strategies.feature_space.KEEP_NUMBERS", 10)
    assert choose(spec, pool_of(given), 10).tolist() == kept.tolist()


@pytest.mark.parametrize(
    ("spec", "kept"),
    [
        ("maxherding:anchors=40", 60),
        ("uherding:anchors=40", 60),
        ("probcover:anchors=40", 60),
        ("bait:candidates=30", 60),
        ("typiclust:clusters=4", 60),
        ("cluster-margin:factor=1.5", 15),
    ],
)
def test_select_large_pool_code_paths_on_small_pools(
    spec: str, kept: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("strategies.families.coverage.KEPT_NUMBERS", 40 * 25)  # three blocks
    monkeypatch.setattr("strategies.feature_space.KEEP_NUMBERS", 10)
    monkeypatch.setattr("strategies.blocks.row_blocks.__defaults__", (64,))
    given = views()
    picks = choose(spec, pool_of(given), 10)
    check(picks, 10, 60)
    margins = (2 * given["probabilities"] - 1).abs().amin(dim=1)
    assert kept == 60 or set(picks.tolist()) <= set(margins.argsort()[:kept].tolist())
