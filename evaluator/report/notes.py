"""What a submission told of its purchases, read from OUT/notes/TRIAL.json.

It comes from the submission, so it is checked again, as it was before the judge wrote it there.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from evaluator.worker.outcome import Notes, check_notes

LARGEST_FILE = 64 * 2**20  # bytes of a file that is read


def read_notes(
    folders: Sequence[Path], trial: str, purchased: Sequence[int], n_classes: int
) -> tuple[Notes, str]:
    """The notes on what `trial` bought, from the first folder that has some, and a complaint.

    The complaint says why there are none though there is a file.
    """
    if Path(trial).name != trial:
        return {}, f"{trial!r} is no name of a file"
    for folder in folders:
        path = folder / "notes" / f"{trial}.json"
        if path.is_file():
            try:
                if path.stat().st_size > LARGEST_FILE:
                    raise ValueError(f"it is larger than {LARGEST_FILE // 2**20} MiB")
                notes = check_notes(json.loads(path.read_bytes()), set(purchased), n_classes)
            except (OSError, ValueError, RecursionError) as error:
                return {}, f"{path} was not used: {error}"
            return notes or {}, "" if notes else f"{path} holds no note on what was bought"
    return {}, ""
