"""The page is safe to open, accessible, reproducible, and reads as the golden text does."""

import base64
import json
import os
import xml.etree.ElementTree as ET
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from evaluator.__main__ import main
from evaluator.analysis import load_results
from evaluator.data.dataset import Splits
from evaluator.report.figures import assign_styles, axis_limits, short_label
from shared.errors import ConfigurationError
from tests.report.journals import CASES, TWO, write_journals, write_notes
from tests.report.pages import read, report

GOLDEN = Path(__file__).with_name("golden.txt")


def test_write_page_reads_as_the_golden_text(tmp_path: Path, splits: Splits) -> None:
    """Every sentence of the page in one place; UPDATE_GOLDEN=1 takes the page's for right."""
    out = write_journals(tmp_path, **CASES["golden"])
    write_notes(out, [[0, 1, [0.25, 0.5, 0.75]], [7, 2, None]])
    command = {"command": ["python", "local_evaluation.py", "--seeds", "3"], "threads": 1}
    (out / "commands.jsonl").write_text(json.dumps(command) + "\n")
    text = "\n".join(report(out, splits=splits).lines) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("case", "data"), [*((case, "with data") for case in CASES), ("hostile names", "without data")]
)
def test_write_page_is_well_formed_safe_and_accessible(
    case: str, data: str, tmp_path: Path, splits: Splits
) -> None:
    out = write_journals(tmp_path, **CASES[case])
    baseline = "" if case == "only references" else "random"
    page = report(out, baseline=baseline, splits=splits if data == "with data" else None)

    assert page.unbalanced == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "object", "form", "base"}
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            target = attributes.get(name, "data:")
            assert target.startswith("data:") or target[1:] in ids, target
    assert "url(" not in page.source
    assert "@import" not in page.source
    assert "default-src 'none'" in page.source

    assert [heading for heading, _ in page.tags if heading in ("h1", "h2")][:2] == ["h1", "h2"]
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.captions) == len(page.all("caption"))
    assert all(page.captions)
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    assert all(image["alt"].strip() for image in page.all("img"))
    assert {link["href"] for link in page.all("a")} >= {"#main", "#failures", "#environment"}
    for image in page.all("img"):
        kind, _, content = image["src"].partition(";base64,")
        decoded = base64.b64decode(content, validate=True)
        if kind == "data:image/svg+xml":
            tree = ET.fromstring(decoded)
            links = {
                value for node in tree.iter() for name, value in node.items() if "href" in name
            }
            assert all(link.startswith("#") for link in links)
        else:
            Image.open(BytesIO(decoded)).verify()
    assert not any(ord(c) < 32 and c not in "\n\t" for c in page.source)


def test_write_page_shows_hostile_text_as_text(tmp_path: Path, splits: Splits) -> None:
    out = write_journals(tmp_path, **CASES["hostile names"])
    write_notes(out, [["<script>alert(1)</script>", "<img src=x onerror=y>", None]])
    (out / "commands.jsonl").write_text(
        json.dumps({"command": ["python", "<script>alert(2)</script>"], "started": "<b>"}) + "\n"
        + json.dumps({"command": "<script>rm</script>", "started": 1}) + "\n"
    )  # fmt: skip
    page = report(out, splits=splits)
    assert "<script" not in page.source
    assert "<img src=x" not in page.source
    assert "<script>alert('x')</script>" in page.text, "as the text it is"
    assert "<script>alert(2)</script>" in page.text
    assert "\u202e" not in page.source, "nothing turns the reading direction"


def test_write_page_joins_two_folders(tmp_path: Path) -> None:
    one = write_journals(tmp_path / "one", TWO, seeds=(0, 1))
    two = write_journals(tmp_path / "two", TWO, seeds=(2, 3))
    page = report(one, two)
    row = page.table("Leaderboard under quick")["entropy"]
    assert (row["macro-F1"], row["runs"]) == ("0.515", "4")


