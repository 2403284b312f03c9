"""The page says what the journals say, and how sure that is."""

import json
from pathlib import Path

from evaluator.analysis.statistics import mean_interval
from tests.report.journals import CASES, CLASSES, TWO, train_twice, write_journals
from tests.report.pages import report


def test_the_leaderboard_is_that_of_the_journals(tmp_path: Path) -> None:
    scores = {"none": (0.2,), "random": (0.4,), "entropy": (0.5,), "all": (0.8,)}
    page = report(write_journals(tmp_path, scores))
    rows = page.table("Macro-F1 under quick")
    assert list(rows) == ["all", "entropy", "random", "none"]
    low, high = mean_interval([0.5, 0.51, 0.52]) or (0, 0)
    assert rows["entropy"]["macro-F1"] == "0.510"
    assert rows["entropy"]["95 % interval"] == f"[{low:.3f}, {high:.3f}]"
    assert rows["entropy"]["gap closed"] == "50%"
    assert (rows["entropy"]["accuracy"], rows["entropy"]["Hamming loss"]) == ("0.500", "0.100")
    assert rows["entropy"]["runs"] == "3"
    assert f"entropy 0.510 (95 % interval {low:.3f} to {high:.3f})" in page.alt("Macro-F1")
    assert "n = 3 purchase seeds" in page.text
    assert "endlessly many seeds" in page.text


def test_nobody_leads_whose_mean_is_over_other_seeds(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO)
    lines = (out / "scores.jsonl").read_text().splitlines(keepends=True)
    (out / "scores.jsonl").write_text("".join(lines[:-1]))  # entropy, seed 2
    page = report(out)
    assert "has the highest" not in page.text
    assert (
        "means are over different seeds and do not compare: entropy 0 1, random 0 to 2" in page.text
    )


def test_one_seed_says_nothing_about_differences(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, **CASES["one seed"]))
    assert page.text.count("One purchase seed (n = 1): nothing can be said") == 3
    assert "there is no interval yet" in page.text
    assert "95 % interval" not in page.text
    assert not [image for image in page.all("img") if "Difference" in image["alt"]]
    assert "p (t, Holm)" not in page.text


def test_differences_are_paired(tmp_path: Path) -> None:
    gains = {0: 0.0, 1: 0.02, 2: 0.01}  # of what is better than random, by seed
    page = report(
        write_journals(
            tmp_path,
            {"random": (0.4,), "entropy": (0.5,), "worse": (0.39,)},
            score=lambda base, _, seed: base + 0.05 * seed + (base > 0.45) * gains[seed],
        )
    )
    rows = page.table("Each strategy against random")
    assert rows["entropy"]["difference"] == "+0.110"
    assert rows["entropy"]["wins-losses"] == "3-0"
    assert rows["worse"]["difference"] == "-0.010"
    assert rows["worse"]["p (t, Holm)"] == "<0.001"
    assert rows["worse"]["p (Wilcoxon, Holm)"] == "0.500", "2 / 2 ** 3, of two comparisons"
    assert rows["worse"]["n"] == "3"
    assert "entropy +0.110 (95 % interval +0.085 to +0.135)" in page.alt("Difference")
    assert "one comparison planned beforehand" in page.text
    assert "Fix the number of seeds first" in page.text
    assert "where pairing does nothing, nine of ten lie between" in page.text
    assert (
        "Better than random, beyond what seeds explain: entropy (+0.110 [+0.085, +0.135], n = 3)"
        in page.text
    )
    assert (
        "Worse than random, beyond what seeds explain: worse (-0.010 [-0.010, -0.010], n = 3)"
        in page.text
    )
    assert "3 purchase seeds are few to settle anything on" in page.text
    assert page.table("The row's strategy beats")["entropy"]["worse"] == "1.00"
    assert page.table("The row's strategy beats")["worse"]["random"] == "0.00"
    beaten = page.table("The row's strategy beats")["mean: how often beaten"]
    assert (beaten["random"], beaten["entropy"], beaten["worse"]) == ("0.50", "0.00", "1.00")
    assert "entropy beats worse in 100%" in page.alt("Penalty matrix")


