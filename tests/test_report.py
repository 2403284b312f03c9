"""The page says what the journals say, harms nobody who opens it, and can be read by everybody."""

import base64
import json
import re
import shutil
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import unescape
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluator.__main__ import main
from evaluator.dataset import Splits, open_splits
from evaluator.errors import ConfigurationError
from evaluator.report import write_report
from evaluator.report.canvas import looks, view
from evaluator.report.notes import parse_notes
from evaluator.report.words import listed, printable
from evaluator.results import read_results
from evaluator.statistics import mean_interval
from evaluator.trial import PurchaseRecord, ScoreRecord

CLASSES = ("dark", "bright", "striped")
VOID = {"meta", "link", "img", "wbr"}
HOSTILE = "<script>alert('x')</script>\" onload=\"y\x1b[31m\ud800\u202e"
Pairs = Sequence[tuple[int, float]]


def write_journals(
    out: Path,
    scores: dict[str, Sequence[float]],
    *,
    pairs: Pairs = ((5, 1.0),),
    seeds: Sequence[int] = (0, 1, 2),
    pipelines: Sequence[str] = ("quick",),
    failed: Sequence[str] = (),
    reason: str = "killed at 60 s",
    dataset: str = "squares",
    classes: Sequence[str] = CLASSES,
    score: Callable[[float, int, int], float] = lambda base, pipeline, seed: base + 0.01 * seed,
    **extra: Any,
) -> Path:
    """Journals as the judge writes them: `scores` holds a base score per strategy and pair."""
    out.mkdir(parents=True, exist_ok=True)
    bought, made = [], []
    for strategy, bases in scores.items():
        for (budget, minutes), base in zip(pairs, bases, strict=True):
            for seed in seeds:
                trial = f"{re.sub(r'[^a-z]', '_', strategy)}-{budget}x{minutes:g}-seed{seed}"
                bad = strategy in failed and seed == seeds[-1]
                bought.append(
                    PurchaseRecord(
                        trial, dataset, strategy, budget, minutes, seed,
                        "timeout" if bad else "ok", reason if bad else "",
                        purchased=[(7 * i + seed) % 40 for i in range(budget)],
                        seconds={"pre_training": 6.0, "purchase": 24.0 * minutes, "prediction": 1},
                        own_macro_f1=None, peak_memory=3 * 2**29, **extra,
                    )
                )  # fmt: skip
                for number, pipeline in enumerate(pipelines):
                    value = score(base, number, seed)
                    f1 = {name: value + 0.1 * (c - 1) for c, name in enumerate(classes)}
                    if not bad:
                        made.append(
                            ScoreRecord(
                                trial, pipeline, seed, "ok", value, 0.5, 0.1, f1, 24, budget, 9.0
                            )
                        )
    for name, records in (("purchases.jsonl", bought), ("scores.jsonl", made)):
        with (out / name).open("w") as file:
            file.writelines(json.dumps(record.as_json()) + "\n" for record in records)
    return out


def write_notes(out: Path, content: object) -> None:
    """For the first trial of `entropy`."""
    path = out / "notes" / "entropy-5x1-seed0.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def train_twice(out: Path) -> None:
    """A second training of every purchase, alternately better and worse."""
    path = out / "scores.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for i, record in enumerate(records):
        macro_f1 = record["macro_f1"] + (0.01, -0.01)[i % 2]
        again = {**record, "training_seed": record["training_seed"] + 100, "macro_f1": macro_f1}
        with path.open("a") as file:
            file.write(json.dumps(again) + "\n")


@dataclass
class Page:
    """What a reader of HTML finds."""

    source: str
    text: str = ""
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def table(self, caption: str) -> dict[str, dict[str, str]]:
        """Row name -> column -> cell, of the first table whose caption begins so."""
        number = next(i for i, found in enumerate(self.captions) if found.startswith(caption))
        head, *rows = self.tables[number]
        return {row[0]: dict(zip(head, row, strict=True)) for row in rows}

    def alt(self, beginning: str) -> str:
        return next(i["alt"] for i in self.all("img") if i["alt"].startswith(beginning))


