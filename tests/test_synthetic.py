"""Synthetic images: the same sheet whoever draws it, and labels that say what is on it."""

import math
from dataclasses import replace

import numpy as np
import pytest

from evaluator.synthetic import (
    CLASS_NAMES,
    RECIPES,
    Recipe,
    draw_sheet,
    render,
    true_labels,
)
from evaluator.synthetic.defects import size_range
from evaluator.synthetic.render import sold_labels
from shared.errors import ConfigurationError
from shared.images.layout import SPLITS

DEMO, ROUND2 = RECIPES["demo"], RECIPES["round2"]


# --- determinism ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64, 97, 256])
@pytest.mark.parametrize("chunks", [[range(6)], [[0], [1, 2], [3, 4, 5]], [[5, 3], [4, 0, 2, 1]]])
def test_render_does_not_depend_on_the_batch(size, chunks):
    images, labels = render(ROUND2, 3, "training", range(6), size)
    for chunk in chunks:
        again, same = render(ROUND2, 3, "training", list(chunk), size)
        np.testing.assert_array_equal(again, images[list(chunk)])
        np.testing.assert_array_equal(same, labels[list(chunk)])


def test_render_leaves_the_global_random_state_alone():
    np.random.seed(1)  # noqa: NPY002 - the state that must be left alone
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, _ = render(DEMO, 0, "training", range(2))
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(first, render(DEMO, 0, "training", range(2))[0])


def test_render_splits_seeds_indices_and_recipes_share_no_sheet():
    sheets = [
        render(recipe, seed, split, [0, 1], 64)[0]
        for recipe in RECIPES.values()
        for seed in (0, 1)
        for split in SPLITS
    ]
    flat = np.concatenate(sheets).reshape(-1, 64 * 64 * 3)
    assert len(np.unique(flat, axis=0)) == len(flat)


def test_true_labels_of_two_splits_are_independent():
    first = true_labels(DEMO, 0, "training", range(300))
    second = true_labels(DEMO, 0, "unlabelled", range(300))
    assert (first != second).any(axis=1).mean() > 0.3


# --- size ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_draw_sheet_looks_the_same_at_64_and_256_pixels(name):
    defects = [int(name == other) for other in CLASS_NAMES]
    agreement = []
    for index in range(8):
        large = draw_sheet(DEMO, 0, "training", index, 256, defects, noisy=False)
        small = draw_sheet(DEMO, 0, "training", index, 64, defects, noisy=False)
        shrunk = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
        agreement.append(np.corrcoef(shrunk.ravel(), small.ravel())[0, 1])
    assert np.median(agreement) > 0.95
    # The correlation above would be high for two plain sheets of one colour: the change that the
    # defect makes must be in the same place as well.
    assert defect_overlap(name, index=1) > 0.5


def defect_overlap(name, index):
    """Share of the defect's change at 64 px that lies where it lies at 256 px."""
    defects = [int(name == other) for other in CLASS_NAMES]
    change = {}
    for size in (64, 256):
        pair = [
            draw_sheet(DEMO, 0, "training", index, size, which, noisy=False).astype(float)
            for which in (defects, [0] * 6)
        ]
        change[size] = np.abs(pair[0] - pair[1]).sum(2)
    coarse = change[256].reshape(64, 4, 64, 4).mean((1, 3))
    return change[64][coarse > 1].sum() / change[64].sum()


@pytest.mark.parametrize("size", [63, 381, 0, -1])
def test_render_refuses_size(size):
    with pytest.raises(ConfigurationError, match="from 64 to 380"):
        render(DEMO, 0, "training", [0], size)


@pytest.mark.parametrize(
    ("split", "indices", "message"),
    [
        ("test", [0], "split 'test'"),
        ("training", [300], r"sheet 300 of demo/training: expected 0 to 299"),
        ("training", [-1], "sheet -1"),
    ],
)
def test_render_refuses_split_and_index(split, indices, message):
    with pytest.raises(ConfigurationError, match=message):
        render(DEMO, 0, split, indices)


@pytest.mark.parametrize("size", [64, 100, 380])
def test_render_shapes(size):
    images, labels = render(RECIPES["round1"], 0, "validation", [0, 2], size)
    assert images.shape == (2, size, size, 3)
    assert images.dtype == labels.dtype == np.uint8
    assert labels.shape == (2, 4)


def test_render_no_indices():
    images, labels = render(DEMO, 0, "training", [])
    assert images.shape == (0, 64, 64, 3)
    assert labels.shape == (0, 6)


