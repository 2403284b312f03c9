"""Results folders read and joined: the newest evaluation of each, where they compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluator.analysis.results import Results, Training, TrialResult
from evaluator.analysis.results_folder import ResultsFolder
from evaluator.records.journal import Record
from evaluator.records.trial import REFERENCES, REMOVED_REFERENCE, Pair
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from pandas import DataFrame

Key = tuple[str, Pair | None, int]  # strategy, pair, seed


def load_results(
    folders: str | Path | Sequence[str | Path], pairs: Sequence[str] = ()
) -> DataFrame:
    """The scores in one or several results folders as a table, one row per score.

    >>> scores = load_results("results/demo")
    >>> scores.groupby("strategy").macro_f1.mean()

    Rows are those of the newest code and settings, as `read_results` reads and joins them; failed
    and unfinished ones have no metrics and a `status` that says so. Columns are `COLUMNS` of
    `evaluator.analysis.results`, and `f1_CLASS` with the F1 of each class. Seconds are wall-clock,
    indices and bytes whole numbers. Raises ConfigurationError like `read_results`.
    """
    paths = [folders] if isinstance(folders, str | Path) else folders
    return read_results([Path(path) for path in paths], pairs).table


def read_results(folders: Sequence[Path], pairs: Sequence[str] = ()) -> Results:
    """Join the journals of evaluations of the same thing on several machines.

    Of each folder, what the newest data, code, conditions and configuration did counts. A
    trial that two folders hold is taken from the first, and scores of it from the other only if it
    ended there alike and bought the same. A trial of the common grid that no folder holds is there
    as unfinished. `pairs`, as `621:17`, leave out the others. Raises ConfigurationError where the
    folders hold several data sets, evaluation conditions, codes of one strategy or
    configurations of one pipeline, and for pairs that nothing was bought under.
    """
    held = [ResultsFolder(folder) for folder in folders]
    purchases: dict[str, Record] = {}
    scores: dict[tuple[str, Training], Record] = {}
    notices: list[str] = []
    for folder in held:
        conflicting = {
            name
            for name, purchase in folder.purchases.items()
            if _outcome(purchases.setdefault(name, purchase)) != _outcome(purchase)
        }
        for (trial, training), score in folder.scores.items():
            if trial not in conflicting:
                scores.setdefault((trial, training), score)
        if conflicting:
            notices.append(
                f"{folder.path}: {len(conflicting)} trials were left out: an earlier folder holds "
                "the same trials with other purchases or another status."
            )
        if folder.removed:
            notices.append(
                f"{folder.path}: {folder.removed} purchases of the reference row "
                f"{REMOVED_REFERENCE}, which was removed, were left out."
            )
        if folder.outdated:
            notices.append(
                f"{folder.path}: {folder.outdated} records by other code, settings or threads, or "
                "of other data, were left out."
            )
    _check_compatible(held)
    if pairs:
        purchases, scores = _filter_pairs(pairs, purchases, scores)
    notices += dict.fromkeys(folder.bound for folder in held if folder.bound)
    notices += machine_notices(purchases.values())
    notices += _uneven_pairs(purchases.values())
    return Results(
        next(iter(purchases.values()))["dataset"], _grid(purchases, scores), tuple(notices)
    )


def _outcome(record: Record) -> tuple[object, object]:
    return record["status"], record["purchased"]


def machine_notices(purchases: Iterable[Record]) -> list[str]:
    """A notice where one strategy had another machine than another, and so another minute."""
    devices = _differing_groups(
        purchases, lambda one: one["strategy"], lambda one: str(one.get("device") or "unknown")
    )
    if not devices:
        return []
    listed = "; ".join(f"{name} on {' and '.join(known)}" for name, known in devices.items())
    return [
        f"Purchases were made on different machines: {listed}. A faster machine does more in a "
        "minute, so a difference between strategies may be one between machines."
    ]


def _uneven_pairs(purchases: Iterable[Record]) -> list[str]:
    """A notice where a pair has fewer seeds than another, and keeps them from being counted."""
    seeds = _differing_groups(
        purchases, lambda one: str(_key(one)[1]), lambda one: str(one["seed"])
    )
    if not seeds:
        return []
    listed = ", ".join(f"{pair} {len(own)}" for pair, own in seeds.items())
    return [
        f"Not every pair has the same seeds (seeds per pair: {listed}); only seeds that are "
        "complete in all pairs count. `python -m evaluator report OUT --pairs ...` reports single "
        "pairs."
    ]


def _differing_groups(
    purchases: Iterable[Record], group: Callable[[Record], str], value: Callable[[Record], str]
) -> dict[str, dict[str, None]]:
    """The values of each group of the strategies' purchases; empty where all groups have the same.

    Groups and values in the order met.
    """
    found: dict[str, dict[str, None]] = {}
    for purchase in purchases:
        if purchase["strategy"] not in REFERENCES:
            found.setdefault(group(purchase), {})[value(purchase)] = None
    return found if len({frozenset(values) for values in found.values()}) > 1 else {}


def _filter_pairs(
    pairs: Sequence[str],
    purchases: Mapping[str, Record],
    scores: Mapping[tuple[str, Training], Record],
) -> tuple[dict[str, Record], dict[tuple[str, Training], Record]]:
    """What was bought under some pairs, or under none, and the scores of that."""
    pair_of = {name: _key(purchase)[1] for name, purchase in purchases.items()}
    there = {str(pair) for pair in pair_of.values() if pair}
    if unknown := [pair for pair in pairs if pair not in there]:
        raise ConfigurationError(
            "bad-budget",
            f"--pairs {' '.join(unknown)}: nothing was bought under that. There is "
            f"{', '.join(sorted(there)) or 'no pair'}.",
        )
    kept = {
        name: purchase
        for name, purchase in purchases.items()
        if pair_of[name] is None or str(pair_of[name]) in pairs
    }
    return kept, {key: score for key, score in scores.items() if key[0] in kept}


def _check_compatible(folders: Sequence[ResultsFolder]) -> None:
    """Raise ConfigurationError where numbers would stand side by side that do not compare."""
    _require_single("data sets", folders, [{folder.data} for folder in folders])
    _require_single("evaluation conditions", folders, [folder.conditions for folder in folders])
    for what, by_name in (
        ("codes of the strategy", [folder.newest_code for folder in folders]),
        ("configurations of the pipeline", [folder.configurations for folder in folders]),
    ):
        for name in dict.fromkeys(name for one in by_name for name in one):
            found = [{one[name]} if name in one else set[str]() for one in by_name]
            _require_single(f"{what} {name!r}", folders, found)


def _require_single(
    what: str, folders: Sequence[ResultsFolder], found: Sequence[Iterable[object]]
) -> None:
    """`found` holds what each folder says; all of it must be one thing."""
    where: dict[object, Path] = {}
    for folder, things in zip(folders, found, strict=True):
        for thing in things:
            where.setdefault(thing, folder.path)
    if len(where) > 1:
        listed = "; ".join(f"{_named(thing)} in {path}" for thing, path in where.items())
        raise ConfigurationError(
            "mixed-results",
            f"The folders hold several {what}: {listed}. Their numbers do not compare; report "
            "them one by one, or evaluate again with the same code, settings and data.",
        )


def _named(thing: object) -> str:
    return " ".join(map(str, thing)) if isinstance(thing, tuple) else str(thing) or "(none)"


def _grid(
    purchases: Mapping[str, Record], scores: Mapping[tuple[str, Training], Record]
) -> tuple[TrialResult, ...]:
    """Every trial there is, and the missing ones of strategies x pairs x seeds as unfinished."""
    by_key = {_key(purchase): purchase for purchase in purchases.values()}
    trainings: dict[int, dict[Training, None]] = {}
    for trial, training in scores:
        trainings.setdefault(purchases[trial]["seed"], {})[training] = None
    strategies = dict.fromkeys(strategy for strategy, _, _ in by_key)
    bought = [key for key in by_key if key[0] not in REFERENCES]
    pairs = dict.fromkeys(pair for _, pair, _ in bought)
    seeds = sorted({seed for _, _, seed in bought})
    keys: list[Key] = []
    for strategy in strategies:
        own = [key for key in by_key if key[0] == strategy]
        if strategy in REFERENCES:
            keys += own
        else:
            keys += [(strategy, pair, seed) for seed in seeds for pair in pairs]
    results = []
    for strategy, pair, seed in keys:
        purchase = by_key.get((strategy, pair, seed))
        trial = purchase["trial"] if purchase else ""
        found = {one: scores.get((trial, one)) for one in trainings.get(seed, {})}
        results.append(TrialResult(strategy, pair, seed, purchase, found))
    return tuple(results)


def _key(record: Record) -> Key:
    pair = None if record["budget"] is None else Pair(record["budget"], record["minutes"])
    return record["strategy"], pair, record["seed"]
