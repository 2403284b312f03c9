"""The leaderboard: means, intervals, comparisons, failures, on the console and as JSON."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from pandas import DataFrame

from evaluator.analysis.comparison import choose_baseline, compare, render_comparisons
from evaluator.analysis.leaderboard import Row, leaderboard, leaderboard_cells, render
from evaluator.analysis.results import METRICS, score_table
from evaluator.data.dataset import open_splits
from evaluator.experiment.evaluation import Evaluation
from evaluator.experiment.plan import Plan
from evaluator.experiment.submissions import name_submissions
from evaluator.records.trial import Pair
from evaluator.training.pipelines import PIPELINES
from evaluator.training.scoring import Scorer
from evaluator.worker.runner import SubprocessRunner
from tests.tables import Run, table

QUICK = PIPELINES["quick"]
SCORES = {"none": 0.2, "random": 0.4, "entropy": 0.5, "all": 0.8}
GAINS = {("entropy", 1): 0.02}  # what a strategy gains under one seed


@pytest.fixture
def evaluation(squares: Path, tmp_path: Path) -> Evaluation:
    run_py = tmp_path / "run.py"
    run_py.write_text("# a submission")
    splits = open_splits(squares, progress=False)
    plan = Plan(
        splits,
        name_submissions([run_py]),
        strategies=("random", "entropy"),
        pairs=(Pair(5, 1), Pair(9, 2)),
        seeds=2,
        training_seeds=1,
        pipelines=(QUICK,),
    )
    return Evaluation(plan, tmp_path / "out", Scorer(splits, weights="none"), SubprocessRunner())


def pretend(
    evaluation: Evaluation,
    failed: str = "",
    gains: Mapping[tuple[str, int], float] | None = None,
    unscored: tuple[str, Pair, int] | None = None,
) -> None:
    """Write journals as if everything but the strategy, pair and seed `unscored` had been run."""
    for trial in evaluation.plan.trials():
        bad = trial.strategy == failed and trial.seed == 1 and trial.pair == Pair(9, 2)
        status = "timeout" if bad else "ok"
        evaluation.purchases.append({"trial": trial.identity, "status": status, "purchased": []})
        if bad or (trial.strategy, trial.pair, trial.seed) == unscored:
            continue
        wider = 0.1 if trial.pair == Pair(9, 2) else 0.0
        wider += (gains or {}).get((trial.strategy, trial.seed), 0.0)
        for _, seed in evaluation.plan.trainings(trial):
            evaluation.scores.append(
                {
                    "trial": trial.identity,
                    "pipeline": "quick",
                    "training_seed": seed,
                    "configuration": evaluation.scorer.configuration(QUICK),
                    "status": "ok",
                    "macro_f1": SCORES[trial.strategy] + wider + 0.02 * seed,
                    "accuracy": SCORES[trial.strategy] - 0.1 + wider,
                    "hamming_loss": 0.3 - wider,
                    "f1_per_class": {"dark": 0.1 + wider, "bright": 0.3},
                    "seconds": 1.0,
                }
            )


def rows_of(evaluation: Evaluation, baseline: str | None = None) -> list[Row]:
    return leaderboard(score_table(evaluation.results()), baseline)


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.strategy: row for row in rows}


def test_leaderboard_mean_spread_and_gap(evaluation: Evaluation) -> None:
    pretend(evaluation)
    rows = rows_of(evaluation)
    assert [row.strategy for row in rows] == ["all", "entropy", "random", "none"]
    entropy = by_name(rows)["entropy"]
    assert entropy.mean == pytest.approx(0.5 + 0.05 + 0.01)
    assert entropy.spread == pytest.approx(0.02 / math.sqrt(2))
    assert entropy.gap_closed == pytest.approx((0.56 - 0.21) / (0.80 - 0.21))
    assert entropy.area_under_budget_curve == pytest.approx(0.56)  # two budgets: their mean
    assert by_name(rows)["none"].area_under_budget_curve is None
    assert entropy.n == 2
    assert by_name(rows)["all"].n == 1


def test_leaderboard_has_accuracy_and_hamming_loss(evaluation: Evaluation) -> None:
    pretend(evaluation, failed="random")
    rows = by_name(rows_of(evaluation))
    entropy, failed = rows["entropy"].as_json(), rows["random"].as_json()
    assert entropy["accuracy"] == pytest.approx(0.5 - 0.1 + 0.05), "the mean over both pairs"
    assert entropy["hamming_loss"] == pytest.approx(0.3 - 0.05)
    assert [failed[metric] for metric in METRICS] == [None] * 3, "a failed pair fails every metric"
    header, lines = leaderboard_cells(list(rows.values()), ["5:1", "9:2"])
    cells = {line[0].split()[0]: dict(zip(header, line, strict=True)) for line in lines}
    assert (cells["entropy"]["accuracy"], cells["entropy"]["Hamming loss"]) == ("0.450", "0.250")
    assert (cells["random"]["accuracy"], cells["random"]["Hamming loss"]) == ("", "")
    assert rows["entropy"].by_class == pytest.approx({"dark": 0.15, "bright": 0.3})


def test_gap_closed_is_unknown_where_all_is_no_better_than_none(evaluation: Evaluation) -> None:
    pretend(evaluation, gains={("all", 0): -0.7})
    assert all(row.gap_closed is None for row in rows_of(evaluation))


def test_render_shows_the_area_of_those_with_several_budgets(evaluation: Evaluation) -> None:
    pretend(evaluation, failed="entropy")
    lines = render(rows_of(evaluation), evaluation.plan.pairs).splitlines()
    header, _, *rows = (line for line in lines if line)
    place = slice(header.index("AUBC") - 2, header.index("AUBC") + 4)
    cells = {row.split()[0]: row[place].strip() for row in rows}
    assert cells == {"all": "", "random": "0.460", "none": "", "entropy": ""}


def test_leaderboard_shows_the_other_pairs_of_a_failed_strategy(
    evaluation: Evaluation,
) -> None:
    pretend(evaluation, failed="entropy")
    rows = rows_of(evaluation)
    assert rows[-1].strategy == "entropy"
    assert math.isnan(rows[-1].mean)
    text = render(rows, evaluation.plan.pairs)
    line = next(line for line in text.splitlines() if line.startswith("entropy"))
    assert "9:2 seed 1: timeout" in line
    assert "0.510" in line, "the pair that went well"
    assert rows[-1].as_json()["macro_f1"] is None


def test_interval_is_over_purchase_seeds(evaluation: Evaluation) -> None:
    pretend(evaluation)
    rows = by_name(rows_of(evaluation))
    half = 12.7062 * 0.02 / math.sqrt(2) / math.sqrt(2)  # t(1), two seeds 0.02 apart
    assert rows["entropy"].interval == pytest.approx((0.56 - half, 0.56 + half), abs=1e-5)
    assert rows["all"].interval is None, "one seed"
    assert rows["none"].interval is not None


def test_interval_counts_purchases_not_trainings() -> None:
    (one,) = leaderboard(table({"entropy": {(0, t): 0.4 + 0.01 * t for t in range(4)}}))
    assert (one.n, one.interval) == (4, None)
    assert one.spread > 0


def test_leaderboard_compares_with_the_baseline_seed_by_seed(evaluation: Evaluation) -> None:
    pretend(evaluation, gains=GAINS)
    rows = by_name(rows_of(evaluation, "random"))
    against = rows["entropy"].against_baseline
    assert against is not None
    assert (against.baseline, against.test.n) == ("random", 2)
    assert against.test.difference == pytest.approx(0.1 + 0.01)
    assert (against.wins, against.losses, against.ties) == (4, 0, 0), "2 pairs x 2 seeds"
    assert against.p_t_holm == against.test.p_t, "one comparison needs no correction"
    assert [rows[name].against_baseline for name in ("random", "none", "all")] == [None] * 3

    reverse = by_name(rows_of(evaluation, "entropy"))["random"].against_baseline
    assert reverse is not None
    assert reverse.test.difference == pytest.approx(-0.11)
    assert (reverse.wins, reverse.losses) == (0, 4)


def test_render_puts_the_comparison_after_the_leaderboard(evaluation: Evaluation) -> None:
    pretend(evaluation, gains=GAINS)
    rows = rows_of(evaluation, "random")
    first, second = render(rows, evaluation.plan.pairs, "random").split("\n\n")
    assert "95 % interval" in first
    assert second.startswith("compared with random")
    (line,) = (own.split() for own in second.splitlines() if own.startswith("entropy"))
    assert line[1] == "+0.110"
    assert "4-0" in line
    assert "none" not in second
    assert "\n\n" not in render(rows_of(evaluation), evaluation.plan.pairs)


def test_as_json_has_every_documented_field(evaluation: Evaluation) -> None:
    pretend(evaluation, gains=GAINS)
    printed = json.dumps([row.as_json() for row in rows_of(evaluation, "random")])
    rows = {row["strategy"]: row for row in json.loads(printed)}
    low, high = rows["entropy"]["interval"]
    assert low < rows["entropy"]["macro_f1"] < high
    assert rows["all"]["interval"] is None
    assert rows["random"]["against_baseline"] is None
    promised = (
        "baseline n difference interval p_t p_t_holm p_wilcoxon p_wilcoxon_holm wins losses ties "
        "variance_paired variance_unpaired pairing_gain seeds_needed seeds_needed_interval "
        "seeds_still_needed"
    )
    assert set(rows["entropy"]["against_baseline"]) == set(promised.split())


@pytest.mark.parametrize(("failed", "baseline"), [("entropy", "random"), ("random", "random")])
def test_leaderboard_compares_no_failed_strategy(
    evaluation: Evaluation, failed: str, baseline: str
) -> None:
    pretend(evaluation, failed=failed)
    rows = rows_of(evaluation, baseline)
    assert all(row.against_baseline is None for row in rows)
    assert by_name(rows)[failed].interval is None
    second = render(rows, evaluation.plan.pairs, baseline).split("\n\n")[1]
    assert second == "not compared with random (failed or unfinished, or random itself is): entropy"


def test_render_with_one_seed_tests_nothing(evaluation: Evaluation) -> None:
    evaluation.plan = replace(evaluation.plan, seeds=1)
    pretend(evaluation)
    rows = rows_of(evaluation, "random")
    first, second = render(rows, evaluation.plan.pairs, "random").split("\n\n")
    assert "95 % interval" not in first
    assert len(second.splitlines()) == 1
    assert "n = 1" in second
    against = by_name(rows)["entropy"].as_json()["against_baseline"]
    assert against["difference"] == pytest.approx(0.1)
    unknown = ("interval", "p_t", "p_t_holm", "p_wilcoxon", "seeds_needed", "variance_paired")
    assert [against[name] for name in unknown] == [None] * len(unknown)


def test_leaderboard_leaves_out_an_unfinished_seed(evaluation: Evaluation) -> None:
    """Seed 1 of entropy's second pair is still to be scored."""
    pretend(evaluation, unscored=("entropy", Pair(9, 2), 1))
    rows = by_name(rows_of(evaluation, "random"))
    entropy = rows["entropy"]
    assert entropy.mean == pytest.approx(0.55), "seed 0 alone"
    assert entropy.interval is None
    assert entropy.n == 1
    assert entropy.by_pair == pytest.approx({"5:1": 0.5, "9:2": 0.6})
    assert "cannot be compared: entropy 0, random 0 1" in render([*rows.values()], []).replace(
        "random 0 1, entropy 0", "entropy 0, random 0 1"
    )
    assert entropy.against_baseline is not None
    assert entropy.against_baseline.test.n == 1
    assert rows["random"].interval is not None


