"""Purchased images: class distribution, gallery, and the notes of the submission."""

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluator.data.dataset import Splits
from evaluator.report.acquisitions import read_notes
from shared.formatting import join_and
from tests.report.journals import CLASSES, TWO, write_journals, write_notes
from tests.report.pages import Page, report

ROUNDS = {0: 1, 7: 1, 14: 1, 21: 2, 28: 2}  # of entropy's purchase under seed 0


def cards_of(page: Page) -> list[dict[str, str]]:
    return [image for image in page.all("img") if "of the pool" in image["alt"]]


def test_section_without_the_data_set_says_how_to_get_it(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, TWO))
    assert "--data DIR" in page.text
    assert cards_of(page) == []


def test_class_distribution_of_purchases_and_pool(tmp_path: Path, splits: Splits) -> None:
    page = report(write_journals(tmp_path, TWO), splits=splits)
    rows = page.table("Share of bought images that show each class")
    labels = splits.unlabelled.labels
    assert rows["the pool"]["bright"] == f"{labels[:, 1].mean():.1%}"
    bought = [[(7 * i + seed) % 40 for i in range(5)] for seed in range(3)]
    share = np.mean([labels[one, 1].mean() for one in bought])
    assert rows["entropy"]["bright"] == f"{share:.1%}"
    nothing = np.mean([(labels[one].sum(axis=1) == 0).mean() for one in bought])
    assert rows["entropy"]["no class"] == f"{nothing:.1%}"
    per_image = np.mean([labels[one].sum() / 5 for one in bought])
    assert rows["entropy"]["labels per image"] == f"{per_image:.2f}"
    assert rows["entropy"]["purchases"] == "3"


def test_gallery_shows_the_images_bought(tmp_path: Path, splits: Splits) -> None:
    out = write_journals(tmp_path, TWO)
    write_notes(out, [[row, number, [0.25, 0.5, 0.75]] for row, number in ROUNDS.items()])
    page = report(out, splits=splits)
    cards = cards_of(page)
    assert len(cards) == 2 * 5, "two strategies, five images each"
    for card, row in zip(cards[5:], ROUNDS, strict=True):
        labels = splits.unlabelled.labels[row]
        present = [name for name, label in zip(CLASSES, labels, strict=True) if label]
        assert (
            card["alt"]
            == f"Image {row} of the pool, which shows {join_and(present) or 'no class'}."
        )
        content = base64.b64decode(card["src"].partition(";base64,")[2])
        pixels = np.asarray(Image.open(BytesIO(content)).convert("RGB"), dtype=float)
        original = splits.unlabelled.images[row].astype(float)
        assert np.abs(pixels.mean() - original.mean()) < 3
    titles = [line for line in page.lines if " no. " in line]
    for title, number in zip(titles[5:], ROUNDS.values(), strict=True):
        assert f"round {number}" in title
    assert not any("round" in title for title in titles[:5]), "notes are entropy's only"
    assert page.text.count("striped 0.75") == 5


WRONG_NOTES: dict[str, tuple[object, str]] = {
    "no JSON": ("<script>", "was not used: Expecting value"),
    "endless brackets": ("[" * 100_000, "was not used: maximum recursion"),
    "no rows": ({"idx": [1], "round": [1]}, "holds no valid note on a bought image"),
    "no row that makes sense": ([["1", 1, None], [1, 1]], "holds no valid note on a bought image"),
}


@pytest.mark.parametrize("case", WRONG_NOTES)
def test_read_notes_refuses_wrong_notes(case: str, tmp_path: Path) -> None:
    content, expected = WRONG_NOTES[case]
    write_notes(tmp_path, content)
    notes, complaint = read_notes([tmp_path], "entropy-5x1-seed0", [1, 2], len(CLASSES))
    assert notes == {}
    assert expected in complaint


@pytest.mark.parametrize("name", ["../entropy-5x1-seed0", "notes/../../x", "/etc/hostname"])
def test_read_notes_reads_no_file_elsewhere(name: str, tmp_path: Path) -> None:
    write_notes(tmp_path, [[1, 1, None]])
    notes, complaint = read_notes([tmp_path / "notes", tmp_path], name, [1], len(CLASSES))
    assert notes == {}
    assert "is not a file name" in complaint


def test_section_names_wrong_notes(tmp_path: Path, splits: Splits) -> None:
    out = write_journals(tmp_path, TWO, seeds=(0,))
    write_notes(out, [["<b>", 1, None]])
    page = report(out, splits=splits)
    (complaint,) = (line for line in page.lines if "Notes of the submission:" in line)
    assert "holds no valid note on a bought image" in complaint


def test_gallery_ignores_notes_on_what_was_not_bought(tmp_path: Path, splits: Splits) -> None:
    out = write_journals(tmp_path, TWO, seeds=(0,))
    write_notes(out, [[0, 4, None], [39, 2, None]])
    page = report(out, splits=splits)
    rounds = [line for line in page.lines if " no. " in line and "round" in line]
    assert len(rounds) == 1
    assert "round 4" in rounds[0]