class _Parser(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page, self.open = page, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.page.tables.append([])
            self.page.captions.append("")
        elif tag == "tr":
            self.page.tables[-1].append([])
        elif tag in ("th", "td"):
            self.page.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.page.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.page.text += data
        if {"th", "td"} & set(self.open):
            self.page.tables[-1][-1][-1] += data
        elif "caption" in self.open:
            self.page.captions[-1] += data


def read(path: Path) -> Page:
    page = Page(path.read_text(encoding="utf-8").replace("\u00a0", " "))
    parser = _Parser(page)
    parser.feed(page.source)
    parser.close()
    page.unbalanced += parser.open
    return page


def report(*folders: Path, baseline: str = "random", splits: Splits | None = None) -> Page:
    results = read_results(folders)
    out = folders[0] / "report.html"
    write_report(results, out, baseline=baseline, splits=splits, folders=folders)
    return read(out)


@pytest.fixture(scope="module")
def splits(squares: Path) -> Splits:
    return open_splits(squares, progress=False)


TWO = {"random": (0.4,), "entropy": (0.5,)}
CASES: dict[str, dict[str, Any]] = {
    "one seed": {"scores": TWO, "seeds": (0,)},
    "several pipelines": {"scores": TWO, "pipelines": ("quick", "organiser")},
    "several budgets": {
        "scores": {"random": (0.4, 0.5, 0.6), "entropy": (0.5, 0.6, 0.8)},
        "pairs": ((5, 1.0), (5, 2.0), (9, 1.0)),
    },
    "a failed strategy": {"scores": TWO, "failed": ("entropy",)},
    "everything failed": {"scores": TWO, "failed": ("entropy", "random"), "seeds": (0,)},
    "one strategy": {"scores": {"random": (0.4,)}},
    "only references": {"scores": {"none": (0.4,)}},
    "references too": {"scores": {"none": (0.2,), **TWO, "all": (0.8,), "oracle": (0.6,)}},
    "hostile names": {
        "scores": {"random": (0.4,), f"entropy:{HOSTILE}$x_1^$": (0.5,)},
        "failed": (f"entropy:{HOSTILE}$x_1^$",),
        "reason": HOSTILE,
        "dataset": HOSTILE,
        "classes": ("a", HOSTILE, "c"),
        "pipelines": (HOSTILE, "quick"),
        "warnings": (HOSTILE,),
        "revision": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
    },
}


@pytest.mark.parametrize(
    ("case", "data"), [*((case, "with data") for case in CASES), ("hostile names", "without data")]
)
def test_every_page_is_whole_safe_and_accessible(
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
    assert {link["href"] for link in page.all("a")} >= {"#main", "#problems", "#environment"}
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


def test_hostile_text_is_shown_and_not_obeyed(tmp_path: Path, splits: Splits) -> None:
    out = write_journals(tmp_path, **CASES["hostile names"])
    write_notes(out, {"idx": ["<script>alert(1)</script>"], "round": ["<img src=x onerror=y>"]})
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


def test_the_leaderboard_is_that_of_the_journals(tmp_path: Path) -> None:
    scores = {"none": (0.2,), "random": (0.4,), "entropy": (0.5,), "all": (0.8,)}
    page = report(write_journals(tmp_path, scores))
    rows = page.table("Macro-F1 under quick")
    assert list(rows) == ["all", "entropy", "random", "none"]
    low, high = mean_interval([0.5, 0.51, 0.52]) or (0, 0)
    assert rows["entropy"]["macro-F1"] == "0.510"
    assert rows["entropy"]["95 % interval"] == f"[{low:.3f}, {high:.3f}]"
    assert rows["entropy"]["gap closed"] == "50%"
    assert rows["entropy"]["n"] == "3"
    assert f"entropy 0.510 (95 % interval {low:.3f} to {high:.3f})" in page.alt("Macro-F1")
    assert "n = 3 purchase seeds" in page.text
    assert "new seeds, on the same data set" in page.text


def test_one_seed_says_nothing_about_differences(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, **CASES["one seed"]))
    assert page.text.count("One purchase seed (n = 1): nothing can be said") == 3
    assert not [image for image in page.all("img") if "Difference" in image["alt"]]
    assert "p (t, Holm)" not in page.text
    assert "95 % interval" not in page.text.partition("Leaderboard")[0]


def test_differences_are_paired(tmp_path: Path) -> None:
    gains = {0: 0.0, 1: 0.02, 2: 0.01}  # of what is better than random, by seed
    page = report(
        write_journals(
            tmp_path,
            {"random": (0.4,), "entropy": (0.5,), "worse": (0.39,)},
            score=lambda base, _, seed: base + 0.05 * seed + (base > 0.45) * gains[seed],
        )
    )
    rows = page.table("Each strategy against random")
    assert rows["entropy"]["difference"] == "+0.110"
    assert rows["entropy"]["wins-losses"] == "3-0"
    assert rows["worse"]["difference"] == "-0.010"
    assert rows["worse"]["p (t, Holm)"] == "<0.001"
    assert rows["worse"]["n"] == "3"
    assert "entropy +0.110 (95 % interval +0.085 to +0.135)" in page.alt("Difference")
    assert (
        "Better than random, beyond what seeds explain: entropy (+0.110 [+0.085, +0.135], n = 3)"
        in page.text
    )
    assert (
        "Worse than random, beyond what seeds explain: worse (-0.010 [-0.010, -0.010], n = 3)"
        in page.text
    )
    assert page.table("The row's strategy beats")["entropy"]["worse"] == "1.00"
    assert page.table("The row's strategy beats")["worse"]["random"] == "0.00"
    assert "entropy beats worse in 100%" in page.alt("Penalty matrix")


def test_several_trainings_say_where_the_spread_comes_from(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO, seeds=(0, 1, 2, 3))
    train_twice(out)
    page = report(out)
    assert page.table("Macro-F1 under quick")["entropy"]["n"] == "8"
    assert page.table("Each strategy against random")["entropy"]["n"] == "4", "purchases"
    spread = page.table("Standard deviation of the difference")["entropy"]
    assert spread["sd of trainings"] == "0.000", "both were trained alike"
    assert (spread["purchase"], spread["training"]) == ("62 s", "18 s")


def test_what_seeds_can_explain_is_not_settled(tmp_path: Path) -> None:
    page = report(
        write_journals(tmp_path, TWO, score=lambda base, _, seed: 0.5 + (base - 0.45) * (seed - 1))
    )
    assert "Not settled against random: entropy" in page.text
    assert "beyond what seeds explain" not in page.text


def test_pipelines_are_averaged_and_their_orders_compared(tmp_path: Path) -> None:
    page = report(
        write_journals(
            tmp_path,
            {"random": (0.4,), "entropy": (0.5,), "badge": (0.6,)},
            pipelines=("quick", "organiser"),
            score=lambda base, pipeline, seed: (base if pipeline == 0 else 0.8 - base) + seed / 99,
        )
    )
    mean = page.table("Macro-F1 under the mean over 2 pipelines")
    assert {row["macro-F1"] for row in mean.values()} == {"0.410"}, "0.4 + 1 / 99"
    assert page.table("Macro-F1 under quick")["badge"]["macro-F1"] == "0.610"
    ranks = page.table("Macro-F1 of each strategy")
    assert ranks["badge"]["mean"] == "0.410"
    assert ranks["badge"]["quick (rank)"] == "0.610 (1)"
    assert ranks["badge"]["organiser (rank)"] == "0.210 (3)"
    assert ranks["badge"]["mean rank"] == "2.00"
    assert page.table("Kendall's tau")["quick"]["organiser"] == "-1.000"


def test_a_seed_missing_under_one_pipeline_does_not_count_in_the_mean(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO, pipelines=("quick", "organiser"))
    lines = (out / "scores.jsonl").read_text().splitlines(keepends=True)
    (out / "scores.jsonl").write_text("".join(lines[:-1]))  # entropy, seed 2, organiser
    page = report(out)
    assert page.table("Macro-F1 under the mean")["entropy"]["macro-F1"] == "0.505"
    assert page.table("Macro-F1 under quick")["entropy"]["macro-F1"] == "0.510"
    assert "1 trial of 6 not finished" in page.text


def test_the_curve_and_the_area_under_it(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, **CASES["several budgets"]))
    rows = page.table("Mean height of the curve")
    assert list(rows) == ["entropy", "random"]
    assert rows["entropy"]["5 labels"] == "0.560", "5:1 and 5:2 are one point"
    assert rows["entropy"]["9 labels"] == "0.810"
    assert rows["entropy"]["AUBC"] == "0.685"
    assert "random 0.460 at 5, 0.610 at 9" in page.alt("Macro-F1 under quick against labels")

    one = report(write_journals(tmp_path / "one", TWO))
    assert "One budget in labels was evaluated, so there is no curve" in one.text


