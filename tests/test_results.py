"""Journals of several machines are joined where they compare, and refused where they do not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluator.analysis.folders import read_results
from evaluator.analysis.leaderboard import leaderboard
from evaluator.errors import ConfigurationError
from evaluator.records.journal import Journal, sole_writer
from evaluator.records.trial import Pair

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
                    "seconds": {},
                    "conditions": "round 2" if own else "",
                } | (fields if own else {})
                Journal(folder / "purchases.jsonl").append(trial)
                scored = {
                    "trial": trial["trial"],
                    "pipeline": pipeline,
                    "training_seed": seed,
                    "status": "ok",
                    "macro_f1": score + 0.01 * seed,
                    "f1_per_class": {},
                    "seconds": 0.0,
                    "configuration": configuration,
                }
                Journal(folder / "scores.jsonl").append(scored)
        return folder

    return journals


def test_two_machines_stand_in_one_leaderboard(write: Write) -> None:
    results = read_results(
        [write("a", "none", "random"), write("b", "none", "entropy", score=0.6), write("c", "all")]
    )
    assert results.dataset == "boards"
    assert results.strategies == ("random", "entropy")
    assert results.pairs == (Pair(2, 1.0),)
    rows = {row.strategy: row for row in leaderboard(results.trials, "random")}
    assert rows["random"].mean == pytest.approx(0.505)
    assert rows["entropy"].against_baseline is not None
    assert rows["entropy"].against_baseline.test.difference == pytest.approx(0.1)
    assert rows["none"].n == 2


def test_strategies_of_different_machines_are_named(write: Write) -> None:
    folders = [write("a", "random", device="slow"), write("b", "entropy", device="fast")]
    (notice,) = read_results(folders).notices
    assert "random on slow; entropy on fast" in notice
    both = [write(name, "random", "badge", seeds=(n,), device=name) for n, name in enumerate("cd")]
    assert not read_results(both).notices


def test_exact_duplicates_count_once(write: Write) -> None:
    folder = write("a", "random", "entropy")
    once, twice = read_results([folder]), read_results([folder, folder])
    assert once == twice
    assert not once.notices


def test_a_trial_made_twice_counts_as_in_the_first_folder_and_that_is_said(write: Write) -> None:
    first = write("a", "random", seeds=(0,))
    results = read_results([first, write("b", "random", purchased=(8, 9), score=0.9)])
    by_seed = {trial.seed: trial for trial in results.trials}
    assert by_seed[0].score(("quick", 0)) == 0.5
    assert by_seed[1].score(("quick", 1)) == pytest.approx(0.91)
    assert len(results.notices) == 1
    assert "1 trials were left out" in results.notices[0]


@pytest.mark.parametrize("first", ["ok", "timeout"])
def test_a_trial_that_ended_otherwise_elsewhere_is_named(write: Write, first: str) -> None:
    other = {"ok": "timeout", "timeout": "ok"}[first]
    folders = [write("a", "random", status=first), write("b", "random", status=other)]
    results = read_results(folders)
    assert {trial.purchase["status"] for trial in results.trials if trial.purchase} == {first}
    (notice,) = results.notices
    assert "2 trials were left out" in notice
    assert "another ending" in notice


def test_a_purchase_is_scored_by_other_pipelines_elsewhere(write: Write) -> None:
    here = write("a", "random")
    there = write("b", "random", pipeline="organiser", configuration="c2", score=0.7)
    (trial, _) = read_results([here, there]).trials
    assert trial.score(("quick", 0)) == 0.5
    assert trial.score(("organiser", 0)) == 0.7


def test_what_no_folder_holds_is_unfinished(write: Write) -> None:
    results = read_results([write("a", "random"), write("b", "entropy", seeds=(0,))])
    rows = {row.strategy: row for row in leaderboard(results.trials, "random")}
    assert rows["entropy"].n == 1
    assert rows["entropy"].mean == pytest.approx(0.5)
    assert rows["random"].n == 2


def test_of_one_folder_the_newest_code_and_settings_count(write: Write) -> None:
    write("a", "random", code="old")
    write("a", "random", code="new", configuration="c0", score=0.1)
    results = read_results([write("a", "random", code="new", configuration="c9", score=0.8)])
    assert {trial.score(("quick", trial.seed)) for trial in results.trials} == {0.8, 0.81}
    (notice,) = results.notices
    assert "4 records by other code" in notice


def test_code_and_settings_that_were_taken_back_count_again(write: Write) -> None:
    """The command that found everything there has added no record, and says by what it judged."""
    write("a", "random", code="first", conditions="16 GiB", score=0.5)
    write("a", "random", code="second", conditions="8 GiB", configuration="c2", score=0.8)
    folder = write(
        "a", "random", code="first", conditions="8 GiB", trial="random-8", seeds=(0,), score=0.9
    )

    def shown() -> set[float]:
        return {trial.score(("quick", trial.seed)) for trial in read_results([folder]).trials}

    for code, conditions, f1 in (
        ("second", "8 GiB", 0.8), ("first", "16 GiB", 0.5), ("unknown", "16 GiB", 0.5)
    ):  # fmt: skip
        configuration = "c2" if code == "second" else "c1"
        judged_by = {"dataset": "boards", "fingerprint": "f1", "code": code}
        judged_by |= {"conditions": conditions, "configurations": {"quick": configuration}}
        Journal(folder / "commands.jsonl").append({"command": ["..."], **judged_by})
        assert shown() == {f1, f1 + 0.01}
    Journal(folder / "commands.jsonl").append({"command": [], "configurations": "?"})
    assert {trial.score(("quick", trial.seed)) for trial in read_results([folder]).trials} == {0.9}


def test_read_results_leaves_out_the_removed_oracle_row(write: Write) -> None:
    alone = read_results([write("a", "none", "random")])
    write("a", "oracle", score=0.9)
    with_oracle = read_results([write("a")])
    assert with_oracle.trials == alone.trials
    assert with_oracle.notices == (
        f"{write('a')}: 2 purchases of the reference row oracle, which was removed, were left out.",
    )


def test_pairs_can_be_shown_alone(write: Write) -> None:
    write("a", "none", "random", code="x")
    folder = write("a", "random", code="x", trial="random-9", budget=9, seeds=(0,), score=0.7)
    everything = read_results([folder])
    assert everything.pairs == (Pair(2, 1.0), Pair(9, 1.0))
    (notice,) = everything.notices
    assert "Not every pair has the same seeds (so many: 2:1 2, 9:1 1)" in notice
    alone = read_results([folder], ["2:1"])
    assert alone.pairs == (Pair(2, 1.0),)
    assert alone.notices == ()
    rows = {row.strategy: row for row in leaderboard(alone.trials, "random")}
    assert (rows["random"].n, rows["none"].n) == (2, 2)
    with pytest.raises(ConfigurationError, match=r"--pairs 3:1: .* There is 2:1, 9:1\."):
        read_results([folder], ["2:1", "3:1"])


def test_of_one_folder_the_newest_conditions_count(write: Write) -> None:
    """Else a folder once used with another --memory could never be reported again."""
    write("a", "none", "random", "entropy", score=0.1)
    results = read_results([write("a", "random", code="new", conditions="isolated", score=0.8)])
    assert results.strategies == ("random",)
    own = [trial for trial in results.trials if trial.strategy == "random"]
    assert [trial.score(("quick", trial.seed)) for trial in own] == [0.8, 0.81]
    (notice,) = results.notices
    assert "4 records by other code, settings" in notice


def test_of_one_folder_the_newest_data_count(write: Write) -> None:
    """Else a label that was corrected would leave a folder that can never be reported again."""
    write("a", "random", "entropy", score=0.1)
    results = read_results([write("a", "random", fingerprint="fixed", score=0.8)])
    assert {trial.score(("quick", trial.seed)) for trial in results.trials} == {0.8, 0.81}
    assert results.strategies == ("random",)
    (notice,) = results.notices
    assert "of other data" in notice


MIXTURES = [
    ({"fingerprint": "f2"}, "several data sets"),
    ({"dataset": "sheets"}, "several data sets"),
    ({"conditions": "round 1"}, "several judge's conditions"),
    ({"code": "other"}, "several codes of the strategy 'random'"),
    ({"configuration": "c2"}, "several configurations of the pipeline 'quick'"),
]


@pytest.mark.parametrize(("fields", "complaint"), MIXTURES)
def test_mixtures_are_refused_and_both_folders_named(
    fields: dict[str, str], complaint: str, write: Write
) -> None:
    folders = [write("a", "random"), write("b", "random", **fields)]
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        read_results(folders)
    for folder in folders:
        assert str(folder) in str(refused.value)


def test_a_folder_without_journals_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not there"):
        read_results([tmp_path])


def test_reading_changes_nothing_and_leaves_out_the_line_being_written(write: Write) -> None:
    folder = write("a", "random")
    with (folder / "purchases.jsonl").open("a") as file:
        file.write(json.dumps({"trial": "half"})[:9])
    before = (folder / "purchases.jsonl").read_bytes()
    assert len(read_results([folder]).trials) == 2
    assert (folder / "purchases.jsonl").read_bytes() == before


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigurationError, match="Another evaluation")
    with sole_writer(tmp_path), refused, sole_writer(tmp_path):
        pass
    with sole_writer(tmp_path):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    refused = pytest.raises(ConfigurationError, match=r"--out .*a file cannot be written")
    with refused, sole_writer(tmp_path / "a file"):
        pass


def test_a_record_that_lacks_a_field_is_named(write: Write) -> None:
    path = write("a", "random") / "purchases.jsonl"
    path.write_text(
        path.read_text().replace('"status"', '"stbtus"', 2).replace('"stbtus"', '"status"', 1)
    )
    with pytest.raises(ConfigurationError, match=r"purchases\.jsonl, line 2 .* lacks 'status'"):
        read_results([path.parent])
