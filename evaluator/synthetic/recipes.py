"""The recipes that come with the kit. Their numbers are our choice; docs/sheets.md says why."""

from dataclasses import replace

from evaluator.synthetic.recipe import CLASS_NAMES, Recipe

_ROUND2 = Recipe(
    name="round2",
    training=1_000,
    unlabelled=10_000,
    validation=3_000,
    size=256,
    prevalence=(0.11, 0.07, 0.09, 0.06, 0.06, 0.08),
    co_occurrence=0.2,
    strength=((0.3, 0.9), (0.3, 0.9), (0.3, 0.9), (0.3, 0.9), (0.35, 0.9), (0.5, 1.0)),
    noise=(3.0, 16.0),
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
            noise=(6.0, 20.0),
            blur=(0.002, 0.006),
            light_angle=(130.0, 270.0),
            saturation=(0.0, 0.5),
            brightness=(0.45, 0.85),
            dust=2.5,
        ),
        Recipe(
            name="round1",
            training=5_000,
            unlabelled=10_000,
            validation=3_000,
            size=256,
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
