"""Drawings as data: URIs, with settings of their own and a look for every strategy."""

import base64
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluator.report.parts import Picture
from evaluator.report.words import printable, shortened

WIDTH = 7.2  # inches of a full-width drawing
PIXELS = 96  # CSS pixels per inch
LONGEST_LABEL = 30  # characters of a name inside a drawing
LONGEST_TITLE = 70  # of an axis
INK, PALE = "#1a1a1a", "#c8c8c8"

SETTINGS: dict[Any, Any] = {  # Matplotlib spells every key out in its type
    "axes.axisbelow": True,
    "axes.edgecolor": "#767676",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",  # comes with Matplotlib: the same drawing everywhere
    "font.size": 9.0,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "hatch.linewidth": 0.8,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "report",  # ids that do not change from run to run
    "text.color": INK,
    "text.parse_math": False,  # names are names, whatever signs they hold
    "xtick.color": "#4d4d4d",
    "ytick.color": "#4d4d4d",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}

# Okabe and Ito (2008), the darker ones first; yellow cannot be read on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (4, 1.5, 1, 1.5)), (0, (7, 2, 1, 2, 1, 2)))
REFERENCE_MARKERS = {"none": "8", "all": "d"}
Dash = str | tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class Look:
    """How a strategy is drawn, the same in every drawing of a page."""

    colour: str
    marker: str
    dash: Dash


def looks(strategies: Sequence[str], references: Sequence[str]) -> dict[str, Look]:
    """A look for each name; no two of the first 385 strategies look alike."""
    own = {
        name: Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
        for i, name in enumerate(strategies)
    }
    return own | {
        name: Look("#5a5a5a", REFERENCE_MARKERS[name], (0, (1, 1.5))) for name in references
    }


def label(text: str, longest: int = LONGEST_LABEL) -> str:
    """A text as it is written inside a drawing: on one line, cut where it is longer."""
    return shortened(" ".join(printable(text).split()), longest)


def drawn(
    draw: Callable[[Axes], None], *, height: float, alt: str, caption: str, width: float = WIDTH
) -> Picture:
    """What `draw` makes of empty axes, as a picture of so many inches."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(
        f"data:image/svg+xml;base64,{encoded}",
        alt,
        caption,
        round(width * PIXELS),
        round(height * PIXELS),
    )


def legend(axes: Axes, columns: int = 3) -> None:
    """Below the drawing, where it hides nothing."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        axes.figure.legend(
            handles, names, loc="outside lower center", ncols=min(columns, len(handles))
        )


def view(values: Sequence[float], ends: Sequence[float]) -> tuple[float, float]:
    """From where to where an axis goes: all values, and of intervals what leaves values apart.

    With two seeds an interval can be twenty times as wide as everything that was measured.
    """
    low, high = min(values), max(values)
    reach = max(high - low, 0.02)
    least = max(min([low, *ends]), low - reach)
    most = min(max([high, *ends]), high + reach)
    margin = 0.06 * max(most - least, 0.02)  # where all are equal, an axis has a width still
    return least - margin, most + margin
