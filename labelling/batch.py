"""What was chosen, as a folder for those who label."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelling.exporting import export
from labelling.folder import write_labelled, write_table
from labelling.formats.registry import ExportWishes
from labelling.pictures import Images, copy_image, say
from labelling.sheet import contact_sheet
from shared.atomic_io import atomic_directory


@dataclass(frozen=True)
class Choice:
    """What was chosen: rows of the pool in the order of choice, and what is predicted of them.

    strategy : what chose.
    expected : row -> one probability per class; empty where the strategy uses no model.
    uses_model : whether the strategy chooses by what a model makes of the images.
    n_read : so many images of the pool were candidates.
    f1 : the learner's F1 per class, cross-validated on what is labelled; empty without a model.
    prevalence : (C,) the share of each class in the images that this was measured on.
    near_chance : whether it went by probabilities that rank hardly better than at random.
    log : what the buyer logged.
    """

    strategy: str
    rows: list[int]
    expected: dict[int, list[float]]
    uses_model: bool
    n_read: int
    f1: list[float]
    prevalence: NDArray[np.float64]
    near_chance: bool
    log: str


def export_batch(
    choice: Choice,
    pool: Images,
    root: Path,
    class_names: Sequence[str],
    out: Path,
    tool: str = "",
) -> None:
    """Write the folder for those who label, whole or not at all.

    Images keep their paths below `root`, the pool's folder. `tool` is the format of another file
    with the same images, if one is wanted.
    """
    files = [pool.files[row] for row in choice.rows]

    def put(number: int, target: Path) -> None:
        copy_image(files[number], target)

    with atomic_directory(out) as folder:
        names = [file.relative_to(root).as_posix() for file in files]
        empty = [""] * len(class_names)
        write_labelled(folder, names, class_names, [empty] * len(names), put)
        write_table(
            folder / "chosen.csv",
            ["rank", "filename", *(f"p {name}" for name in class_names)],
            (
                [rank, name, *(choice.expected[row] or empty)]
                for rank, (row, name) in enumerate(zip(choice.rows, names, strict=True), start=1)
            ),
        )
        title = f"{choice.strategy}: {len(names):,} of {len(pool):,} images in {root}"
        expected = [choice.expected[row] for row in choice.rows]
        page = contact_sheet(title, names, class_names, expected)
        (folder / "chosen.html").write_text(page, encoding="utf-8")
        (folder / "buyer.log").write_text(choice.log, encoding="utf-8")
    if tool:
        say(f"for {tool}: {export(out, tool, out, ExportWishes())}")