def test_a_failed_strategy_is_shown_with_its_reason(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, **CASES["a failed strategy"]))
    rows = page.table("Macro-F1 under quick")
    (failed,) = (row for name, row in rows.items() if name.startswith("entropy"))
    assert failed["strategy"] == "entropy — failed: 5:1 seed 2: timeout"
    assert failed["macro-F1"] == "–"
    assert failed["5:1"] == "0.505", "the seeds that went well"
    why = page.table("What failed")["entropy"]
    assert (why["what"], why["reason"], why["seed"]) == ("timeout", "killed at 60 s", "2")
    assert "Failed: entropy (5:1 seed 2: timeout)." in page.text
    assert "Not compared with random" in page.text
    assert "No trial failed" not in page.text


def test_f1_per_class(tmp_path: Path) -> None:
    page = report(write_journals(tmp_path, TWO))
    row = page.table("F1 per class")["entropy"]
    assert [row[name] for name in CLASSES] == ["0.410", "0.510", "0.610"]
    assert "entropy: dark 0.41, bright 0.51, striped 0.61" in page.alt("F1 per class")


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
def test_wrong_notes_are_left_out_and_said_so(case: str, tmp_path: Path, splits: Splits) -> None:
    content, complaint = WRONG_NOTES[case]
    out = write_journals(tmp_path, TWO, seeds=(0,))
    write_notes(out, content)
    page = report(out, splits=splits)
    told = page.text.partition("Notes of the submission:")[2].splitlines()[0]
    assert "was not used" in told
    assert complaint in told
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


