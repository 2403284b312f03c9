"""A person labels in a browser: by key and mouse, through a kill, one by one and in a grid."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.label.conftest import CLASSES, make_pool

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

HOUSE = Path(__file__).resolve().parent.parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
N, SECONDS = 48, 240
Truth = dict[str, tuple[int, ...]]

pytestmark = pytest.mark.slow


@pytest.fixture
def browser() -> Iterator[playwright.Browser]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = driver.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], str]]]:
    """Start label.py; its process, and the page's address."""
    started = list[subprocess.Popen[str]]()

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "label.py",
                    "--pool",
                    tmp_path / "pool",
                    "--out",
                    tmp_path / "out",
                ),
                *("--classes", *CLASSES, "--pixels", "64", "--no-browser"),
            ],
            cwd=HOUSE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://\S+", line):
                return process, found[0]
        raise AssertionError(f"label.py ended with {process.wait()} and printed no address")

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    """Labels of the pool; two of its pictures are near-duplicates."""
    labels = make_pool(tmp_path / "pool", N, side=96, blobs=40)
    with Image.open(tmp_path / "pool" / "000.png") as image:
        image.point(lambda value: min(255, value + 2)).save(tmp_path / "pool" / "copy.png")
    return {**labels, "copy.png": labels["000.png"]}


class Person:
    """Knows the true labels, and types them."""

    def __init__(self, page: playwright.Page, truth: Truth) -> None:
        self.page, self.truth = page, truth
        self.typed: dict[str, tuple[int, ...] | None] = {}

    @property
    def name(self) -> str:
        return str(self.page.text_content("#title strong"))

    def mark(self, label: tuple[int, ...]) -> None:
        for key in [str(c + 1) for c, present in enumerate(label) if present] or ["0"]:
            self.page.keyboard.press(key)

    def enter(self, key: str = "Enter") -> None:
        before = self.name
        self.page.keyboard.press(key)
        self.page.wait_for_function(
            "name => document.querySelector('#title strong')?.textContent !== name", arg=before
        )

    def label_one(self) -> str:
        name = self.name
        self.mark(self.truth[name])
        self.typed[name] = self.truth[name]
        self.enter()
        return name