# --- what is drawn -------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["demo", "round2", "round2-private"])
@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("name", CLASS_NAMES)
def test_draw_sheet_shows_every_defect(name, size, recipe):
    position = CLASS_NAMES.index(name)
    for index in range(12):
        defects = np.zeros(6, np.uint8)
        bare = draw_sheet(RECIPES[recipe], 0, "training", index, size, defects, noisy=False)
        defects[position] = 1
        hurt = draw_sheet(RECIPES[recipe], 0, "training", index, size, defects, noisy=False)
        change = np.abs(hurt.astype(int) - bare).max(2)
        assert change.max() >= 12, f"sheet {index}: at most {change.max()} grey levels"
        assert (change >= 6).sum() >= 4, f"sheet {index}: too few pixels"
        assert (change == 0).mean() > 0.2, f"sheet {index}: the defect is not local"


def test_render_draws_what_the_label_says():
    images, labels = render(DEMO, 5, "validation", range(40))
    for index in range(40):
        again = draw_sheet(DEMO, 5, "validation", index, 64, labels[index])
        np.testing.assert_array_equal(images[index], again)
    other = draw_sheet(DEMO, 5, "validation", 0, 64, 1 - labels[0])
    assert (other != images[0]).any()


def test_draw_sheet_defect_leaves_the_rest_alone():
    only = draw_sheet(DEMO, 0, "training", 4, 128, [0, 0, 1, 0, 0, 0], noisy=False).astype(int)
    bare = draw_sheet(DEMO, 0, "training", 4, 128, [0] * 6, noisy=False)
    both = draw_sheet(DEMO, 0, "training", 4, 128, [0, 0, 1, 0, 1, 0], noisy=False)
    grain = draw_sheet(DEMO, 0, "training", 4, 128, [0, 0, 0, 0, 1, 0], noisy=False)
    no_grain = np.abs(grain.astype(int) - bare).max(2) == 0
    np.testing.assert_array_equal(both[no_grain], only[no_grain])


def test_draw_sheet_dent_is_dark_towards_the_light():
    recipe = replace(DEMO, light_angle=(270.0, 270.0), strength=((1.0, 1.0),) * 6)
    defects = [int(name == "dent_large") for name in CLASS_NAMES]
    for index in range(6):
        pair = [
            draw_sheet(recipe, 0, "training", index, 128, which, noisy=False).astype(float)
            for which in (defects, [0] * 6)
        ]
        change = (pair[0] - pair[1]).sum(2)
        rows = np.arange(128)[:, None]
        dark = (rows * np.maximum(-change, 0)).sum() / np.maximum(-change, 0).sum()
        bright = (rows * np.maximum(change, 0)).sum() / np.maximum(change, 0).sum()
        assert dark < bright, f"sheet {index}: light from above must darken the upper side"


@pytest.mark.parametrize("kind", ["scratch", "dent"])
@pytest.mark.parametrize(("overlap", "meet"), [(0.1, True), (0.0, True), (-0.2, False)])
def test_size_range_overlap(kind, overlap, meet):
    recipe = replace(DEMO, overlap=overlap)
    small, large = size_range(recipe, f"{kind}_small"), size_range(recipe, f"{kind}_large")
    assert small[0] < small[1] < large[1]
    assert small[0] < large[0]
    assert (large[0] <= small[1]) is meet
    if overlap > 0:  # a little: most of each range is the class's own
        assert small[1] - large[0] < 0.4 * (small[1] - small[0])


def test_draw_sheet_noise_is_as_strong_as_the_recipe_says():
    recipe = replace(DEMO, noise=(5.0, 5.0), blur=(0.0, 0.0), brightness=(0.5, 0.6))
    noisy, bare = (
        draw_sheet(recipe, 0, "training", 0, 128, [0] * 6, noisy=noisy).astype(float)
        for noisy in (True, False)
    )
    # Channels near 0 are clipped, which takes noise away: compare where nothing can clip.
    free = (bare > 25) & (bare < 230)
    assert (noisy - bare)[free].std() == pytest.approx(5.0, rel=0.05)


# --- labels --------------------------------------------------------------------------------


def binomial(n, p, z=4.5):
    """The bounds that a share of n draws stays in, but for one time in 100,000."""
    return pytest.approx(p, abs=z * math.sqrt(p * (1 - p) / n) + 1e-9)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_true_labels_prevalence(name):
    recipe = replace(RECIPES[name], unlabelled=6_000)
    labels = true_labels(recipe, 0, "unlabelled", range(6_000))
    for share, expected in zip(labels.mean(0), recipe.prevalence, strict=True):
        assert share == binomial(6_000, expected)
    assert (labels.sum(1) == 0).any(), "undefectd sheets must exist"


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.9])
def test_true_labels_co_occurrence_leaves_prevalence_alone(strength):
    recipe = replace(ROUND2, co_occurrence=strength, prevalence=(0.2,) * 6)
    labels = true_labels(recipe, 0, "unlabelled", range(4_000))
    for share in labels.mean(0):
        assert share == binomial(4_000, 0.2)
    undefectd = (labels.sum(1) == 0).mean()
    independent = 0.8**6
    if strength == 0:
        assert undefectd == binomial(4_000, independent)
    else:
        assert undefectd > independent + 0.05


