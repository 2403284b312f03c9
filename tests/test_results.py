"""Results folders: read as one table, joined where they compare, refused where they do not."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluator.analysis import load_results
from evaluator.analysis.leaderboard import leaderboard
from evaluator.analysis.loading import read_results
from evaluator.analysis.results import COLUMNS, Results, mean_over_pipelines, score_table
from evaluator.records.journal import Journal, sole_writer
from evaluator.records.trial import Pair
from shared.errors import ConfigurationError
from tests.conftest import REPO_ROOT
from tests.tables import failed, trial

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the journals of an evaluation of some strategies; returns its folder."""

    def journals(
        name: str,
        *strategies: str,
        seeds: tuple[int, ...] = (0, 1),
        purchased: tuple[int, ...] = (3, 5),
        pipeline: str = "quick",
        configuration: str = "c1",
        score: float = 0.5,
        trained: bool = True,
        scored: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Path:
        folder = tmp_path / name
        for strategy in strategies:
            for seed in seeds:
                own = strategy not in ("none", "all", "oracle")
                trial = {
                    "trial": f"{strategy}-seed{seed}-{fields.get('code', '') if own else ''}",
                    "dataset": "boards",
                    "fingerprint": "f1",
                    "strategy": strategy,
                    "budget": 2 if own else None,
                    "minutes": 1.0 if own else None,
                    "seed": seed,
                    "status": "ok",
                    "purchased": list(purchased),
                    "seconds": {"pre_training": 3.0, "purchase": 4.0, "prediction": 5.0},
                    "conditions": "round 2" if own else "",
                } | (fields if own else {})
                Journal(folder / "purchases.jsonl").append(trial)
                record = {
                    "trial": trial["trial"],
                    "pipeline": pipeline,
                    "training_seed": seed,
                    "status": "ok",
                    "macro_f1": score + 0.01 * seed,
                    "f1_per_class": {},
                    "seconds": 6.0,
                    "configuration": configuration,
                }
                if trained:
                    Journal(folder / "scores.jsonl").append(record | (scored or {}))
        return folder

    return journals


def scores_of(results: Results) -> dict[tuple[str, int], float]:
    """By pipeline and training seed; rounded, for 0.9 + 0.01 is not 0.91."""
    rows = results.table[["pipeline", "training_seed", "macro_f1"]].itertuples(index=False)
    return {(pipeline, seed): round(score, 6) for pipeline, seed, score in rows}


def test_load_results_has_the_documented_columns(write: Write) -> None:
    scored = {"f1_per_class": {"dent": 0.25, "stain": 0.75}, "accuracy": 0.5, "hamming_loss": 0.1}
    folder = write("a", "none", "random", device="cpu", code="c", scored=scored)
    scores = load_results(str(folder))
    assert list(scores) == [*COLUMNS, "f1_dent", "f1_stain"]
    none, random = scores[scores.seed == 1].to_dict("records")
    assert random == {
        "dataset": "boards", "submission": "", "code": "c", "strategy": "random", "pair": "2:1",
        "budget": 2, "minutes": 1.0, "seed": 1, "pipeline": "quick", "training_seed": 1,
        "status": "ok", "reason": "", "macro_f1": 0.51, "accuracy": 0.5, "hamming_loss": 0.1,
        "bought": 2, "pre_training_seconds": 3.0, "purchase_seconds": 4.0,
        "prediction_seconds": 5.0, "training_seconds": 6.0, "peak_memory": 0,
        "trial": "random-seed1-c", "f1_dent": 0.25, "f1_stain": 0.75,
    }  # fmt: skip
    assert (none["pair"], none["code"]) == ("any", "")
    assert scores.budget.isna().sum() == scores.minutes.isna().sum() == 2
    means = load_results([folder], ["2:1"]).groupby("strategy").macro_f1.mean()
    assert means.to_dict() == pytest.approx({"none": 0.505, "random": 0.505})


def test_columns_are_those_of_the_documentation() -> None:
    page = (REPO_ROOT / "docs" / "scoring.md").read_text()
    for name, meaning in COLUMNS.items():
        assert f"| `{name}` | {meaning} |" in page


CRASHED = {"macro_f1": None, "status": "crashed", "reason": "not finite"}
STATUSES = {
    # how seed 1 of entropy ended: status, reason, macro-F1
    "ok": ({}, "ok", "", 0.51),
    "purchase failed": (
        {"status": "timeout", "reason": "killed at 60 s", "trained": False},
        "timeout",
        "killed at 60 s",
        None,
    ),
    "training failed": ({"scored": CRASHED}, "training quick crashed", "not finite", None),
    "training unfinished": ({"trained": False}, "unfinished", "", None),
}


@pytest.mark.parametrize("case", STATUSES)
def test_load_results_status(case: str, write: Write) -> None:
    ended, status, reason, score = STATUSES[case]
    write("a", "random", "entropy", seeds=(0,))
    write("a", "random", seeds=(1,))
    scores = load_results(write("a", "entropy", seeds=(1,), **ended))
    found = scores[(scores.strategy == "entropy") & (scores.seed == 1)]
    (row,) = found.to_dict("records")
    assert (row["status"], row["reason"], row["pipeline"]) == (status, reason, "quick")
    assert row["macro_f1"] == score or (score is None and math.isnan(row["macro_f1"]))


def test_load_results_without_any_score(write: Write) -> None:
    (row,) = load_results(write("a", "random", seeds=(0,), trained=False)).to_dict("records")
    assert row["status"] == "unfinished"
    assert math.isnan(row["pipeline"])


MEANS = {
    # scores by pipeline and training seed: macro-F1, status
    "of two pipelines": ({("a", 0): 0.2, ("b", 0): 0.4}, 0.3, "ok"),
    "trainings first": ({("a", 0): 0.2, ("b", 0): 0.4, ("b", 1): 0.8}, 0.4, "ok"),
    "one is unfinished": ({("a", 0): 0.2, ("b", 0): math.nan}, math.nan, "unfinished"),
    "one is not there": ({("a", 0): 0.2}, math.nan, "unfinished"),
}


@pytest.mark.parametrize("case", MEANS)
def test_mean_over_pipelines(case: str) -> None:
    scores, mean, status = MEANS[case]
    other = trial("random", 1, {("a", 1): 0.5, ("b", 1): 0.7})
    table = mean_over_pipelines(score_table([other, trial("entropy", 0, scores)]), "mean")
    first, second = table.to_dict("records")
    assert (first["macro_f1"], first["status"]) == (pytest.approx(0.6), "ok")
    assert second["macro_f1"] == pytest.approx(mean, nan_ok=True)
    assert (second["status"], second["pipeline"]) == (status, "mean")


def test_mean_over_pipelines_keeps_what_failed() -> None:
    whole = trial("random", 1, {("a", 1): 0.5, ("b", 1): 0.7})
    table = mean_over_pipelines(score_table([whole, failed("entropy", 1, "b")]), "mean")
    assert list(table.status) == ["ok", "training b crashed"]


def test_score_table_of_nothing_has_its_columns() -> None:
    assert list(score_table([])) == list(COLUMNS)
    assert leaderboard(score_table([])) == []


def test_read_results_joins_strategies_of_two_machines(write: Write) -> None:
    results = read_results(
        [write("a", "none", "random"), write("b", "none", "entropy", score=0.6), write("c", "all")]
    )
    assert results.dataset == "boards"
    assert results.strategies == ("random", "entropy")
    assert results.pairs == (Pair(2, 1.0),)
    rows = {row.strategy: row for row in leaderboard(results.table, "random")}
    assert rows["random"].mean == pytest.approx(0.505)
    assert rows["entropy"].against_baseline is not None
    assert rows["entropy"].against_baseline.test.difference == pytest.approx(0.1)
    assert rows["none"].n == 2


def test_read_results_names_strategies_of_different_machines(write: Write) -> None:
    folders = [write("a", "random", device="slow"), write("b", "entropy", device="fast")]
    (notice,) = read_results(folders).notices
    assert "random on slow; entropy on fast" in notice
    both = [write(name, "random", "badge", seeds=(n,), device=name) for n, name in enumerate("cd")]
    assert not read_results(both).notices


def test_read_results_counts_exact_duplicates_once(write: Write) -> None:
    folder = write("a", "random", "entropy")
    once, twice = read_results([folder]), read_results([folder, folder])
    assert once == twice
    assert not once.notices


def test_read_results_takes_a_trial_made_twice_from_the_first_folder(write: Write) -> None:
    first = write("a", "random", seeds=(0,))
    results = read_results([first, write("b", "random", purchased=(8, 9), score=0.9)])
    assert scores_of(results) == {("quick", 0): 0.5, ("quick", 1): 0.91}
    assert len(results.notices) == 1
    assert "1 trials were left out" in results.notices[0]


@pytest.mark.parametrize("first", ["ok", "timeout"])
def test_read_results_names_a_trial_with_another_status_elsewhere(write: Write, first: str) -> None:
    other = {"ok": "timeout", "timeout": "ok"}[first]
    folders = [write("a", "random", status=first), write("b", "random", status=other)]
    results = read_results(folders)
    assert {trial.purchase["status"] for trial in results.trials if trial.purchase} == {first}
    (notice,) = results.notices
    assert "2 trials were left out" in notice
    assert "another status" in notice


def test_read_results_joins_scores_of_other_pipelines(write: Write) -> None:
    here = write("a", "random")
    there = write("b", "random", pipeline="organiser", configuration="c2", score=0.7)
    scores = scores_of(read_results([here, there]))
    assert scores == {
        ("quick", 0): 0.5, ("quick", 1): 0.51, ("organiser", 0): 0.7, ("organiser", 1): 0.71
    }  # fmt: skip


def test_read_results_counts_missing_trials_as_unfinished(write: Write) -> None:
    results = read_results([write("a", "random"), write("b", "entropy", seeds=(0,))])
    rows = {row.strategy: row for row in leaderboard(results.table, "random")}
    assert rows["entropy"].n == 1
    assert rows["entropy"].mean == pytest.approx(0.5)
    assert rows["random"].n == 2


def test_read_results_takes_the_newest_code_and_settings(write: Write) -> None:
    write("a", "random", code="old")
    write("a", "random", code="new", configuration="c0", score=0.1)
    results = read_results([write("a", "random", code="new", configuration="c9", score=0.8)])
    assert scores_of(results) == {("quick", 0): 0.8, ("quick", 1): 0.81}
    (notice,) = results.notices
    assert "4 records by other code" in notice


def test_read_results_follows_the_last_command(write: Write) -> None:
    """A command that found everything done has added no record, and has noted its settings."""
    write("a", "random", code="first", conditions="16 GiB", score=0.5)
    write("a", "random", code="second", conditions="8 GiB", configuration="c2", score=0.8)
    folder = write(
        "a", "random", code="first", conditions="8 GiB", trial="random-8", seeds=(0,), score=0.9
    )

    for code, conditions, f1 in (
        ("second", "8 GiB", 0.8), ("first", "16 GiB", 0.5), ("unknown", "16 GiB", 0.5)
    ):  # fmt: skip
        configuration = "c2" if code == "second" else "c1"
        settings = {"dataset": "boards", "fingerprint": "f1", "code": code}
        settings |= {"conditions": conditions, "configurations": {"quick": configuration}}
        Journal(folder / "commands.jsonl").append({"command": ["..."], **settings})
        assert set(load_results(folder).macro_f1) == {f1, f1 + 0.01}
    Journal(folder / "commands.jsonl").append({"command": [], "configurations": "?"})
    assert set(load_results(folder).macro_f1) == {0.9}


def test_read_results_leaves_out_the_removed_oracle_row(write: Write) -> None:
    alone = read_results([write("a", "none", "random")])
    write("a", "oracle", score=0.9)
    with_oracle = read_results([write("a")])
    assert with_oracle.trials == alone.trials
    assert with_oracle.notices == (
        f"{write('a')}: 2 purchases of the reference row oracle, which was removed, were left out.",
    )


def test_read_results_of_some_pairs(write: Write) -> None:
    write("a", "none", "random", code="x")
    folder = write("a", "random", code="x", trial="random-9", budget=9, seeds=(0,), score=0.7)
    everything = read_results([folder])
    assert everything.pairs == (Pair(2, 1.0), Pair(9, 1.0))
    (notice,) = everything.notices
    assert "Not every pair has the same seeds (seeds per pair: 2:1 2, 9:1 1)" in notice
    alone = read_results([folder], ["2:1"])
    assert alone.pairs == (Pair(2, 1.0),)
    assert alone.notices == ()
    rows = {row.strategy: row for row in leaderboard(alone.table, "random")}
    assert (rows["random"].n, rows["none"].n) == (2, 2)
    with pytest.raises(ConfigurationError, match=r"--pairs 3:1: .* There is 2:1, 9:1\."):
        read_results([folder], ["2:1", "3:1"])


def test_read_results_takes_the_newest_conditions(write: Write) -> None:
    """Else a folder once used with another --memory could never be reported again."""
    write("a", "none", "random", "entropy", score=0.1)
    results = read_results([write("a", "random", code="new", conditions="isolated", score=0.8)])
    assert results.strategies == ("random",)
    scores = results.table
    assert list(scores[scores.strategy == "random"].macro_f1) == [0.8, 0.81]
    (notice,) = results.notices
    assert "4 records by other code, settings" in notice


def test_read_results_takes_the_newest_data(write: Write) -> None:
    """Else a label that was corrected would leave a folder that can never be reported again."""
    write("a", "random", "entropy", score=0.1)
    results = read_results([write("a", "random", fingerprint="fixed", score=0.8)])
    assert scores_of(results) == {("quick", 0): 0.8, ("quick", 1): 0.81}
    assert results.strategies == ("random",)
    (notice,) = results.notices
    assert "of other data" in notice


MIXTURES = [
    ({"fingerprint": "f2"}, "several data sets"),
    ({"dataset": "sheets"}, "several data sets"),
    ({"conditions": "round 1"}, "several evaluation conditions"),
    ({"code": "other"}, "several codes of the strategy 'random'"),
    ({"configuration": "c2"}, "several configurations of the pipeline 'quick'"),
]


@pytest.mark.parametrize(("fields", "complaint"), MIXTURES)
def test_read_results_refuses_mixtures_and_names_both_folders(
    fields: dict[str, str], complaint: str, write: Write
) -> None:
    folders = [write("a", "random"), write("b", "random", **fields)]
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        read_results(folders)
    for folder in folders:
        assert str(folder) in str(refused.value)


def test_read_results_names_a_folder_without_journals(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not there"):
        read_results([tmp_path])


def test_read_results_leaves_out_a_torn_line_and_changes_nothing(write: Write) -> None:
    folder = write("a", "random")
    with (folder / "purchases.jsonl").open("a") as file:
        file.write(json.dumps({"trial": "half"})[:9])
    before = (folder / "purchases.jsonl").read_bytes()
    assert len(read_results([folder]).trials) == 2
    assert (folder / "purchases.jsonl").read_bytes() == before


def test_sole_writer_refuses_a_second_one(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigurationError, match="Another evaluation")
    with sole_writer(tmp_path), refused, sole_writer(tmp_path):
        pass
    with sole_writer(tmp_path):
        pass


def test_sole_writer_names_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    refused = pytest.raises(ConfigurationError, match=r"--out .*a file cannot be written")
    with refused, sole_writer(tmp_path / "a file"):
        pass


def test_read_results_names_a_record_that_lacks_a_field(write: Write) -> None:
    path = write("a", "random") / "purchases.jsonl"
    path.write_text(
        path.read_text().replace('"status"', '"stbtus"', 2).replace('"stbtus"', '"status"', 1)
    )
    with pytest.raises(ConfigurationError, match=r"purchases\.jsonl, line 2 .* lacks 'status'"):
        read_results([path.parent])
