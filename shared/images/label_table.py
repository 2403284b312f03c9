"""`labels.csv` as a table: its rows with their lines, and which column is which class.

Spreadsheets save it in many ways, which are all read. What is ambiguous is refused with its line.
"""

import codecs
import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shared.errors import DatasetError
from shared.images.listing import where_content_is, why_absent
from shared.images.names import canonical, forms_in_words, look_alikes

SEPARATORS = (",", ";", "\t")  # what a German Excel saves as CSV; what any saves as "Unicode text"


@dataclass(frozen=True)
class Row:
    """A row of labels.csv, which spans several lines where a quoted cell has line breaks."""

    line: int
    last_line: int
    cells: list[str]


def read_rows(labels_csv: Path) -> list[Row]:
    """The rows that are not blank; the first of them is the header.

    Raises DatasetError where the file is not there, no text, no table, or has no row.
    """
    if os.path.lexists(labels_csv) and (why := why_absent(labels_csv)):
        raise DatasetError("labels-unreadable", f"{labels_csv} is not on this disk ({why}).")
    try:
        text = _decoded(labels_csv.read_bytes())
        rows = _without_blank_columns(list(_rows_of(text, _separator(text))))
    except FileNotFoundError as error:
        raise DatasetError(
            "labels-unreadable",
            f"{labels_csv.parent} is not there, or has no labels.csv; expected a folder with "
            f"images/ and labels.csv.{where_content_is(labels_csv)}",
        ) from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            "labels-unreadable",
            f'{labels_csv} is not UTF-8 text: {error}. Save it as "CSV UTF-8".',
        ) from error
    except (OSError, csv.Error) as error:
        raise DatasetError(
            "labels-unreadable", f"{labels_csv} is not a readable CSV file: {error}"
        ) from error
    if not rows:
        raise DatasetError(
            "labels-unreadable", f"{labels_csv} is empty; its first line must name the columns."
        )
    header = columns_named(rows[0].cells)
    if rows[0].last_line > rows[0].line and ("filename" not in header or len(rows) == 1):
        raise unclosed_quote(labels_csv, rows[0])
    return rows


def columns_named(header: Sequence[str]) -> list[str]:
    """The names of the columns in one Unicode form, `filename` in lower case however it is spelt.

    A class that a Mac wrote in one folder and Windows in another is one class.
    """
    names = [canonical(column.strip()) for column in header]
    return ["filename" if name.lower() == "filename" else name for name in names]


def class_columns(
    labels_csv: Path, cells: Sequence[str], class_names: Sequence[str] | None, *, others: str
) -> dict[str, int]:
    """Class name -> column number, in the order of `class_names` where given.

    cells : of the header.
    others : what has these class names, in words. Raises DatasetError where the header has others,
        or is none.
    """
    where = f"{labels_csv}, line 1"
    header = columns_named(cells)
    if "filename" not in header:
        raise DatasetError(
            "labels-columns", f"{where}: no column `filename`; the columns are {', '.join(header)}."
        )
    _refuse_repeated(labels_csv, cells)
    if "" in header:
        raise DatasetError(
            "labels-columns",
            f"{where}: column {header.index('') + 1} has no name. If it is an index that was "
            "written along, remove it.",
        )
    found = [column for column in header if column != "filename"]
    if not found:
        raise DatasetError(
            "labels-columns", f"{where}: there is no class column beside `filename`."
        )
    wanted = found if class_names is None else list(class_names)
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    if missing or extra:
        raise DatasetError(
            "classes-differ",
            f"{where}: the classes of {others} are {', '.join(wanted)}; this file "
            + "; ".join(
                part
                for part in (
                    f"lacks {', '.join(missing)}" if missing else "",
                    f"has {', '.join(extra)} besides" if extra else "",
                )
                if part
            )
            + ". Every labels.csv must have the same classes."
            + "".join(f" {words}." for words in look_alikes(missing, extra)),
        )
    return {name: header.index(name) for name in wanted}


def unclosed_quote(labels_csv: Path, row: Row) -> DatasetError:
    return DatasetError(
        "labels-row",
        f"{labels_csv}, line {row.line}: a quote is opened there and not closed on that line, so "
        f"that everything up to line {row.last_line} became one cell. Close it; a quote within a "
        "name is written twice.",
    )


def _decoded(content: bytes) -> str:
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf_16 else "utf-8-sig")


def _separator(text: str) -> str:
    """What the cells of `text` stand between: where in doubt, what makes most columns of line 1."""

    def fit(separator: str) -> tuple[bool, int]:
        header = next(_rows_of(text, separator), Row(1, 1, []))
        return "filename" in columns_named(header.cells), len(header.cells)

    return max(SEPARATORS, key=fit)  # the first of those that fit alike


def _rows_of(text: str, separator: str) -> Iterator[Row]:
    """The rows that are not blank. Raises csv.Error naming the line that a row begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:  # a cell of more than 128 KiB
            raise csv.Error(
                f"{error}, in the row that begins on line {line}. Is a quote opened there and not "
                "closed?"
            ) from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield Row(line, reader.line_num, cells)


def _without_blank_columns(rows: list[Row]) -> list[Row]:
    """Without the last columns, if they have no name and no value: a spreadsheet's leavings."""
    width = len(rows[0].cells) if rows else 0
    named = width
    while named and not rows[0].cells[named - 1].strip():
        named -= 1
    if any(cell.strip() for row in rows for cell in row.cells[named:width]):
        return rows
    return [replace(row, cells=row.cells[:named] + row.cells[width:]) for row in rows]


def _refuse_repeated(labels_csv: Path, cells: Sequence[str]) -> None:
    """Raise DatasetError where two columns have one name, also in two Unicode forms."""
    first: dict[str, int] = {}
    for column, name in enumerate(columns_named(cells)):
        other = first.setdefault(name, column)
        if name and other != column:
            forms = forms_in_words([cells[other].strip(), cells[column].strip()])
            raise DatasetError(
                "labels-columns",
                f"{labels_csv}, line 1: the column {name!r} stands there twice, as columns "
                f"{other + 1} and {column + 1}{forms}.",
            )