NEW_FIELDS = {
    "purchases.jsonl": ("fingerprint", "code", "conditions", "revision", "versions", "warnings",
                        "peak_memory", "refused", "left_running"),
    "scores.jsonl": ("configuration", "reason", "bought", "device", "revision", "versions"),
}  # fmt: skip


def test_write_page_reads_journals_without_the_newer_fields(tmp_path: Path, splits: Splits) -> None:
    out = write_journals(tmp_path, **CASES["references too"])
    for name in ("purchases.jsonl", "scores.jsonl"):
        records = [json.loads(line) for line in (out / name).read_text().splitlines()]
        for record in records:
            for new in NEW_FIELDS[name]:
                del record[new]
        (out / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    page = report(out, splits=splits)
    assert page.table("Leaderboard under quick")["entropy"]["macro-F1"] == "0.510"
    assert page.table("Mean seconds")["entropy"]["peak memory"] == "–"


def test_write_page_refuses_another_data_set(tmp_path: Path, splits: Splits) -> None:
    out = write_journals(tmp_path, TWO, fingerprint="another")
    with pytest.raises(ConfigurationError, match="made on another"):
        report(out, splits=splits)
    assert not (out / "report.html").exists()
    larger = write_journals(tmp_path / "larger", TWO)
    journal = (
        (larger / "purchases.jsonl").read_text().replace('"purchased": [0,', '"purchased": [40,')
    )
    (larger / "purchases.jsonl").write_text(journal)
    with pytest.raises(ConfigurationError, match="hold image 40 of the pool"):
        report(larger, splits=splits)


def test_write_page_is_reproducible(tmp_path: Path, splits: Splits) -> None:
    out = write_journals(tmp_path, TWO)
    assert report(out, splits=splits).source == report(out, splits=splits).source
    assert sorted(path.name for path in out.iterdir()) == [
        "purchases.jsonl", "report.html", "scores.jsonl",
    ]  # fmt: skip


def test_report_command(tmp_path: Path, squares: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = write_journals(tmp_path / "out", TWO)
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out / "report.html")
    elsewhere = tmp_path / "new" / "page.html"
    arguments = ["--data", str(squares), "--baseline", "entropy", "--html", str(elsewhere)]
    assert main(["report", str(out), *arguments]) == 0
    assert "Pairwise comparison with entropy" in read(elsewhere).text
    assert main(["report", str(out), "--baseline", "nobody"]) == 2
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "is not there" in capsys.readouterr().err
    before = sorted(tmp_path.rglob("*"))
    for place in (tmp_path, elsewhere / "page.html"):
        assert main(["report", str(out), "--html", str(place)]) == 2
        assert f"{place} cannot be written" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_axis_limits_of_an_interval_far_wider_than_the_scores() -> None:
    low, high = axis_limits([0.70, 0.80], [-0.26, 1.39])
    assert 0.55 < low < 0.70
    assert 0.80 < high < 0.95
    low, high = axis_limits([0.70, 0.80], [0.69, 0.81])
    assert low < 0.69 < 0.81 < high, "an interval that fits is shown whole"


def test_assign_styles_are_distinct() -> None:
    names = [str(i) for i in range(60)]
    assert len(set(assign_styles(names).values())) == 62, "and none and all"


def test_short_label_keeps_what_tells_two_variants_apart() -> None:
    one, other = (short_label(f"margin:rounds=4,temperature={t}") for t in ("1.5", "2.5"))
    assert one != other
    assert len(one) == len(other) == 30
    assert short_label("random") == "random"
    assert len(short_label("x" * 99, 18)) == 18


def test_report_command_writes_the_table(tmp_path: Path) -> None:
    out = write_journals(tmp_path / "out", **CASES["golden"])
    assert main(["report", str(out), "--csv", str(tmp_path / "scores.csv")]) == 0
    written = pd.read_csv(tmp_path / "scores.csv")
    expected = load_results(out)
    assert list(written) == list(expected)
    assert written.macro_f1.to_numpy() == pytest.approx(expected.macro_f1, nan_ok=True)
    assert written.status.to_list() == expected.status.to_list()
    assert main(["report", str(out), "--csv", str(tmp_path)]) == 2