def test_several_trainings_say_where_the_spread_comes_from(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO, seeds=(0, 1, 2, 3))
    train_twice(out)
    page = report(out)
    assert page.table("Macro-F1 under quick")["entropy"]["runs"] == "8"
    assert page.table("Each strategy against random")["entropy"]["n"] == "4", "purchases"
    spread = page.table("Standard deviation of the difference")["entropy"]
    assert spread["sd of trainings"] == "0.000", "both were trained alike"
    assert (spread["purchase"], spread["training"]) == ("62 s", "18 s")
    assert spread["hours to a standard error of 0.005: one training"] == "0.0"
    assert "95 % interval is about ±0.01" in page.text
    assert "Below 5 purchase seeds the two parts" in page.text


def test_what_seeds_can_explain_is_not_settled(tmp_path: Path) -> None:
    page = report(
        write_journals(tmp_path, TWO, score=lambda base, _, seed: 0.5 + (base - 0.45) * (seed - 1))
    )
    assert "Not settled against random: entropy" in page.text
    assert "beyond what seeds explain" not in page.text


def test_pipelines_are_averaged_and_their_orders_compared(tmp_path: Path) -> None:
    page = report(
        write_journals(
            tmp_path,
            {"random": (0.4,), "entropy": (0.5,), "badge": (0.6,)},
            pipelines=("quick", "organiser"),
            score=lambda base, pipeline, seed: (base if pipeline == 0 else 0.8 - base) + seed / 99,
        )
    )
    mean = page.table("Macro-F1 under the mean over 2 pipelines")
    assert {row["macro-F1"] for row in mean.values()} == {"0.410"}, "0.4 + 1 / 99"
    assert page.table("Macro-F1 under quick")["badge"]["macro-F1"] == "0.610"
    ranks = page.table("Macro-F1 of each strategy")
    assert ranks["badge"]["mean"] == "0.410"
    assert ranks["badge"]["quick (rank)"] == "0.610 (1)"
    assert ranks["badge"]["organiser (rank)"] == "0.210 (3)"
    assert ranks["badge"]["mean rank"] == "2.00"
    assert page.table("Kendall's tau")["quick"]["organiser"] == "-1.000"


def test_a_seed_missing_under_one_pipeline_does_not_count_in_the_mean(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO, pipelines=("quick", "organiser"))
    lines = (out / "scores.jsonl").read_text().splitlines(keepends=True)
    (out / "scores.jsonl").write_text("".join(lines[:-1]))  # entropy, seed 2, organiser
    page = report(out)
    assert page.table("Macro-F1 under the mean")["entropy"]["macro-F1"] == "0.505"
    assert page.table("Macro-F1 under quick")["entropy"]["macro-F1"] == "0.510"
    assert "1 trial of 6 not finished" in page.text


def test_the_curve_and_the_area_under_it(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, **CASES["several budgets"]))
    rows = page.table("Mean height of the curve")
    assert list(rows) == ["entropy", "random"]
    assert rows["entropy"]["5 labels"] == "0.560", "5:1 and 5:2 are one point"
    assert rows["entropy"]["9 labels"] == "0.810"
    assert rows["entropy"]["AUBC"] == "0.685"
    assert "random 0.460 at 5, 0.610 at 9" in page.alt("Macro-F1 under quick against labels")

    one = report(write_journals(tmp_path / "one", TWO))
    assert "One budget in labels was evaluated, so there is no curve" in one.text


def test_a_failed_strategy_is_shown_with_its_reason(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, **CASES["a failed strategy"]))
    rows = page.table("Macro-F1 under quick")
    (failed,) = (row for name, row in rows.items() if name.startswith("entropy"))
    assert failed["strategy"] == "entropy (failed: 5:1 seed 2: timeout)"
    assert failed["macro-F1"] == "–"
    assert failed["5:1"] == "0.505", "the seeds that went well"
    why = page.table("What failed")["entropy"]
    assert (why["what"], why["reason"], why["seed"]) == ("timeout", "killed at 60 s", "2")
    assert "Failed: entropy (5:1 seed 2: timeout)." in page.text
    assert "Not compared with random" in page.text
    assert "No trial failed" not in page.text


