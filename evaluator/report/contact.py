"""A contact sheet: bought images with what they show and what the submission expected."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from evaluator.report.parts import Card, Gallery, Part, Text
from evaluator.report.words import counted, listed
from evaluator.worker.outcome import Notes

if TYPE_CHECKING:
    from evaluator.data.dataset import Splits

CARDS = 18
SIDE = 132  # CSS pixels of the longer side of a picture; it holds as many of its own
SHOWN_PROBABILITIES = 3  # the highest, besides those of the classes that are there


def contact_sheet(rows: Sequence[int], splits: "Splits", notes: Notes) -> list[Part]:
    """CARDS of the bought `rows`, evenly over the order of purchase."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(CARDS, len(rows))).astype(int)).tolist()
    cards = tuple(
        _card(rows[place], place, len(rows), splits, notes.get(rows[place], {})) for place in places
    )
    told = any(card.lines for card in cards)
    return [
        Text(
            f"{counted(len(cards), 'image')} of {len(rows):,}, evenly over the order of purchase, "
            "with the true labels"
            + (
                " and the probabilities that the submission's model gave before it bought "
                "(✓: the class is there)."
                if told
                else "."
            )
        ),
        Gallery(cards, SIDE),
    ]


def _card(row: int, place: int, total: int, splits: "Splits", note: dict[str, Any]) -> Card:
    there = [
        name
        for name, label in zip(splits.class_names, splits.unlabelled.labels[row], strict=True)
        if label
    ]
    lines = _lines(splits.class_names, there, note.get("probabilities"))
    round_ = f"round {note['round']}" if note.get("round") else ""
    bought = f"bought in {round_}" if round_ else "bought"
    held = ", ".join(f"{name} {value:.2f}" for name, value, _ in lines)
    return Card(
        thumbnail(splits.unlabelled.images[row]),
        f"Image {row} of the pool, number {place + 1} of {total} {bought}; it shows "
        f"{listed(there) or 'no class'}" + (f"; the model expected {held}" if held else "") + ".",
        f"{place + 1:,}. {round_}".strip(),
        ", ".join(there) or "no class",
        lines,
    )


def _lines(
    class_names: Sequence[str], there: Sequence[str], held: Sequence[float] | None
) -> tuple[tuple[str, float, bool], ...]:
    """The highest probabilities and those of the classes that are there, highest first."""
    if held is None:
        return ()
    ranked = sorted(zip(class_names, held, strict=True), key=lambda line: -line[1])
    return tuple(
        (name, value, name in there)
        for number, (name, value) in enumerate(ranked)
        if number < SHOWN_PROBABILITIES or name in there
    )


def thumbnail(pixels: np.ndarray) -> str:
    """An image (H, W, 3) uint8 as a data: URI, no larger than SIDE; PNG where that is smaller."""
    picture = Image.fromarray(np.asarray(pixels))
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    made = []
    for kind, options in (("jpeg", {"quality": 82}), ("png", {"optimize": True})):
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        made.append((len(buffer.getvalue()), kind, buffer.getvalue()))
    _, kind, content = min(made)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
