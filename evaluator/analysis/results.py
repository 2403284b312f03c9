"""What the journals hold of each trial, and the table that every number is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evaluator.records.journal import Record
from evaluator.records.trial import PHASES, REFERENCES, Pair

if TYPE_CHECKING:  # takes half a second to load, which a submission's time limit must not pay
    from pandas import DataFrame

Training = tuple[str, int]  # pipeline, training seed
METRICS = ("macro_f1", "accuracy", "hamming_loss")
F1 = "f1_"  # before a class's name, the column of its F1
UNFINISHED = "unfinished"

# Every column of the table beside those of F1 per class, in its order.
COLUMNS: dict[str, str] = {
    "dataset": "name of the data set",
    "submission": "name of the submission where several are compared, else empty",
    "code": "digest of the submission's code; empty for the evaluator's own rows",
    "strategy": "name of the row: the strategy (after `SUBMISSION/` where several are compared), "
    "`none` (nothing bought) or `all` (the whole pool)",
    "pair": "budget pair as it is typed, `621:17`; `any` for `none` and `all`",
    "budget": "labels that could be bought; missing for `none` and `all`",
    "minutes": "compute budget in minutes; missing for `none` and `all`",
    "seed": "purchase seed",
    "pipeline": "post-purchase pipeline; missing where no training of that seed is known",
    "training_seed": "seed of the training; missing like `pipeline`",
    "status": "`ok`, what the purchase failed with, `training PIPELINE ...`, or `unfinished`",
    "reason": "why it failed",
    "macro_f1": "macro-F1 on the held-out split, which ranks; metrics are missing unless `ok`",
    "accuracy": "share of held-out images with every class right",
    "hamming_loss": "share of single yes-or-no answers that are wrong",
    "bought": "labels bought",
    "pre_training_seconds": "wall-clock seconds of each phase; missing if it was not reached",
    "purchase_seconds": "pre-training and purchase share the compute budget",
    "prediction_seconds": "outside the compute budget",
    "training_seconds": "of the post-purchase training; missing where an equal purchase's was used",
    "peak_memory": "bytes of the submission's process tree",
    "trial": "the trial's name in the journals",
}


@dataclass(frozen=True)
class TrialResult:
    """One purchase and its scores; None: not in the journals (yet)."""

    strategy: str
    pair: Pair | None  # None: of `none` and `all`, which have no budget
    seed: int
    purchase: Record | None
    scores: Mapping[Training, Record | None]

    @property
    def rows(self) -> list[int]:
        """Rows of the pool that were bought, in the order bought."""
        return list((self.purchase or {}).get("purchased", ()))


@dataclass(frozen=True)
class Results:
    """Trials of one data set; `notices` say what was left out on the way."""

    dataset: str
    trials: tuple[TrialResult, ...]
    notices: tuple[str, ...] = ()

    @property
    def strategies(self) -> tuple[str, ...]:
        """Without the evaluator's own rows, in the order met."""
        names = dict.fromkeys(trial.strategy for trial in self.trials)
        return tuple(name for name in names if name not in REFERENCES)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return tuple(sorted({trial.pair for trial in self.trials if trial.pair}))

    @cached_property
    def table(self) -> DataFrame:
        """One row per score that there is or should be: see COLUMNS."""
        return score_table(self.trials)


def score_table(trials: Iterable[TrialResult]) -> DataFrame:
    """One row per (trial, pipeline, training seed), with the columns COLUMNS and `f1_CLASS`.

    A trial of which no training is known yet has one row without a pipeline.
    """
    from pandas import DataFrame

    rows = [row for trial in trials for row in _rows(trial)]
    classes = dict.fromkeys(name for row in rows for name in row if name.startswith(F1))
    table = DataFrame(rows, columns=[*COLUMNS, *classes])
    table = table.astype({"budget": "Int64", "training_seed": "Int64"})
    return table.astype(dict.fromkeys([*METRICS, *classes, "minutes", "training_seconds"], float))


def _rows(trial: TrialResult) -> Iterator[dict[str, Any]]:
    bought = trial.purchase or {}
    seconds = bought.get("seconds") or {}
    common = {
        "dataset": bought.get("dataset"),
        "submission": bought.get("submission", ""),
        "code": bought.get("code", "") if trial.strategy not in REFERENCES else "",
        "strategy": trial.strategy,
        "pair": str(trial.pair or "any"),
        "budget": trial.pair and trial.pair.budget,
        "minutes": trial.pair and trial.pair.minutes,
        "seed": trial.seed,
        "status": bought.get("status", UNFINISHED),
        "reason": bought.get("reason", ""),
        "bought": len(trial.rows),
        "peak_memory": bought.get("peak_memory", 0),
        "trial": bought.get("trial", ""),
        **{f"{phase}_seconds": seconds.get(phase) for phase in PHASES},
    }
    for (pipeline, training_seed), score in trial.scores.items():
        row = common | {"pipeline": pipeline, "training_seed": training_seed}
        if score and row["status"] == "ok":
            if not score.get("copied_from"):
                row["training_seconds"] = score["seconds"]
            if score["macro_f1"] is None:
                row["status"] = f"training {pipeline} {score['status']}"
                row["reason"] = score.get("reason", "")
            else:
                row |= {metric: score.get(metric) for metric in METRICS}
                row |= {F1 + name: value for name, value in score["f1_per_class"].items()}
        elif row["status"] == "ok":
            row["status"] = UNFINISHED
        yield row
    if not trial.scores:
        status = common["status"]
        yield common | {"status": UNFINISHED if status == "ok" else status}


def pipelines_of(table: DataFrame) -> tuple[str, ...]:
    """In the order met."""
    return tuple(table["pipeline"].dropna().unique())


def class_columns(table: DataFrame) -> list[str]:
    """The columns with the F1 of each class."""
    return [str(column) for column in table if str(column).startswith(F1)]


def mean_over_pipelines(table: DataFrame, name: str) -> DataFrame:
    """The table as if every purchase had been scored once, by all pipelines together.

    Of each pipeline the mean over its trainings, then the mean over pipelines: the challenge's
    final score. Missing where one pipeline's is.
    """
    trial = ["strategy", "pair", "seed"]
    metrics = [*METRICS, *class_columns(table)]
    names = pipelines_of(table)
    rows = table.drop_duplicates(trial).set_index(trial)
    per_pipeline = table.groupby([*trial, "pipeline"], sort=False)[metrics].mean(skipna=False)
    by_trial = per_pipeline.groupby(trial, sort=False)
    means = by_trial.mean(skipna=False)[(by_trial.size() == len(names)).to_numpy()]
    rows[metrics] = means.reindex(rows.index)
    rows["status"] = table.groupby(trial, sort=False)["status"].agg(_worst)
    rows.loc[(rows["status"] == "ok") & rows["macro_f1"].isna(), "status"] = UNFINISHED
    rows["training_seconds"] = table.groupby(trial, sort=False)["training_seconds"].sum()
    rows = rows.reset_index().assign(pipeline=name)
    return rows.assign(training_seed=rows["seed"].astype("Int64"))[table.columns]


def _worst(statuses: Iterable[str]) -> str:
    """The first failure, else unfinished where one is, else ok."""
    found = list(dict.fromkeys(statuses))
    failed = [status for status in found if status not in ("ok", UNFINISHED)]
    return (failed or ([UNFINISHED] if UNFINISHED in found else found))[0]
