"""What the page knows of the learner: its messages, and what they come to in words."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from labelling.page.answers import Label
from labelling.page.journal import Record
from labelling.page.messages import Message, Outlook, Progress, Ranking, Scores
from labelling.page.queue import RANDOM

BY = {
    "typiclust": "typical pictures of every kind are asked for (typiclust)",
    RANDOM: "pictures are drawn at random",
}


class LearnerState:
    """The last message of each kind, and forecasts beside what then happened.

    records : of the journal; forecasts and outcomes in it are taken up again.
    """

    def __init__(self, class_names: Sequence[str], records: Iterable[Record] = ()) -> None:
        self.class_names = class_names
        self.progress: Progress | None = None
        self.ranking: Ranking | None = None
        self.scores: Scores | None = None
        self.outlook: Outlook | None = None
        self.ended = False
        self._pending: Record | None = None
        self._past: tuple[Record, Record] | None = None
        for record in records:
            self._take_record(record)

    def take(self, message: Message) -> list[dict[str, Any]]:
        """Take in a message; returns records for the journal that it gives rise to."""
        records = list[dict[str, Any]]()
        match message:
            case Progress():
                self.progress = message
            case Ranking():
                self.ranking = message
            case Scores():
                self.scores = message
                pending = self._pending
                if pending is not None and message.n_labels >= pending["at"]:
                    outcome = {"kind": "outcome", "at": pending["at"], "labels": message.n_labels}
                    records.append({**outcome, "macro": message.macro_f1})
            case Outlook():
                self.outlook = message
                if self._pending is None and message.macro is not None:
                    records.append(
                        {
                            "kind": "forecast",
                            "labels": message.n_labels,
                            "at": message.macro.labels,
                            "macro": vars(message.macro),
                        }
                    )
        for record in records:
            self._take_record(record)
        return records

    def shown(self, labels: Iterable[Label]) -> dict[str, Any]:
        """For the page. `labels` : all that are given, to be counted."""
        found: dict[str, Any] = {"status": self._status(), "forecast": self._forecast()}
        if (scores := self.scores) is not None:
            columns = list(zip(*labels, strict=True)) or [()] * len(self.class_names)
            found |= {
                "f1": [None if math.isnan(value) else value for value in scores.f1],
                "macro_f1": None if math.isnan(scores.macro_f1) else scores.macro_f1,
                "n_fair": scores.n_fair,
                "is_fair": scores.is_fair,
                "n_labels": scores.n_labels,
                "positives": [sum(column) for column in columns],
            }
        return found

    def _take_record(self, record: Record) -> None:
        if record["kind"] == "forecast":
            self._pending = record
        elif record["kind"] == "outcome" and self._pending is not None:
            self._past, self._pending = (self._pending, record), None

    def _status(self) -> str:
        if self.ended:
            return (
                "It has stopped, for the reason that stands in the terminal; pictures are drawn at "
                "random. Start label.py again to have it back."
            )
        if self.progress is None:
            return "It is starting; until then pictures are drawn at random."
        by = self.ranking.by if self.ranking else RANDOM
        parts = [BY.get(by, f"the most doubtful pictures are asked for ({by})")]
        if self.scores is not None:
            of = f"heads on frozen features, fitted to {self.scores.n_labels:,} labels"
            chance = ", no better than chance yet" if self.scores.near_chance else ""
            parts.append(f"{of} in {self.scores.seconds:.0f} s{chance}")
        if self.progress.done < self.progress.total:
            share = f"{self.progress.done:,} of {self.progress.total:,}"
            parts.append(f"{share} pictures read so far")
        text = "; ".join(parts)
        return f"{text[0].upper()}{text[1:]}."

    def _forecast(self) -> list[str]:
        lines = list[str]()
        if (outlook := self.outlook) is not None:
            another = f"Another {outlook.more} like these"
            if outlook.macro is not None:
                lines.append(f"{another}: macro F1 {outlook.macro}.")
            else:
                lines.append(f"Cannot tell: {outlook.refusal}.")
            lines += [
                f"{self.class_names[c]}: {one}" for c, one in sorted(outlook.of_class.items())
            ]
        if self._past is not None:
            said, came = self._past
            macro = said["macro"]
            lines.append(
                f"At {said['labels']} labels {macro['then']:.2f} [{macro['low']:.2f}, "
                f"{macro['high']:.2f}] was forecast for {said['at']}; it became "
                f"{came['macro']:.2f}."
            )
        return lines