BASELINES = {
    # strategies, asked: baseline
    "random if it is there": (["entropy", "random"], None, "random"),
    "else the first": (["entropy", "badge"], None, "entropy"),
    "as asked": (["entropy", "random"], "entropy", "entropy"),
}


@pytest.mark.parametrize("case", BASELINES)
def test_choose_baseline(case: str) -> None:
    strategies, asked, baseline = BASELINES[case]
    assert choose_baseline(strategies, asked) == baseline


def frames(**scores: Mapping[Run, float]) -> dict[str, DataFrame]:
    rows = table(scores)
    return {name: rows[rows["strategy"] == name] for name in scores}


def test_compare_corrects_p_for_all_strategies_compared() -> None:
    def runs(*scores: float) -> dict[Run, float]:
        return {(seed, seed): score for seed, score in enumerate(scores)}

    compared = compare(
        frames(
            random=runs(0.50, 0.52, 0.51),
            clear=runs(0.60, 0.62, 0.62),
            unclear=runs(0.50, 0.54, 0.55),
            later={(7, 7): 0.9},
        ),
        "random",
    )
    assert list(compared) == ["clear", "unclear"]
    clear, unclear = compared.values()
    assert clear.test.p_t is not None
    assert clear.p_t_holm == pytest.approx(2 * clear.test.p_t)
    assert unclear.p_t_holm == pytest.approx(unclear.test.p_t)
    assert (unclear.wins, unclear.losses, unclear.ties) == (2, 0, 1)
    text = render_comparisons(compared, "random")
    assert "2-0 (1 tied)" in text
    assert "2 comparisons" in text


def test_seed_means_weigh_seeds_equally_whatever_their_trainings() -> None:
    (row,) = leaderboard(table({"entropy": {(0, 0): 0.9, (0, 1): 0.7, (0, 2): 0.8, (1, 1): 0.6}}))
    assert row.mean == pytest.approx(0.7)
    assert row.by_pair == pytest.approx({"5:1": 0.7})
    assert row.n == 4


def test_render_comparisons_names_no_correction_of_a_single_p() -> None:
    runs = {(seed, 0): 0.5 + 0.01 * seed * seed for seed in range(3)}
    better = {run: score + 0.1 + 0.001 * run[0] for run, score in runs.items()}
    compared = compare(frames(random=runs, better=better, late={(0, 0): 0.6}), "random")
    assert "comparisons" not in render_comparisons(compared, "random")


def test_render_of_an_unfinished_evaluation(evaluation: Evaluation) -> None:
    assert "entropy" in render(rows_of(evaluation, "random"), evaluation.plan.pairs, "random")


def test_leaderboard_leaves_out_scores_by_other_code(evaluation: Evaluation) -> None:
    pretend(evaluation)
    for record in evaluation.scores.records:
        record["configuration"] = "older"
    assert all(row.n == 0 for row in rows_of(evaluation))
