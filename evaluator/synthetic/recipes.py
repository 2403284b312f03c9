"""What a synthetic data set is made of: `Recipe`, checked when it is made, and those of the kit.

The numbers of the kit's recipes are our choice; docs/sheets.md says why.
"""

from dataclasses import dataclass, replace

from shared.errors import ConfigurationError
from shared.images.layout import SPLITS

CLASS_NAMES = (
    "scratch_small",
    "scratch_large",
    "dent_small",
    "dent_large",
    "stray_particle",
    "discoloration",
)
SMALLEST, LARGEST = 64, 380  # side of a sheet in pixels

Range = tuple[float, float]
# What both ends of a range, and what a number, must lie in.
_RANGES: dict[str, Range] = {
    "noise": (0, 80), "blur": (0, 0.02), "poor_noise": (0, 80), "poor_blur": (0, 0.02),
    "orange_peel": (0, 0.3), "lighting": (0, 0.8),
    "light_angle": (-720, 720), "hue": (-1, 2), "saturation": (0, 1), "brightness": (0.05, 1),
}  # fmt: skip
_NUMBERS: dict[str, Range] = {
    **dict.fromkeys(SPLITS, (1, 10_000_000)), "size": (SMALLEST, LARGEST),
    "co_occurrence": (0, 0.95), "overlap": (-0.6, 0.6), "seams": (0, 5), "reflections": (0, 5),
    "dust": (0, 20), "stripes": (0, 5), "rust": (0, 5), "pen_marks": (0, 5), "rivets": (0, 5),
    "drops": (0, 20), "poor": (0, 1), "in_series": (0, 1), "series_length": (1, 1_000),
    "label_missed": (0, 0.5), "label_invented": (0, 0.5),
}  # fmt: skip


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
    seams, reflections, dust, stripes, rust, pen_marks, rivets, drops: mean number of harmless
        look-alikes of each kind per sheet; of rivets, the rows.
    poor: share of photographs from a poor camera, whose noise and blur are drawn from `poor_noise`
        and `poor_blur` instead.
    in_series: share of the pool's photographs that belong to a series: photographs of one sheet
        in slightly other light, exposure and place, with the same true labels.
    series_length: photographs in a series, on average.
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
    stripes: float = 0.0
    rust: float = 0.0
    pen_marks: float = 0.0
    rivets: float = 0.0
    drops: float = 0.0
    poor: float = 0.0
    poor_noise: Range = (20.0, 40.0)
    poor_blur: Range = (0.003, 0.008)
    in_series: float = 0.0
    series_length: float = 6.0
    label_missed: float = 0.0
    label_invented: float = 0.0

    def __post_init__(self) -> None:
        n = len(self.class_names)
        for field, sound, expected in (
            ("name", self.name and "/" not in self.name, "a non-empty text without '/'"),
            (
                "class_names",
                n and self.class_names == CLASS_NAMES[:n],
                f"the first one or more of {', '.join(CLASS_NAMES)}",
            ),
            ("prevalence", len(self.prevalence) == n, f"{n} numbers, one per class"),
            ("prevalence", all(0 <= p <= 1 for p in self.prevalence), "shares from 0 to 1"),
            ("strength", len(self.strength) == n, f"{n} (low, high) pairs, one per class"),
            *(("strength", *_ordered(pair, 0, 2)) for pair in self.strength),
            *((field, *_ordered(getattr(self, field), *ends)) for field, ends in _RANGES.items()),
            *(
                (field, low <= getattr(self, field) <= high, f"a number from {low:,} to {high:,}")
                for field, (low, high) in _NUMBERS.items()
            ),
        ):
            if not sound:
                raise ConfigurationError(
                    "sheets-setting",
                    f"recipe {self.name!r}: {field} is {getattr(self, field)!r}; "
                    f"expected {expected}",
                )

    def count(self, split: str) -> int:
        """Sheets in `split`; raises ConfigurationError for a split that does not exist."""
        if split not in SPLITS:
            raise ConfigurationError(
                "sheets-setting", f"split {split!r}: expected one of {', '.join(SPLITS)}"
            )
        return int(getattr(self, split))


def _ordered(pair: Range, low: float, high: float) -> tuple[bool, str]:
    """Whether a range lies in these bounds, and what was expected."""
    expected = f"(low, high) with {low:,} <= low <= high <= {high:,}"
    return low <= pair[0] <= pair[1] <= high, expected


_ROUND2 = Recipe(
    name="round2",
    training=1_000,
    unlabelled=10_000,
    validation=3_000,
    size=160,
    prevalence=(0.12, 0.07, 0.10, 0.06, 0.08, 0.09),
    co_occurrence=0.2,
    strength=((0.35, 0.85), (0.25, 0.5), (0.4, 0.95), (0.25, 0.65), (0.5, 1.0), (0.45, 0.95)),
    noise=(3.0, 14.0),
    poor=0.15,
    orange_peel=(0.01, 0.06),
    lighting=(0.05, 0.3),
    stripes=0.25,
    rust=0.2,
    pen_marks=0.45,
    rivets=0.2,
    drops=0.4,
    in_series=0.3,
    label_missed=0.02,
    label_invented=0.002,
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="debug",
            training=40,
            unlabelled=40,
            validation=20,
            size=64,
            prevalence=(0.3,) * 6,
            strength=((0.8, 1.0),) * 6,
        ),
        _ROUND2,
        replace(
            _ROUND2,
            name="round2-private",
            prevalence=(0.08, 0.11, 0.07, 0.10, 0.11, 0.06),
            co_occurrence=0.3,
            noise=(5.0, 18.0),
            poor=0.25,
            blur=(0.002, 0.006),
            light_angle=(130.0, 270.0),
            saturation=(0.0, 0.5),
            brightness=(0.45, 0.85),
            dust=2.5,
            rivets=0.4,
            drops=0.8,
        ),
        Recipe(
            name="round1",
            training=5_000,
            unlabelled=10_000,
            validation=3_000,
            size=160,
            class_names=CLASS_NAMES[:4],
            prevalence=(0.25, 0.20, 0.25, 0.20),
            co_occurrence=0.1,
            strength=((0.7, 1.0),) * 4,
            overlap=-0.2,
            noise=(1.0, 5.0),
        ),
        Recipe(
            name="demo",
            training=300,
            unlabelled=2_000,
            validation=1_000,
            size=64,
            prevalence=(0.20, 0.15, 0.18, 0.12, 0.14, 0.12),
            strength=((0.45, 1.0),) * 5 + ((0.6, 1.0),),
            noise=(1.0, 8.0),
        ),
    )
}
