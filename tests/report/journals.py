"""Journals as the evaluator writes them, small and made up, for tests of the page made of them."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evaluator.records.trial import PurchaseRecord, ScoreRecord

CLASSES = ("dark", "bright", "striped")
HOSTILE = "<script>alert('x')</script>\" onload=\"y\x1b[31m\ud800\u202e"
Pairs = Sequence[tuple[int, float]]
TWO = {"random": (0.4,), "entropy": (0.5,)}


def write_journals(
    out: Path,
    scores: dict[str, Sequence[float]],
    *,
    pairs: Pairs = ((5, 1.0),),
    seeds: Sequence[int] = (0, 1, 2),
    pipelines: Sequence[str] = ("quick",),
    failed: Sequence[str] = (),
    reason: str = "killed at 60 s",
    dataset: str = "squares",
    classes: Sequence[str] = CLASSES,
    score: Callable[[float, int, int], float] = lambda base, pipeline, seed: base + 0.01 * seed,
    **extra: Any,
) -> Path:
    """Journals as the evaluator writes them: `scores` holds a base score per strategy and pair."""
    out.mkdir(parents=True, exist_ok=True)
    bought, made = [], []
    for strategy, bases in scores.items():
        for (budget, minutes), base in zip(pairs, bases, strict=True):
            for seed in seeds:
                trial = f"{re.sub(r'[^a-z0-9]', '_', strategy)}-{budget}x{minutes:g}-seed{seed}"
                bad = strategy in failed and seed == seeds[-1]
                bought.append(
                    PurchaseRecord(
                        trial, dataset, strategy, budget, minutes, seed,
                        "timeout" if bad else "ok", reason if bad else "",
                        purchased=[(7 * i + seed) % 40 for i in range(budget)],
                        seconds={"pre_training": 6.0, "purchase": 24.0 * minutes, "prediction": 1},
                        own_macro_f1=None, peak_memory=3 * 2**29, **extra,
                    )
                )  # fmt: skip
                for number, pipeline in enumerate(pipelines):
                    value = score(base, number, seed)
                    f1 = {name: value + 0.1 * (c - 1) for c, name in enumerate(classes)}
                    if not bad:
                        made.append(
                            ScoreRecord(
                                trial, pipeline, seed, "ok", value, 0.5, 0.1, f1, 24, budget, 9.0
                            )
                        )
    for name, records in (("purchases.jsonl", bought), ("scores.jsonl", made)):
        with (out / name).open("w") as file:
            file.writelines(json.dumps(record.as_json()) + "\n" for record in records)
    return out


def write_notes(out: Path, content: object) -> None:
    """For the first trial of `entropy`."""
    path = out / "notes" / "entropy-5x1-seed0.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def train_twice(out: Path) -> None:
    """A second training of every purchase, alternately better and worse."""
    path = out / "scores.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for i, record in enumerate(records):
        macro_f1 = record["macro_f1"] + (0.01, -0.01)[i % 2]
        again = {**record, "training_seed": record["training_seed"] + 100, "macro_f1": macro_f1}
        with path.open("a") as file:
            file.write(json.dumps(again) + "\n")


CASES: dict[str, dict[str, Any]] = {
    "one seed": {"scores": TWO, "seeds": (0,)},
    "several pipelines": {"scores": TWO, "pipelines": ("quick", "organiser")},
    "several budgets": {
        "scores": {"random": (0.4, 0.5, 0.6), "entropy": (0.5, 0.6, 0.8)},
        "pairs": ((5, 1.0), (5, 2.0), (9, 1.0)),
    },
    "a failed strategy": {"scores": TWO, "failed": ("entropy",)},
    "everything failed": {"scores": TWO, "failed": ("entropy", "random"), "seeds": (0,)},
    "one strategy": {"scores": {"random": (0.4,)}},
    "only references": {"scores": {"none": (0.4,)}},
    "golden": {
        "scores": {
            "none": (0.2, 0.2),
            "random": (0.41, 0.51),
            "entropy": (0.5, 0.6),
            "badge": (0.61, 0.71),
            "winner": (0.3, 0.4),
            "all": (0.8, 0.8),
        },
        "pairs": ((5, 1.0), (9, 2.0)),
        "pipelines": ("quick", "organiser"),
        "failed": ("winner",),
        "score": lambda base, pipeline, seed: (
            base + 0.02 * pipeline + 0.01 * seed + 0.2 * (base in (0.5, 0.6) and seed == 1)
        ),
        "warnings": ("purchase_phase returned no dict",),
        "versions": {"torch": "2.10.0"},
    },
    "references too": {"scores": {"none": (0.2,), **TWO, "all": (0.8,)}},
    "hostile names": {
        "scores": {"random": (0.4,), f"entropy:{HOSTILE}$x_1^$": (0.5,)},
        "failed": (f"entropy:{HOSTILE}$x_1^$",),
        "reason": HOSTILE,
        "dataset": HOSTILE,
        "classes": ("a", HOSTILE, "c"),
        "pipelines": (HOSTILE, "quick"),
        "warnings": (HOSTILE,),
        "revision": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
    },
}
