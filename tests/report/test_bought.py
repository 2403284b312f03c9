"""What was bought is shown as it was, and the submission's notes only where they make sense."""

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluator.data.dataset import Splits
from evaluator.report.notes import read_notes
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
    rounds_of = {0: 1, 7: 1, 14: 1, 21: 2, 28: 2}
    write_notes(out, [[row, number, [0.25, 0.5, 0.75]] for row, number in rounds_of.items()])
    page = report(out, splits=splits)
    cards = [image for image in page.all("img") if "of the pool, number" in image["alt"]]
    assert len(cards) == 2 * 5, "two strategies, five images each"
    own = [card for card in cards if "round" in card["alt"]]
    assert len(own) == 5, "notes are entropy's only"
    for card, row in zip(own, rounds_of, strict=True):
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
    "no JSON": ("<script>", "was not used: Expecting value"),
    "endless brackets": ("[" * 100_000, "was not used: maximum recursion"),
    "no rows": ({"idx": [1], "round": [1]}, "holds no note on what was bought"),
    "no row that makes sense": ([["1", 1, None], [1, 1]], "holds no note on what was bought"),
}


@pytest.mark.parametrize("case", WRONG_NOTES)
def test_wrong_notes_are_refused_in_words(case: str, tmp_path: Path) -> None:
    content, complaint = WRONG_NOTES[case]
    write_notes(tmp_path, content)
    notes, told = read_notes([tmp_path], "entropy-5x1-seed0", [1, 2], len(CLASSES))
    assert notes == {}
    assert complaint in told


@pytest.mark.parametrize("name", ["../entropy-5x1-seed0", "notes/../../x", "/etc/hostname"])
def test_no_file_elsewhere_is_read_as_notes(name: str, tmp_path: Path) -> None:
    write_notes(tmp_path, [[1, 1, None]])
    notes, told = read_notes([tmp_path / "notes", tmp_path], name, [1], len(CLASSES))
    assert notes == {}
    assert "no name of a file" in told


def test_wrong_notes_are_left_out_of_the_page_and_it_says_so(
    tmp_path: Path, splits: Splits
) -> None:
    out = write_journals(tmp_path, TWO, seeds=(0,))
    write_notes(out, [["<b>", 1, None]])
    page = report(out, splits=splits)
    told = page.text.partition("Notes of the submission:")[2].splitlines()[0]
    assert "holds no note on what was bought" in told
    assert "by round" not in page.text


def test_notes_on_what_was_not_bought_do_not_count(tmp_path: Path, splits: Splits) -> None:
    out = write_journals(tmp_path, TWO, seeds=(0,))
    write_notes(out, [[0, 4, None], [39, 2, None]])
    rounds = report(out, splits=splits).table("Bought images that show each class, by round")
    assert {name: row["images"] for name, row in rounds.items()} == {"4": "1", "not noted": "4"}
