"""Tables of results from a few numbers."""

import math
from collections.abc import Mapping

from pandas import DataFrame

from evaluator.analysis.results import Training, TrialResult, score_table
from evaluator.records.journal import Record
from evaluator.records.trial import Pair

Run = tuple[int, int]  # purchase seed, training seed
SECONDS = {"pre_training": 100.0, "purchase": 200.0}


def trial(strategy: str, seed: int, scores: Mapping[Training, float]) -> TrialResult:
    """A purchase that went well; NaN: not scored yet."""
    purchase = {"trial": f"{strategy}-{seed}", "status": "ok", "seconds": SECONDS}
    records = {training: record(score) for training, score in scores.items()}
    return TrialResult(strategy, Pair(5, 1), seed, purchase, records)


def record(score: float) -> Record | None:
    if math.isnan(score):
        return None
    return {"macro_f1": score, "status": "ok", "seconds": 50.0, "f1_per_class": {}}


def failed(strategy: str, seed: int, pipeline: str) -> TrialResult:
    """A purchase that went well, and a training of it that did not."""
    record = {"macro_f1": None, "status": "crashed", "seconds": 1.0, "f1_per_class": {}}
    purchase = {"trial": f"{strategy}-{seed}", "status": "ok", "seconds": SECONDS}
    return TrialResult(strategy, Pair(5, 1), seed, purchase, {(pipeline, seed): record})


def table(scores: Mapping[str, Mapping[Run, float]], pipeline: str = "quick") -> DataFrame:
    """Of strategies under one pipeline and one pair."""
    trials = []
    for strategy, runs in scores.items():
        for seed in dict.fromkeys(seed for seed, _ in runs):
            own = {(pipeline, t): score for (s, t), score in runs.items() if s == seed}
            trials.append(trial(strategy, seed, own))
    return score_table(trials)
