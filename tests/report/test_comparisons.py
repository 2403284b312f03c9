"""Numbers of leaderboard, comparison, budgets, classes and pipelines are those of the journals."""

from pathlib import Path

import pytest

from evaluator.analysis.statistics import mean_interval
from tests.report.journals import CASES, CLASSES, TWO, train_twice, write_journals
from tests.report.pages import report

LEADERBOARD = "Leaderboard under quick"
COMPARISON = "Each strategy compared with random"


def drop_last_score(out: Path) -> None:
    lines = (out / "scores.jsonl").read_text().splitlines(keepends=True)
    (out / "scores.jsonl").write_text("".join(lines[:-1]))


def test_leaderboard_has_means_intervals_and_gap(tmp_path: Path) -> None:
    scores = {"none": (0.2,), "random": (0.4,), "entropy": (0.5,), "all": (0.8,)}
    page = report(write_journals(tmp_path, scores))
    rows = page.table(LEADERBOARD)
    assert list(rows) == ["all", "entropy", "random", "none"]
    low, high = mean_interval([0.5, 0.51, 0.52]) or (0, 0)
    assert rows["entropy"]["macro-F1"] == "0.510"
    assert rows["entropy"]["95 % interval"] == f"[{low:.3f}, {high:.3f}]"
    assert rows["entropy"]["gap closed"] == "50%"
    assert (rows["entropy"]["accuracy"], rows["entropy"]["Hamming loss"]) == ("0.500", "0.100")
    assert rows["entropy"]["runs"] == "3"
    assert [alt for alt in page.figures if "Macro-F1 of each strategy" in alt]


def test_summary_ranks_nobody_whose_mean_is_over_other_seeds(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO)
    drop_last_score(out)  # entropy, seed 2
    text = report(out).text
    assert "has the highest" not in text
    assert "No ranking yet" in text
    assert "entropy 0 1, random 0 to 2" in text


def test_summary_ranks_equal_scores_alike(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, {"random": (0.4,), "entropy": (0.4,), "bald": (0.3,)}))
    assert "Tied under quick: random and entropy, macro-F1 0.410." in page.text


def test_summary_of_one_strategy_claims_no_rank(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, **CASES["one strategy"]))
    assert "random has macro-F1 under quick: 0.410" in page.text


def test_summary_of_no_significance(tmp_path: Path) -> None:
    page = report(
        write_journals(tmp_path, TWO, score=lambda base, _, seed: 0.5 + (base - 0.45) * (seed - 1))
    )
    assert "No significant difference from random (Holm-corrected p ≥ 0.05): entropy" in page.text
    assert "Significantly" not in page.text


def test_one_seed_is_not_tested(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, **CASES["one seed"]))
    assert "95 % interval" not in page.text
    assert not [caption for caption in page.captions if caption.startswith(COMPARISON)]
    assert not [alt for alt in page.figures if "Difference" in alt]


def test_comparison_is_paired_by_seed(tmp_path: Path) -> None:
    gains = {0: 0.0, 1: 0.02, 2: 0.01}  # of what is better than random, by seed
    page = report(
        write_journals(
            tmp_path,
            {"random": (0.4,), "entropy": (0.5,), "worse": (0.39,)},
            score=lambda base, _, seed: base + 0.05 * seed + (base > 0.45) * gains[seed],
        )
    )
    rows = page.table(COMPARISON)
    assert rows["entropy"]["difference"] == "+0.110"
    assert rows["entropy"]["95 % interval"] == "[+0.085, +0.135]"
    assert rows["entropy"]["wins-losses"] == "3-0"
    assert rows["worse"]["difference"] == "-0.010"
    assert rows["worse"]["p (t, Holm)"] == "<0.001"
    assert rows["worse"]["p (Wilcoxon, Holm)"] == "0.500", "2 / 2 ** 3, of two comparisons"
    assert rows["worse"]["n"] == "3"
    assert [alt for alt in page.figures if "Difference in macro-F1 from random" in alt]
    better, worse = "entropy (+0.110 [+0.085, +0.135], n = 3)", "worse (-0.010 [-0.010, -0.010]"
    assert f"Significantly better than random (Holm-corrected p < 0.05): {better}." in page.text
    assert f"Significantly worse than random (Holm-corrected p < 0.05): {worse}" in page.text


def test_comparison_leaves_out_who_has_not_finished(tmp_path: Path) -> None:
    page = report(
        write_journals(tmp_path / "one", TWO),
        write_journals(tmp_path / "other", {"slow": (0.6,)}, seeds=(3,)),
    )
    assert list(page.table(COMPARISON)) == ["entropy"]
    assert "Not compared with random (failed or unfinished, or random itself is): slow." in (
        page.text
    )