def table(folder: Path) -> dict[str, tuple[int, ...] | None]:
    with (folder / "labels.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return {name: tuple(map(int, cells)) if cells[0] else None for name, *cells in rows}


def barriers(page: playwright.Page) -> list[str]:
    """What axe-core finds to be serious or worse."""
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html']}"
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


def test_person_labels_through_a_kill_and_the_table_is_what_was_typed(
    browser: playwright.Browser,
    start: Callable[[], tuple[subprocess.Popen[str], str]],
    truth: Truth,
    tmp_path: Path,
) -> None:
    process, address = start()
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(SECONDS * 1000)
    errors, refused = list[str](), "ERR_CONNECTION_REFUSED"
    page.on("console", lambda one: errors.append(one.text) if one.type == "error" else None)
    page.on("pageerror", lambda one: errors.append(str(one)))
    page.goto(address)
    page.wait_for_selector("#pictures img")
    person = Person(page, truth)
    assert barriers(page) == []
    for _ in range(8):
        person.label_one()
    assert table(tmp_path / "out") == person.typed

    # By mouse.
    name = person.name
    label = (0, 1, 1)
    for c in (1, 2):
        page.click(f"#classes button:nth-child({c + 1})")
    page.click("#save")
    page.wait_for_function(
        "n => document.querySelector('#title strong').textContent !== n", arg=name
    )
    person.typed[name] = label

    # Killed in the middle: what is typed meanwhile is sent once the server runs again.
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    name = person.name
    person.mark(truth[name])
    page.keyboard.press("Enter")
    page.wait_for_selector("#trouble:not([hidden])")
    assert name not in table(tmp_path / "out")
    assert start()[1] == address
    page.wait_for_selector("#trouble", state="hidden")
    page.wait_for_function(
        "n => document.querySelector('#title strong').textContent !== n", arg=name
    )
    person.typed[name] = truth[name]
    assert table(tmp_path / "out") == person.typed
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert all(refused in error for error in errors)
    errors.clear()

    # Unsure; an undo; a correction, two pictures back.
    name = person.name
    person.enter(" ")
    person.typed[name] = None
    name = person.label_one()
    person.enter("u")
    assert person.name == name
    assert table(tmp_path / "out")[name] is None
    pressed = page.eval_on_selector_all(
        "#classes button", "all => all.map(one => one.getAttribute('aria-pressed') === 'true')"
    )
    assert tuple(map(int, pressed)) == truth[name]
    person.enter()
    person.typed[name] = truth[name]
    person.label_one()
    person.enter("ArrowLeft")
    person.enter("ArrowLeft")
    assert person.name == name
    corrected = tuple(1 - value for value in truth[name])
    for c in range(len(CLASSES)):  # turns every mark over
        page.keyboard.press(str(c + 1))
    if 1 not in corrected:
        page.keyboard.press("0")
    person.enter()
    person.typed[name] = corrected
    person.enter("ArrowRight")

    # A group, in the grid: those of one label at once.
    page.keyboard.press("g")
    page.wait_for_selector("#pictures.grid .tile")
    assert barriers(page) == []
    shown = page.eval_on_selector_all("#pictures .tile", "all => all.map(one => one.textContent)")
    label = truth[shown[0]]
    for at, one in enumerate(shown):
        if truth[one] != label:
            page.click(f"#pictures .tile:nth-child({at + 1})")
    group = [one for one in shown if truth[one] == label]
    person.mark(label)
    page.keyboard.press("Enter")
    page.wait_for_function(
        "one => !document.querySelector('#pictures').textContent.includes(one)", arg=shown[0]
    )
    person.typed |= dict.fromkeys(group, label)
    assert table(tmp_path / "out") == person.typed
    page.keyboard.press("g")
    page.wait_for_selector("#pictures.single img")

    # On a phone, at night.
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert barriers(page) == []
    while len(person.typed) < 30:
        person.label_one()
    assert table(tmp_path / "out") == person.typed
    page.wait_for_function(
        "() => document.querySelector('#learner').textContent.includes('fitted to')"
    )
    assert barriers(page) == []

    # The label that was corrected to a wrong one is looked at again.
    page.wait_for_selector("#again:not([disabled])")
    page.keyboard.press("l")
    doubtful = page.locator(".review", has_text=name)
    doubtful.wait_for()
    assert barriers(page) == []
    doubtful.locator("button", has_text="Correct").click()
    doubtful.wait_for(state="detached")
    found = table(tmp_path / "out")[name]
    assert found is not None
    assert sum(a != b for a, b in zip(found, corrected, strict=True)) == 1
    assert errors == []


def test_near_duplicates_are_labelled_alike_with_one_key(
    browser: playwright.Browser,
    start: Callable[[], tuple[subprocess.Popen[str], str]],
    truth: Truth,
    tmp_path: Path,
) -> None:
    _, address = start()
    page = browser.new_page()
    page.set_default_timeout(SECONDS * 1000)
    page.goto(address)
    page.wait_for_function(
        "() => !/ read so far|starting/.test(document.querySelector('#learner').textContent)"
    )
    page.reload()  # what was handed out before the pool was read names no near-duplicates
    page.wait_for_selector("#pictures img")
    person = Person(page, truth)
    pair = {"000.png", "copy.png"}
    while person.name not in pair:
        person.label_one()
    assert page.locator("#alike .tile").count() == 1
    assert barriers(page) == []
    label = truth[person.name]
    page.keyboard.press("d")
    assert page.get_attribute("#alike .tile", "aria-pressed") == "true"
    person.mark(label)
    person.enter()
    found = table(tmp_path / "out")
    assert {name: found[name] for name in pair} == dict.fromkeys(pair, label)
