"""What a painted-sheet data set is made of: one frozen `Recipe`, checked when it is made."""

import dataclasses
import math
from dataclasses import dataclass

from evaluator.errors import ConfigurationError

CLASS_NAMES = (
    "scratch_small",
    "scratch_large",
    "dent_small",
    "dent_large",
    "stray_particle",
    "discoloration",
)
SPLITS = ("training", "unlabelled", "validation")
SMALLEST, LARGEST = 64, 380  # side of a sheet in pixels

Range = tuple[float, float]


@dataclass(frozen=True)
class Recipe:
    """One kind of data set. The same recipe, seed, split, index and size give the same sheet.

    Ranges are (low, high), drawn uniformly once per sheet (or once per mark, for `strength`).
    Lengths are shares of the sheet's side, so a sheet looks the same at every size.

    name: also part of every random stream, so two recipes share no sheet.
    training, unlabelled, validation: sheets in each split.
    size: default side in pixels, 64 to 380.
    class_names: the first so many of `CLASS_NAMES`, in the challenge's order.
    prevalence: share of sheets with each damage, one per class.
    co_occurrence: 0 draws the damages independently; towards 1 they pile up on the same sheets
        (correlation of the latent normals, so `prevalence` holds whatever this is).
    strength: per class, how strongly a mark shows; 1 is plain to see, 0.3 hard to see.
    overlap: small marks reach this far above the border between small and large, and large marks
        below it, as a share of the border; negative leaves a gap.
    noise: standard deviation of the sensor noise, in grey levels of 255.
    blur: standard deviation of the lens blur, share of the side.
    orange_peel: amplitude of the paint's texture, share of the local brightness.
    lighting: amplitude of the slow change of light over the sheet, share of full brightness.
    light_angle: where the light stands, degrees clockwise from the right (270 is above).
    hue, saturation, brightness: of the paint; hue in turns (0 red, 1/3 green, 2/3 blue).
    seams, reflections, dust: mean number of harmless look-alikes of each kind per sheet.
    label_missed, label_invented: chance that a damage that is there is sold as 0, and one that is
        not as 1. The validation split is always labelled truthfully.
    """

    name: str
    training: int
    unlabelled: int
    validation: int
    size: int = 256
    class_names: tuple[str, ...] = CLASS_NAMES
    prevalence: tuple[float, ...] = (0.12, 0.10, 0.10, 0.08, 0.08, 0.08)
    co_occurrence: float = 0.2
    strength: tuple[Range, ...] = ((0.5, 1.0),) * 6
    overlap: float = 0.1
    noise: Range = (2.0, 8.0)
    blur: Range = (0.001, 0.004)
    orange_peel: Range = (0.01, 0.04)
    lighting: Range = (0.05, 0.2)
    light_angle: Range = (200.0, 340.0)
    hue: Range = (0.0, 1.0)
    saturation: Range = (0.1, 0.8)
    brightness: Range = (0.35, 0.75)
    seams: float = 0.3
    reflections: float = 0.5
    dust: float = 1.5
    label_missed: float = 0.0
    label_invented: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or "/" in self.name:
            self._refuse("name", "a non-empty text without '/'")
        for split in SPLITS:
            self._check_count(split, 1, 10_000_000)
        self._check_count("size", SMALLEST, LARGEST)
        n = len(self.class_names)
        if n == 0 or tuple(self.class_names) != CLASS_NAMES[:n]:
            self._refuse("class_names", f"the first one or more of {', '.join(CLASS_NAMES)}")
        if len(self.prevalence) != n:
            self._refuse("prevalence", f"{n} numbers, one per class")
        if not all(_inside(p, 0.0, 1.0) for p in self.prevalence):
            self._refuse("prevalence", "shares from 0 to 1")
        if len(self.strength) != n:
            self._refuse("strength", f"{n} (low, high) pairs, one per class")
        for pair in self.strength:
            self._check_range("strength", pair, 0.0, 2.0)
        limits = {
            "noise": (0.0, 80.0), "blur": (0.0, 0.02), "orange_peel": (0.0, 0.3),
            "lighting": (0.0, 0.8), "light_angle": (-720.0, 720.0), "hue": (-1.0, 2.0),
            "saturation": (0.0, 1.0), "brightness": (0.05, 1.0),
        }  # fmt: skip
        for field, (low, high) in limits.items():
            self._check_range(field, getattr(self, field), low, high)
        for field, low, high in (
            ("co_occurrence", 0.0, 0.95), ("overlap", -0.6, 0.6), ("seams", 0.0, 5.0),
            ("reflections", 0.0, 5.0), ("dust", 0.0, 20.0), ("label_missed", 0.0, 0.5),
            ("label_invented", 0.0, 0.5),
        ):  # fmt: skip
            if not _inside(getattr(self, field), low, high):
                self._refuse(field, f"a number from {low:g} to {high:g}")

    def count(self, split: str) -> int:
        """Sheets in `split`; raises ConfigurationError for a split that does not exist."""
        if split not in SPLITS:
            raise ConfigurationError(
                "sheets-setting", f"split {split!r}: expected one of {', '.join(SPLITS)}"
            )
        return int(getattr(self, split))

    def replace(self, **changes: object) -> "Recipe":
        """A copy with some fields changed; a field that does not exist is refused by name."""
        known = [field.name for field in dataclasses.fields(self)]
        for field in changes:
            if field not in known:
                raise ConfigurationError(
                    "sheets-setting",
                    f"a recipe has no field {field!r}; its fields are {', '.join(known)}",
                )
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def _check_count(self, field: str, low: int, high: int) -> None:
        value = getattr(self, field)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._refuse(field, f"a whole number from {low} to {high}")

    def _check_range(self, field: str, pair: object, low: float, high: float) -> None:
        if (
            not isinstance(pair, tuple)
            or len(pair) != 2
            or not all(_inside(value, low, high) for value in pair)
            or pair[0] > pair[1]
        ):
            self._refuse(field, f"(low, high) with {low:g} <= low <= high <= {high:g}")

    def _refuse(self, field: str, expected: str) -> None:
        raise ConfigurationError(
            "sheets-setting",
            f"recipe {self.name!r}: {field} is {getattr(self, field)!r}; expected {expected}",
        )


def _inside(value: object, low: float, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and low <= value <= high