def test_f1_per_class(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, TWO))
    row = page.table("F1 per class")["entropy"]
    assert [row[name] for name in CLASSES] == ["0.410", "0.510", "0.610"]
    assert "entropy: dark 0.41, bright 0.51, striped 0.61" in page.alt("F1 per class")


def test_many_classes_and_strategies_are_drawn_as_a_heat_map(tmp_path: Path) -> None:
    scores = {"random": (0.1,), **{f"s{i}": (0.1 + i / 100,) for i in range(11)}}
    classes = [f"class {c}" for c in range(9)]
    page = report(write_journals(tmp_path, scores, seeds=(0,), classes=classes))
    assert "s5: from 0.05 (class 0) to 0.85 (class 8)" in page.alt("F1 per class")
    widths = [int(image["width"]) for image in page.all("img") if image["alt"][:2] == "F1"]
    assert widths == [691], "nine columns fit"
    assert len(page.table("F1 per class")) == 12


def test_time_and_memory(tmp_path: Path) -> None:
    row = report(write_journals(tmp_path, {"random": (0.4,)})).table("Seconds per phase")["random"]
    assert (row["pre-training"], row["purchase"], row["budget"]) == ("6 s", "24 s", "60 s")
    assert (row["used, mean"], row["used, most"]) == ("50%", "50%")
    assert row["peak memory, most"] == "1.50 GiB"


def test_who_came_late_does_not_take_seeds_from_the_others(tmp_path: Path) -> None:
    wobble = (0.0, 0.02, -0.01, 0.01, -0.02)

    def score(base: float, _: int, seed: int) -> float:
        return base + 0.1 * seed + (base > 0.45) * wobble[seed]

    page = report(
        write_journals(tmp_path / "one", TWO, seeds=range(5), score=score),
        write_journals(tmp_path / "other", {"slow": (0.41,)}, seeds=(0, 1), score=score),
    )
    rows = page.table("The row's strategy beats")
    assert rows["entropy"]["random"] == "1.00", "p < 0.05 with five seeds, and not with two"
    assert rows["slow"]["random"] == "1.00"
    assert "n = 2 to 5 seeds in common" in page.text


def test_strategies_without_a_seed_in_common_are_said_to_be(tmp_path: Path) -> None:
    page = report(
        write_journals(tmp_path / "one", {"random": (0.4,)}, seeds=(0, 1)),
        write_journals(tmp_path / "other", {"entropy": (0.5,)}, seeds=(2, 3)),
    )
    assert "No two strategies have two purchase seeds in common." in page.text
    assert "One purchase seed" not in page.text


def test_equal_scores_make_no_leader(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, {"random": (0.4,), "entropy": (0.4,), "bald": (0.3,)}))
    assert "Nobody leads under quick: entropy and random score 0.410 alike." in page.text


def test_what_is_bought_and_not_trained_is_unfinished(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO, seeds=(0, 1))
    lines = (out / "scores.jsonl").read_text().splitlines(keepends=True)
    (out / "scores.jsonl").write_text("".join(line for line in lines if "seed0" in line))
    assert "2 trials of 4 not finished" in report(out).text


def test_what_crashed_at_once_makes_the_rest_look_no_quicker(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO)
    lines = [json.loads(line) for line in (out / "purchases.jsonl").read_text().splitlines()]
    lines[0] |= {"status": "crashed", "seconds": {"pre_training": 0.1}}
    (out / "purchases.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    row = report(out).table("Seconds per phase")["random"]
    assert (row["pre-training"], row["seeds"]) == ("6 s", "2")


def test_who_has_not_finished_does_not_keep_the_others_from_being_compared(tmp_path: Path) -> None:
    page = report(
        write_journals(tmp_path / "one", {"random": (0.4,), "entropy": (0.5,)}),
        write_journals(tmp_path / "other", {"slow": (0.6,)}, seeds=(0,)),
    )
    assert list(page.table("The row's strategy beats")) == ["entropy", "random",
                                                            "mean: how often beaten"]  # fmt: skip
    assert "Left out, for they have not finished two seeds: slow." in page.text
