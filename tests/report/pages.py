"""A page as a reader of HTML finds it, with the parser of the standard library."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from evaluator.analysis.loading import read_results
from evaluator.data.dataset import Splits
from evaluator.report.page import write_page

VOID = {"meta", "link", "img", "wbr"}
BLOCKS = {"h1", "h2", "p", "li", "dt", "dd", "summary", "pre", "figcaption", "caption", "tr"}


@dataclass
class Page:
    """What a reader of HTML finds."""

    source: str
    text: str = ""
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)  # a line per paragraph, row, figure
    unbalanced: list[str] = field(default_factory=list)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def table(self, caption: str) -> dict[str, dict[str, str]]:
        """Row name -> column -> cell, of the first table whose caption begins so."""
        number = next(i for i, found in enumerate(self.captions) if found.startswith(caption))
        head, *rows = self.tables[number]
        return {row[0]: dict(zip(head, row, strict=True)) for row in rows}

    @property
    def sections(self) -> list[str]:
        return [section["id"] for section in self.all("section")]

    @property
    def figures(self) -> list[str]:
        """The alternative texts of the drawings."""
        return [image["alt"] for image in self.all("img") if image.get("class") == "drawing"]


class _Parser(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page, self.open = page, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.page.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.page.tables.append([])
            self.page.captions.append("")
        elif tag == "tr":
            self.page.tables[-1].append([])
        elif tag in ("th", "td"):
            self.page.tables[-1][-1].append("")
        if tag in BLOCKS:
            self.page.lines.append(f"{tag:>10} ")
        elif tag == "img":
            self.page.lines.append(f"{tag:>10} {attributes['alt']}")
        elif tag in ("th", "td"):
            self.page.lines[-1] += "| "

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.page.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.page.text += data
        if BLOCKS & set(self.open):
            self.page.lines[-1] += " ".join(data.split("\n"))
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
    page.lines = [" ".join(line.split()) for line in page.lines]
    return page


def report(*folders: Path, baseline: str = "random", splits: Splits | None = None) -> Page:
    results = read_results(folders)
    out = folders[0] / "report.html"
    write_page(results, out, baseline=baseline, splits=splits, folders=folders)
    return read(out)
