"""What has been answered: the journal's answers and undos, folded into one answer for each image.

Of several answers for one image the last counts; undoing it brings back the one before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from labelling.page.journal import Record

Label = tuple[int, ...]  # one 0 or 1 for each class


@dataclass(frozen=True)
class Answer:
    """One answer, for one image or for several at once.

    id : made by the page, so that an answer that is sent twice counts once.
    tab : the browser tab that it came from.
    time : seconds since 1970, when it was written down.
    images : names below the pool's folder.
    whys : why each was shown: "random", a strategy's name, "look-alike", "duplicate", "again".
    label : None for "unsure, later".
    seconds : that it took.
    prediction_shown : whether the learner's prediction had been asked for.
    """

    id: str
    tab: str
    time: float
    images: tuple[str, ...]
    whys: tuple[str, ...]
    label: Label | None
    seconds: float
    prediction_shown: bool

    @property
    def record(self) -> dict[str, Any]:
        """As it stands in the journal."""
        return {"kind": "answer", **vars(self)}

    @classmethod
    def read(cls, record: Record) -> "Answer":
        """Of the journal's record."""
        label = record["label"]
        return cls(
            record["id"],
            record["tab"],
            record["time"],
            tuple(record["images"]),
            tuple(record["whys"]),
            None if label is None else tuple(label),
            record["seconds"],
            record["prediction_shown"],
        )


class Answers:
    """All answers so far."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._by_id: dict[str, Answer] = {}
        self._undone: set[str] = set()
        self._of_image: dict[str, list[str]] = {}
        for record in records:
            if record["kind"] == "answer":
                self.add(Answer.read(record))
            elif record["kind"] == "undo":
                self.undo(record["of"])

    def __contains__(self, answer_id: str) -> bool:
        return answer_id in self._by_id

    def add(self, answer: Answer) -> None:
        """Take in an answer that the journal holds."""
        self._by_id[answer.id] = answer
        for image in answer.images:
            self._of_image.setdefault(image, []).append(answer.id)

    def undo(self, answer_id: str) -> Answer:
        """Take back an answer; whatever stood before it counts again."""
        answer = self._by_id[answer_id]
        self._undone.add(answer_id)
        for image in answer.images:
            self._of_image[image].remove(answer_id)
        return answer

    def last_of(self, tab: str) -> Answer | None:
        """The last answer of a tab that has not been undone."""
        own = (a for a in reversed(self._by_id.values()) if a.tab == tab)
        return next((a for a in own if a.id not in self._undone), None)

    def of(self, image: str) -> Answer | None:
        """The answer that counts for an image."""
        ids = self._of_image.get(image)
        return self._by_id[ids[-1]] if ids else None

    @property
    def images(self) -> dict[str, Label | None]:
        """Every image that was ever answered -> its label; None where it is open or undone."""
        answers = ((image, self.of(image)) for image in self._of_image)
        return {image: answer.label if answer else None for image, answer in answers}

    @property
    def current(self) -> Sequence[Answer]:
        """All that were not undone, in the order in which they came."""
        return [a for a in self._by_id.values() if a.id not in self._undone]
