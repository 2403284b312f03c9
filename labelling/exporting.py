"""A labelled folder, or a batch that waits for its labels, as a file for another tool."""

from pathlib import Path

from labelling.formats.registry import ExportWishes, target_of, writer_of
from labelling.labelled_folder import LabelledFolder
from labelling.pictures import say
from shared.atomic_io import ensure_absent, write_file


def export(folder: Path, tool: str, out: Path, wishes: ExportWishes) -> Path:
    """Write the file that `tool` reads; returns its path.

    Raises DatasetError where the folder is not what it must be, or the file is there already.
    """
    writer, target = writer_of(tool), target_of(tool, out)
    ensure_absent(target)
    labelled = LabelledFolder.read(folder)
    written = writer.write(labelled, wishes)
    write_file(target, written.text.encode())
    for line in written.notes:
        say(line)
    waiting = labelled.shown.count(None)
    if waiting:
        say(f"{waiting:,} of {len(labelled.names):,} images are not labelled yet")
    if labelled.predicted and not (wishes.predictions and tool == "label-studio"):
        say(f"not carried over: {len(labelled.predicted):,} predictions")
    return target
