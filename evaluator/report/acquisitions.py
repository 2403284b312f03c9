"""What was bought: class distribution, and a gallery of images of one purchase per strategy."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.analysis.results import Results, TrialResult
from evaluator.report.comparisons import MOST_MARKS
from evaluator.report.components import Card, Details, Gallery, Part, Section, Table, Text
from evaluator.report.figures import POOL_STYLE, Series, Style, groups_figure
from evaluator.worker.outcome import Notes, check_notes
from shared.formatting import format_share, join_and, pluralise

if TYPE_CHECKING:
    from evaluator.data.dataset import Splits

Purchases = Mapping[str, Sequence[TrialResult]]  # by strategy, one or more each
Labels = NDArray[np.integer]  # (pool, C), 0/1

TITLE = "Purchased images"
NO_DATA = (
    "Labels and images of what was bought are shown where the data set is given: "
    "python -m evaluator report OUT --data DIR."
)
NO_CLASS = "no class"
POOL = "the pool"
CARDS = 18
SIDE = 132  # CSS pixels of the longer side of an image; it holds as many of its own
SHOWN_PROBABILITIES = 3  # the highest, besides those of the classes that are there
LARGEST_NOTES = 64 * 2**20  # bytes of a file that is read


def acquisition_section(
    results: Results, splits: Splits | None, folders: Sequence[Path], styles: Mapping[str, Style]
) -> Section:
    """Class distribution over all strategies, then a gallery of each."""
    if splits is None:
        return Section("purchases", TITLE, (Text(NO_DATA),))
    purchases = _purchases(results)
    if not purchases:
        return Section("purchases", TITLE, (Text("Nothing has been bought yet."),))
    parts = [
        *_class_distribution(purchases, splits.unlabelled.labels, splits.class_names, styles),
        *(_gallery(trials[0], splits, folders) for trials in purchases.values()),
    ]
    return Section("purchases", TITLE, tuple(parts))


def read_notes(
    folders: Sequence[Path], trial: str, purchased: Sequence[int], n_classes: int
) -> tuple[Notes, str]:
    """What a submission noted on its purchases, from OUT/notes/TRIAL.json, and a complaint.

    Of the first folder that has such a file. It comes from the submission, so it is checked again,
    as it was before the evaluator wrote it there. The complaint says why there are no notes though
    there is a file.
    """
    if Path(trial).name != trial:
        return {}, f"{trial!r} is not a file name"
    for folder in folders:
        path = folder / "notes" / f"{trial}.json"
        if path.is_file():
            try:
                if path.stat().st_size > LARGEST_NOTES:
                    raise ValueError(f"it is larger than {LARGEST_NOTES // 2**20} MiB")
                notes = check_notes(json.loads(path.read_bytes()), set(purchased), n_classes)
            except (OSError, ValueError, RecursionError) as error:
                return {}, f"{path} was not used: {error}"
            return notes or {}, "" if notes else f"{path} holds no valid note on a bought image"
    return {}, ""


def thumbnail(pixels: np.ndarray) -> str:
    """An image (H, W, 3) uint8 as a data: URI, no larger than SIDE; PNG where that is smaller."""
    image = Image.fromarray(np.asarray(pixels))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    encoded = []
    for kind, options in (("jpeg", {"quality": 82}), ("png", {"optimize": True})):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        encoded.append((len(buffer.getvalue()), kind, buffer.getvalue()))
    _, kind, content = min(encoded)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _purchases(results: Results) -> Purchases:
    """By strategy; only what ended well and bought something."""
    found: dict[str, list[TrialResult]] = {}
    for trial in results.trials:
        ok = trial.purchase is not None and trial.purchase["status"] == "ok"
        if ok and trial.rows and trial.strategy in results.strategies:
            found.setdefault(trial.strategy, []).append(trial)
    return found


def _class_distribution(
    purchases: Purchases, labels: Labels, class_names: Sequence[str], styles: Mapping[str, Style]
) -> list[Part]:
    """Share of the bought images that show each class."""
    groups = (*class_names, NO_CLASS)
    shares = {
        name: np.mean([_class_shares(labels[trial.rows]) for trial in trials], axis=0)
        for name, trials in purchases.items()
    }
    shares[POOL] = _class_shares(labels)
    parts: list[Part] = []
    if len(groups) * len(shares) <= MOST_MARKS:
        series = [
            Series(name, row.tolist(), styles.get(name, POOL_STYLE)) for name, row in shares.items()
        ]
        parts.append(
            groups_figure(
                groups,
                series,
                axis="share of images that show the class",
                alt="Share of bought images that show each class; the table below has the numbers.",
                caption="Mean over pairs and seeds. An image can show several classes; "
                f"“{NO_CLASS}” are those that show none.",
                percent=True,
            )
        )
    lines = [
        (
            name,
            *(format_share(value, digits=1) for value in row),
            f"{row[:-1].sum():.2f}",
            str(len(purchases[name])) if name in purchases else "",
        )
        for name, row in shares.items()
    ]
    headers = ("bought by", *groups, "labels per image", "purchases")
    caption = "Share of bought images that show each class, and positive labels per image."
    return [*parts, Table(caption, headers, lines)]


def _class_shares(labels: Labels) -> NDArray[np.float64]:
    """(N, C) -> (C + 1,): each class's share, then that of images with no class."""
    return np.append(labels.mean(axis=0), (labels.sum(axis=1) == 0).mean())


