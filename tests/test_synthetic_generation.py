"""A synthetic data set on disk: the challenge's layout, complete or not there at all."""

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluator.synthetic import RECIPES, contact_sheet, generate, generation, render
from shared.errors import ConfigurationError, DatasetError
from shared.images.layout import SPLITS

DEBUG = RECIPES["debug"]
TINY = replace(DEBUG, training=70, unlabelled=3, validation=2)  # 70: more than one chunk


def digest(folder):
    """Every file's name and content in one value."""
    found = hashlib.sha256()
    for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        found.update(str(file.relative_to(folder)).encode())
        found.update(file.read_bytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def debug_set(tmp_path_factory):
    return generate(DEBUG, tmp_path_factory.mktemp("sheets") / "debug", progress=False)


def test_generate_layout_is_the_challenges(debug_set):
    assert sorted(path.name for path in debug_set.iterdir()) == sorted([*SPLITS, "recipe.json"])
    for split in SPLITS:
        with (debug_set / split / "labels.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["filename", *DEBUG.class_names]
        files = [path.name for path in (debug_set / split / "images").iterdir()]
        assert sorted(files) == [row[0] for row in rows]
        assert len(rows) == DEBUG.count(split)
        assert {value for row in rows for value in row[1:]} == {"0", "1"}


def test_generate_files_hold_what_render_draws(debug_set):
    images, labels = render(DEBUG, 0, "unlabelled", range(5))
    with (debug_set / "unlabelled" / "labels.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:6]
    assert [[int(value) for value in row[1:]] for row in rows] == labels.tolist()
    for row, pixels in zip(rows, images, strict=True):
        with Image.open(debug_set / "unlabelled" / "images" / row[0]) as file:
            stored = np.asarray(file)
        assert stored.shape == pixels.shape
        assert np.abs(stored.astype(int) - pixels).mean() < 5  # what JPEG at 95 may change


@pytest.mark.parametrize("workers", [1, 2])
def test_generate_files_do_not_depend_on_workers(tmp_path, workers):
    out = generate(TINY, tmp_path / "set", seed=4, workers=workers, progress=False)
    assert (out / "training" / "images").stat().st_mode & 0o555  # readable like any folder
    expected = generate(TINY, tmp_path / "again", seed=4, workers=1, progress=False)
    assert digest(out) == digest(expected)
    if workers == 1:
        other = generate(TINY, tmp_path / "other", seed=5, workers=1, progress=False)
        assert digest(out) != digest(other)


def test_generate_same_set_again_does_nothing(debug_set):
    before = {path: path.stat().st_mtime_ns for path in debug_set.rglob("*")}
    assert generate(DEBUG, debug_set, progress=False) == debug_set
    assert before == {path: path.stat().st_mtime_ns for path in debug_set.rglob("*")}


def test_generate_accepts_the_same_set_made_meanwhile(tmp_path, monkeypatch):
    def meanwhile(*arguments):
        real(*arguments)
        monkeypatch.undo()
        generate(TINY, tmp_path / "set", workers=1, progress=False)

    real = generation._write_splits
    monkeypatch.setattr(generation, "_write_splits", meanwhile)
    assert generate(TINY, tmp_path / "set", workers=1, progress=False) == tmp_path / "set"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("difference", [{"seed": 1}, {"size": 65}, {"recipe": TINY}])
def test_generate_refuses_another_set_in_the_same_place(debug_set, difference):
    before = digest(debug_set)
    arguments = {"recipe": DEBUG, **difference}
    with pytest.raises(ConfigurationError, match="already holds something else"):
        generate(out=debug_set, progress=False, **arguments)
    assert digest(debug_set) == before


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_generate_leaves_foreign_files_alone(tmp_path, kind):
    target = tmp_path / "mine"
    if kind == "file":
        target.write_text("precious")
    else:
        target.mkdir()
        (target / "notes.txt").write_text("precious")
    before = digest(tmp_path)
    with pytest.raises(ConfigurationError, match="choose another folder"):
        generate(TINY, target, workers=1, progress=False)
    assert digest(tmp_path) == before


def test_generate_into_an_empty_folder(tmp_path):
    (tmp_path / "set").mkdir()
    out = generate(TINY, tmp_path / "set", workers=1, progress=False)
    assert (out / "validation" / "labels.csv").is_file()


def test_generate_interrupted_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def broken(task):
        calls.append(task)
        if task.split == "unlabelled":
            raise OSError("no space left on device")
        return real(task)

    real = generation._write_chunk
    monkeypatch.setattr(generation, "_write_chunk", broken)
    with pytest.raises(DatasetError, match="no space left"):
        generate(TINY, tmp_path / "deep" / "set", workers=1, progress=False)
    assert len(calls) > 1, "some chunks must have been written before it broke"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed -1: expected 0 or more"),
        ({"workers": 0}, "workers 0: expected 1 or more"),
        ({"size": 20}, "from 64 to 380"),
    ],
)
def test_generate_refuses_arguments_before_it_writes(tmp_path, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        generate(TINY, tmp_path / "set", progress=False, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_generate_description(debug_set):
    content = json.loads((debug_set / "recipe.json").read_text())
    assert content["recipe"]["name"] == "debug"
    assert (content["seed"], content["size"]) == (0, 64)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_contact_sheet_has_a_row_per_class_and_one_undamaged(tmp_path, suffix):
    path = contact_sheet(DEBUG, tmp_path / "a" / f"contact{suffix}", scale=2)
    with Image.open(path) as page:
        width, height = page.size
        pixels = np.asarray(page.convert("RGB")).astype(int)
    assert width > 8 * 128
    assert height > 7 * 128
    assert list(path.parent.iterdir()) == [path]
    row = height // 7
    noisy, plain = pixels[40:120, 10:120], pixels[40:120, 142:252]
    assert np.abs(np.diff(noisy, axis=1)).mean() > np.abs(np.diff(plain, axis=1)).mean()
    assert (pixels[:row] != pixels[row : 2 * row]).any()
