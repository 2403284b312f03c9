"""A page as a reader of HTML finds it, with the parser of the standard library."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from evaluator.analysis.folders import read_results
from evaluator.data.dataset import Splits
from evaluator.report.page import write_page

VOID = {"meta", "link", "img", "wbr"}


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
    write_page(results, out, baseline=baseline, splits=splits, folders=folders)
    return read(out)