def _gallery(trial: TrialResult, splits: Splits, folders: Sequence[Path]) -> Details:
    """CARDS images of a purchase, evenly over its order; the first pair and seed there are."""
    rows = trial.rows
    notes, complaint = read_notes(
        folders, (trial.purchase or {})["trial"], rows, len(splits.class_names)
    )
    places = np.unique(np.linspace(0, len(rows) - 1, min(CARDS, len(rows))).astype(int)).tolist()
    cards = [_card(rows[place], place, splits, notes.get(rows[place], {})) for place in places]
    explained = (
        ", and the submission's probabilities before the purchase (✓: the class is there)"
        if any(card.lines for card in cards)
        else ""
    )
    parts: list[Part] = [
        Text(
            f"{pluralise(len(cards), 'image')} of {len(rows):,}, evenly over the order of "
            f"purchase, with the true labels{explained}."
        ),
        Gallery(tuple(cards), SIDE),
    ]
    if complaint:
        parts.insert(0, Text(f"Notes of the submission: {complaint}", "warning"))
    elif not notes:
        parts.append(Text("The submission left no notes on rounds and probabilities.", "small"))
    title = f"{trial.strategy}: images of one purchase ({trial.pair}, seed {trial.seed})"
    return Details(title, tuple(parts))


def _card(row: int, place: int, splits: Splits, note: Mapping[str, Any]) -> Card:
    labels = splits.unlabelled.labels[row]
    present = [name for name, label in zip(splits.class_names, labels, strict=True) if label]
    round_ = f", round {note['round']}" if note.get("round") else ""
    return Card(
        thumbnail(splits.unlabelled.images[row]),
        f"Image {row} of the pool, which shows {join_and(present) or NO_CLASS}.",
        f"no. {place + 1:,}{round_}",
        ", ".join(present) or NO_CLASS,
        _probabilities(splits.class_names, present, note.get("probabilities")),
    )


def _probabilities(
    class_names: Sequence[str], present: Sequence[str], probabilities: Sequence[float] | None
) -> tuple[tuple[str, float, bool], ...]:
    """The highest ones and those of the classes that are there, highest first."""
    if probabilities is None:
        return ()
    ranked = sorted(zip(class_names, probabilities, strict=True), key=lambda line: -line[1])
    return tuple(
        (name, value, name in present)
        for number, (name, value) in enumerate(ranked)
        if number < SHOWN_PROBABILITIES or name in present
    )