def test_variance_components_of_several_trainings(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO, seeds=(0, 1, 2, 3))
    train_twice(out)
    page = report(out)
    assert page.table(LEADERBOARD)["entropy"]["runs"] == "8"
    assert page.table(COMPARISON)["entropy"]["n"] == "4", "purchases"
    spread = page.table("Variance components")["entropy"]
    assert spread["sd of trainings"] == "0.000", "both were trained alike"
    assert (spread["per purchase"], spread["per training"]) == ("62 s", "18 s")
    assert "Below 5 purchase seeds" in page.text


def test_pipelines_are_averaged_and_their_ranks_compared(tmp_path: Path) -> None:
    page = report(
        write_journals(
            tmp_path,
            {"random": (0.4,), "entropy": (0.5,), "badge": (0.6,)},
            pipelines=("quick", "organiser"),
            score=lambda base, pipeline, seed: (base if pipeline == 0 else 0.8 - base) + seed / 99,
        )
    )
    mean = page.table("Leaderboard under the mean over 2 pipelines")
    assert {row["macro-F1"] for row in mean.values()} == {"0.410"}, "0.4 + 1 / 99"
    assert page.table(LEADERBOARD)["badge"]["macro-F1"] == "0.610"
    assert page.table(f"{COMPARISON} under the same seeds, organiser")["badge"]["n"] == "3"
    ranks = page.table("Macro-F1 and rank")
    assert ranks["badge"]["mean"] == "0.410"
    assert ranks["badge"]["quick (rank)"] == "0.610 (1)"
    assert ranks["badge"]["organiser (rank)"] == "0.210 (3)"
    assert ranks["badge"]["mean rank"] == "2.00"
    assert "Kendall's tau -1.00" in page.text
    for name in ("quick", "organiser"):
        assert page.lines.count(f"summary Under {name} alone") == 1


def test_mean_over_pipelines_counts_seeds_that_all_have_scored(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO, pipelines=("quick", "organiser"))
    drop_last_score(out)  # entropy, seed 2, organiser
    page = report(out)
    assert page.table("Leaderboard under the mean")["entropy"]["macro-F1"] == "0.505"
    assert page.table(LEADERBOARD)["entropy"]["macro-F1"] == "0.510"
    assert page.table("F1 per class")["entropy"]["bright"] == "0.505"
    assert "1 trial of 6 unfinished" in page.text


def test_budget_section_is_there_where_there_are_several(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, **CASES["several budgets"]))
    assert "budget" in page.sections
    assert [alt for alt in page.figures if "against labels bought" in alt]
    row = page.table(LEADERBOARD)["entropy"]
    assert (row["5:1"], row["5:2"], row["9:1"]) == ("0.510", "0.610", "0.810")
    assert row["AUBC"] == "0.685", "5:1 and 5:2 are one point, 0.56"
    assert "budget" not in report(write_journals(tmp_path / "one", TWO)).sections


def test_failed_strategy_is_shown_without_a_mean(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, **CASES["a failed strategy"]))
    (failed,) = (row for row in page.table(LEADERBOARD).values() if "entropy" in row["strategy"])
    assert failed["strategy"] == "entropy (failed: 5:1 seed 2: timeout)"
    assert failed["macro-F1"] == "–"
    assert failed["5:1"] == "0.505", "the seeds that went well"
    assert list(page.table("F1 per class")) == ["random"]
    assert "Failed: entropy (5:1 seed 2: timeout)." in page.text


def test_class_table_has_f1_per_class(tmp_path: Path) -> None:
    row = report(write_journals(tmp_path, TWO)).table("F1 per class")["entropy"]
    assert [row[name] for name in CLASSES] == ["0.410", "0.510", "0.610"]


@pytest.mark.parametrize(("strategies", "figures"), [(10, 1), (12, 0)])
def test_class_figure_gives_way_to_the_table_where_marks_are_too_many(
    strategies: int, figures: int, tmp_path: Path
) -> None:
    scores = {"random": (0.1,), **{f"s{i}": (0.1 + i / 100,) for i in range(1, strategies)}}
    classes = [f"class {c}" for c in range(9)]
    page = report(write_journals(tmp_path, scores, seeds=(0,), classes=classes))
    assert len(page.table("F1 per class")) == strategies
    assert len([alt for alt in page.figures if alt.startswith("F1 per class")]) == figures