def test_time_and_memory(tmp_path: Path) -> None:
    row = report(write_journals(tmp_path, {"random": (0.4,)})).table("Seconds per phase")["random"]
    assert (row["pre-training"], row["purchase"], row["budget"]) == ("6 s", "24 s", "60 s")
    assert (row["used, mean"], row["used, most"]) == ("50%", "50%")
    assert row["peak memory, most"] == "1.50 GiB"


def test_two_folders_are_one_evaluation(tmp_path: Path) -> None:
    one = write_journals(tmp_path / "one", TWO, seeds=(0, 1))
    two = write_journals(tmp_path / "two", TWO, seeds=(2, 3))
    page = report(one, two)
    row = page.table("Macro-F1 under quick")["entropy"]
    assert (row["macro-F1"], row["n"]) == ("0.515", "4")


def test_where_it_comes_from_and_how_to_repeat_it(tmp_path: Path) -> None:
    out = write_journals(tmp_path, TWO, revision="abc123", versions={"torch": "2.10.0"})
    old = report(out)
    assert "The journals do not say which command made them" in old.text
    command = ["local_evaluation.py", "--strategy", "entropy:rounds=3 x"]
    line = json.dumps({"command": command, "started": "2026-01-02T03:04:05Z"}) + "\n"
    (out / "commands.jsonl").write_text(2 * line)
    page = report(out)
    assert page.text.count("local_evaluation.py --strategy 'entropy:rounds=3 x'") == 1
    facts = page.table("What the journals say")
    assert facts["revision of the submission"]["value"] == "abc123"
    assert facts["torch"]["value"] == "2.10.0"
    assert "not written down" in facts["device of the trainings"]["value"]


NEW_FIELDS = {
    "purchases.jsonl": ("fingerprint", "code", "conditions", "revision", "versions", "warnings",
                        "peak_memory", "refused", "left_running"),
    "scores.jsonl": ("configuration", "reason", "device", "revision", "versions"),
}  # fmt: skip