@pytest.mark.parametrize(("missed", "invented"), [(0.3, 0.0), (0.0, 0.1), (0.2, 0.05)])
def test_sold_labels_are_wrong_as_often_as_the_recipe_says(missed, invented):
    recipe = replace(ROUND2, label_missed=missed, label_invented=invented, prevalence=(0.4,) * 6)
    truth = true_labels(recipe, 0, "unlabelled", range(3_000))
    sold = sold_labels(recipe, 0, "unlabelled", range(3_000))
    there = truth == 1
    assert (sold[there] == 0).mean() == binomial(there.sum(), missed)
    assert (sold[~there] == 1).mean() == binomial((~there).sum(), invented)


def test_render_sells_the_noisy_label_and_draws_the_true_one():
    recipe = replace(ROUND2, label_missed=0.5, prevalence=(0.9,) * 6)
    images, sold = render(recipe, 0, "training", range(10), 64)
    truth = true_labels(recipe, 0, "training", range(10))
    assert (sold != truth).any()
    np.testing.assert_array_equal(images[3], draw_sheet(recipe, 0, "training", 3, 64, truth[3]))


def test_sold_labels_of_validation_are_true():
    recipe = replace(ROUND2, label_missed=0.5, label_invented=0.5)
    np.testing.assert_array_equal(
        sold_labels(recipe, 0, "validation", range(200)),
        true_labels(recipe, 0, "validation", range(200)),
    )


# --- recipes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "splits", "classes"),
    [
        ("round1", (5_000, 10_000, 3_000), 4),
        ("round2", (1_000, 10_000, 3_000), 6),
        ("round2-private", (1_000, 10_000, 3_000), 6),
        ("demo", (300, 2_000, 1_000), 6),
    ],
)
def test_recipes_sizes_and_classes(name, splits, classes):
    recipe = RECIPES[name]
    assert (recipe.training, recipe.unlabelled, recipe.validation) == splits
    assert recipe.class_names == CLASS_NAMES[:classes]


def test_recipe_debug_shows_every_class_in_every_split():
    debug = RECIPES["debug"]
    assert sum(debug.count(split) for split in SPLITS) == 100
    for split in SPLITS:
        assert true_labels(debug, 0, split, range(debug.count(split))).any(0).all()


def test_recipe_private_is_the_same_task_under_another_distribution():
    private = RECIPES["round2-private"]
    assert private.class_names == ROUND2.class_names
    assert private.prevalence != ROUND2.prevalence
    assert (private.light_angle, private.noise) != (ROUND2.light_angle, ROUND2.noise)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", "", "non-empty"),
        ("name", "a/b", "without '/'"),
        ("training", 0, "from 1 to 10,000,000"),
        ("size", 32, "from 64 to 380"),
        ("class_names", ("dent_small",), "the first one or more of scratch_small"),
        ("class_names", (), "the first one or more"),
        ("prevalence", (0.1,) * 5, "6 numbers, one per class"),
        ("prevalence", (0.1,) * 5 + (1.2,), "shares from 0 to 1"),
        ("prevalence", (float("nan"),) * 6, "shares from 0 to 1"),
        ("strength", ((0.5, 1.0),) * 5, "6 .low, high. pairs"),
        ("strength", ((1.0, 0.5),) * 6, "low <= high"),
        ("noise", (5.0, 2.0), "0 <= low <= high <= 80"),
        ("blur", (0.0, 0.5), "high <= 0.02"),
        ("hue", (float("nan"), 1.0), "low <= high"),
        ("co_occurrence", 1.0, "from 0 to 0.95"),
        ("overlap", 0.9, "from -0.6 to 0.6"),
        ("label_missed", -0.1, "from 0 to 0.5"),
        ("dust", float("inf"), "from 0 to 20"),
    ],
)
def test_recipe_refuses_field(field, value, expected):
    with pytest.raises(ConfigurationError, match=expected) as caught:
        replace(DEMO, **{field: value})
    assert field in str(caught.value)


def test_recipe_is_frozen():
    with pytest.raises(AttributeError):
        DEMO.size = 128
    assert isinstance(DEMO, Recipe)
