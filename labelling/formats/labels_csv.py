"""Our own format: `labels.csv` with a column of names and one of 0 and 1 for each class."""

from labelling.formats.registry import reads
from labelling.formats.table import Entry, Source, Table, Wishes
from shared.errors import DatasetError
from shared.images.label_table import class_columns
from shared.images.layout import ZERO_ONE


def _is_labels_csv(source: Source) -> bool:
    if source.is_folder:
        return (source.path / "labels.csv").exists()
    return source.suffix == ".csv" and "filename" in map(str.lower, source.columns)


@reads("labels-csv", _is_labels_csv)
def read(source: Source, _: Wishes) -> Table:
    """A labelled folder, or its table. A line without any label is of an image without."""
    path = source.path / "labels.csv" if source.is_folder else source.path
    table = Source(path)
    columns = class_columns(path, table.rows[0].cells, None, others="the file")
    header = [column.lower() for column in table.columns]
    file_name = table.columns[header.index("filename")]
    names = {table.columns[column]: name for name, column in columns.items()}
    entries = list[Entry]()
    for line, cells in table.cells():
        values = {name: cells[column] for column, name in names.items()}
        for name, value in values.items():
            if value not in ZERO_ONE and any(values.values()):
                raise DatasetError(
                    "bad-label", f"{path}, line {line}: {name} is {value!r}; a label is 0 or 1."
                )
        labels = tuple(name for name, value in values.items() if ZERO_ONE.get(value))
        seen = labels if any(values.values()) else None
        entries.append(Entry(cells[file_name], seen, f"line {line}"))
    images = path.parent / "images"
    return Table(path, tuple(columns), tuple(entries), images if images.exists() else path.parent)
