"""What was bought is shown as it was, and the submission's notes only where they make sense."""

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluator.datasets.dataset import Splits
from evaluator.report.notes import parse_notes, read_notes
from evaluator.report.words import listed
from tests.report.journals import CLASSES, TWO, write_journals, write_notes
from tests.report.pages import report


def test_without_the_data_set_it_says_how_to_see_what_was_bought(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, TWO))
    assert "--data DIR" in page.text
    assert not [image for image in page.all("img") if "of the pool" in image["alt"]]


def test_what_was_bought_against_pool_and_random(tmp_path: Path, splits: Splits) -> None:
    page = report(write_journals(tmp_path, TWO), splits=splits)
    rows = page.table("Share of images that show each class")
    labels = splits.unlabelled.labels
    assert rows["the pool"]["bright"] == f"{labels[:, 1].mean():.1%}"
    bought = [[(7 * i + seed) % 40 for i in range(5)] for seed in range(3)]
    share = np.mean([labels[one, 1].mean() for one in bought])
    assert rows["entropy"]["bright"] == f"{share:.1%}"
    assert rows["entropy"]["× random"] == "1.00", "both bought the same"
    by_part = page.table("Bought images that show each class, by order")
    assert list(by_part) == ["1 to 1", "2 to 2", "3 to 3", "4 to 4", "5 to 5"]
    assert by_part["1 to 1"]["dark"].startswith(f"{labels[bought[0][0], 0]} ")
    mean = np.mean([labels[one].sum() for one in bought])
    assert f"entropy {mean:,.0f} with 5" in page.alt("Positive labels found")


def test_the_contact_sheet_shows_the_images_bought(tmp_path: Path, splits: Splits) -> None:
    out = write_journals(tmp_path, TWO)
    write_notes(
        out,
        {
            "idx": [0, 7, 14, 21, 28],
            "round": [1, 1, 1, 2, 2],
            "probabilities": [[0.25, 0.5, 0.75]] * 5,
        },
    )
    page = report(out, splits=splits)
    cards = [image for image in page.all("img") if "of the pool, number" in image["alt"]]
    assert len(cards) == 2 * 5, "two strategies, five images each"
    own = [card for card in cards if "round" in card["alt"]]
    assert len(own) == 5, "notes are entropy's only"
    for card, row in zip(own, (0, 7, 14, 21, 28), strict=True):
        there = [
            name
            for name, label in zip(CLASSES, splits.unlabelled.labels[row], strict=True)
            if label
        ]
        assert f"Image {row} of the pool" in card["alt"]
        assert (
            f"it shows {listed(there) or 'no class'}; the model expected striped 0.75"
            in (card["alt"])
        )
        content = base64.b64decode(card["src"].partition(";base64,")[2])
        pixels = np.asarray(Image.open(BytesIO(content)).convert("RGB"), dtype=float)
        original = splits.unlabelled.images[row].astype(float)
        assert np.abs(pixels.mean() - original.mean()) < 3
    rounds = page.table("Bought images that show each class, by round")
    assert {name: row["images"] for name, row in rounds.items()} == {"1": "3", "2": "2"}


WRONG_NOTES: dict[str, tuple[object, str]] = {
    "no JSON": ("<script>", "Expecting value"),
    "no object": ([1], "no JSON object"),
    "nothing in it": ({}, "idx is no list"),
    "text for a row": ({"idx": ["1"], "round": [1]}, "idx holds something else"),
    "true for a row": ({"idx": [True], "round": [1]}, "idx holds something else"),
    "a negative round": ({"idx": [1], "round": [-1]}, "round holds something else"),
    "too few rounds": ({"idx": [1, 2], "round": [1]}, "came with 1 rounds"),
    "a row twice": ({"idx": [1, 1], "round": [1, 1]}, "1 of them different"),
    "too few classes": (
        {"idx": [1], "round": [1], "probabilities": [[0.5]]},
        "something else than 3 numbers",
    ),
    "no number": (
        '{"idx": [1], "round": [1], "probabilities": [[NaN, 0, 0]]}',
        "something else than 3 numbers",
    ),
    "more than one": (
        {"idx": [1], "round": [1], "probabilities": [[1.5, 0, 0]]},
        "something else than 3 numbers",
    ),
    "too many": ({"idx": [1], "round": [1], "probabilities": []}, "and 0 rows"),
    "endless brackets": ("[" * 100_000, "recursion"),
}


@pytest.mark.parametrize("case", WRONG_NOTES)
def test_wrong_notes_are_refused_in_words(case: str, tmp_path: Path) -> None:
    content, complaint = WRONG_NOTES[case]
    write_notes(tmp_path, content)
    notes = read_notes([tmp_path], "entropy-5x1-seed0", [1, 2], len(CLASSES))
    assert notes.of == {}
    assert "was not used" in notes.complaint
    assert complaint in notes.complaint


@pytest.mark.parametrize("name", ["../entropy-5x1-seed0", "notes/../../x", "/etc/hostname"])
def test_no_file_elsewhere_is_read_as_notes(name: str, tmp_path: Path) -> None:
    write_notes(tmp_path, {"idx": [1], "round": [1]})
    notes = read_notes([tmp_path / "notes", tmp_path], name, [1], len(CLASSES))
    assert notes.of == {}
    assert "no name of a file" in notes.complaint


def test_wrong_notes_are_left_out_of_the_page_and_it_says_so(
    tmp_path: Path, splits: Splits
) -> None:
    out = write_journals(tmp_path, TWO, seeds=(0,))
    write_notes(out, {"idx": [1], "round": ["<b>"]})
    page = report(out, splits=splits)
    told = page.text.partition("Notes of the submission:")[2].splitlines()[0]
    assert "round holds something else than whole numbers" in told
    assert "by round" not in page.text


def test_notes_on_what_was_not_bought_do_not_count(tmp_path: Path, splits: Splits) -> None:
    out = write_journals(tmp_path, TWO, seeds=(0,))
    write_notes(out, {"idx": [0, 39], "round": [4, 9], "probabilities": None})
    rounds = report(out, splits=splits).table("Bought images that show each class, by round")
    assert {name: row["images"] for name, row in rounds.items()} == {"4": "1", "not noted": "4"}


def test_notes_are_read_exactly() -> None:
    parsed = parse_notes(b'{"idx": [3], "round": [2], "probabilities": [[0, 1, 0.5]]}', 3)
    assert (parsed[3].round, parsed[3].probabilities) == (2, (0.0, 1.0, 0.5))
    unknown = parse_notes(b'{"idx": [3], "round": [null], "probabilities": [null]}', 3)[3]
    assert (unknown.round, unknown.probabilities) == (None, None)
    assert parse_notes(b'{"idx": [], "round": []}', 3) == {}