def test_journals_from_before_the_new_fields(tmp_path: Path, splits: Splits) -> None:
    out = write_journals(tmp_path, **CASES["references too"])
    for name in ("purchases.jsonl", "scores.jsonl"):
        records = [json.loads(line) for line in (out / name).read_text().splitlines()]
        for record in records:
            for new in NEW_FIELDS[name]:
                del record[new]
        (out / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    page = report(out, splits=splits)
    assert page.table("Macro-F1 under quick")["entropy"]["macro-F1"] == "0.510"
    assert page.table("Seconds per phase")["entropy"]["peak memory, most"] == "–"


def test_another_data_set_is_refused(tmp_path: Path, splits: Splits) -> None:
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


def test_the_same_journals_give_the_same_file(tmp_path: Path, splits: Splits) -> None:
    out = write_journals(tmp_path, TWO)
    assert report(out, splits=splits).source == report(out, splits=splits).source
    assert sorted(path.name for path in out.iterdir()) == [
        "purchases.jsonl", "report.html", "scores.jsonl",
    ]  # fmt: skip


def test_the_command(tmp_path: Path, squares: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = write_journals(tmp_path / "out", TWO)
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out / "report.html")
    elsewhere = tmp_path / "new" / "page.html"
    arguments = ["--data", str(squares), "--baseline", "entropy", "--html", str(elsewhere)]
    assert main(["report", str(out), *arguments]) == 0
    assert "Paired differences against entropy" in read(elsewhere).text
    assert main(["report", str(out), "--baseline", "nobody"]) == 2
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "is not there" in capsys.readouterr().err


def test_nobody_else_pays_for_the_libraries_that_draw() -> None:
    code = "import sys, evaluator.report; print({'matplotlib', 'jinja2'} & set(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "set()"


def test_an_interval_far_wider_than_the_scores_does_not_flatten_them() -> None:
    low, high = view([0.70, 0.80], [-0.26, 1.39])
    assert 0.55 < low < 0.70
    assert 0.80 < high < 0.95
    low, high = view([0.70, 0.80], [0.69, 0.81])
    assert low < 0.69 < 0.81 < high, "an interval that fits is shown whole"


def test_no_two_strategies_look_alike() -> None:
    names = [str(i) for i in range(60)]
    assert len(set(looks(names, ["none"]).values())) == 61


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain ✓ ü", "plain ✓ ü"), ("a\nb\tc", "a\nb\tc"), ("\x1b[1m\x00", "\ufffd[1m\ufffd"),
     ("\ud800\u202ex\u200b", "\ufffd\ufffdx\ufffd")],
)  # fmt: skip
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--v=0", "--window-size=800,900",
)  # fmt: skip
WATCH = """<!DOCTYPE html><title>watch</title><link rel="icon" href="data:,">
<iframe src="report.html" width="360" height="700" style="border:0"></iframe>
<pre id="found"></pre><script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument;
  page.querySelectorAll("details").forEach(one => one.open = true);
  const images = [...page.images];
  const free = [...page.querySelectorAll("body *")].filter(one => !one.closest(".scroll, .skip"));
  const wide = free.filter(one => one.getBoundingClientRect().right > 360.5);
  document.getElementById("found").textContent = JSON.stringify({
    width: page.documentElement.scrollWidth,
    wide: wide.map(one => one.tagName + ": " + one.textContent.slice(0, 60)),
    images: images.length,
    broken: images.filter(image => !(image.complete && image.naturalWidth)).length,
  });
});</script>"""


def test_a_browser_shows_it_on_a_phone(tmp_path: Path, splits: Splits) -> None:
    """No error in the console, no picture missing, nothing wider than the screen."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is installed")
    names = {
        f"entropy:rounds={i},a_long_name_without_any_break=1": (0.5, 0.6, 0.7) for i in range(5)
    }
    page = report(
        write_journals(
            tmp_path,
            {"random": (0.4, 0.5, 0.6), **names},
            pairs=((5, 1.0), (9, 1.0), (20, 2.0)),
            pipelines=("quick", "organiser"),
        ),
        splits=splits,
    )
    (tmp_path / "watch.html").write_text(WATCH)
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        shown = subprocess.run(
            [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
             f"http://127.0.0.1:{server.server_port}/watch.html"],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    finally:
        server.shutdown()
        server.server_close()
    (told,) = re.findall(r'<pre id="found">(.*?)</pre>', shown.stdout)
    found = json.loads(unescape(told))
    assert found["images"] == len(page.all("img")) > 20
    assert found["broken"] == 0
    assert found["wide"] == []
    assert found["width"] <= 360
    assert "CONSOLE" not in shown.stderr
    assert set(asked) - {"/favicon.ico"} == {"/watch.html", "/report.html"}
