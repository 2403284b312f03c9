"""A labelling session: what the page asks for and what is answered, by several tabs at once."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import RLock
from typing import Any

from labelling.page.answers import Answer, Answers, Label
from labelling.page.journal import Journal, Record
from labelling.page.learner_state import LearnerState
from labelling.page.messages import Labels, Message, Progress, Ranking
from labelling.page.output import LabelledFolder
from labelling.page.queue import RANDOM, Asked, Queue, Status
from shared.errors import ConfigurationError

logger = logging.getLogger(__name__)

JOURNAL = "journal.jsonl"
VERSION = 1
LOOK_ALIKE, DUPLICATE = "look-alike", "duplicate"
MOST_DUPLICATES = 24  # that are shown beside an image
PACE_ANSWERS = 50  # the last answers that the pace is taken from
PAUSE = 60.0  # seconds; who needs longer for an image was away


@dataclass(frozen=True)
class Project:
    """What is labelled, as the command line says.

    pool : folder of the images; names are relative to it.
    share : every so many-th image is drawn at random.
    """

    pool: Path
    out: Path
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    seed: int = 0
    share: int = 5


class LabellingSession:
    """Answers and queue of one project. Every public method may be called from any thread.

    clock : seconds since 1970.
    """

    def __init__(
        self,
        project: Project,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.project = project
        self._tell: Callable[[Labels], None] | None = None
        self._clock = clock
        self._lock = RLock()
        project.out.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(project.out / JOURNAL)
        self._check_opening()
        self._answers = Answers(self._journal.records)
        self._row = {name: row for row, name in enumerate(project.names)}
        self.queue = Queue(project.names, project.seed, project.share)
        self._learner = LearnerState(project.class_names, self._journal.records)
        self._left_out: dict[int, str] = {}
        self._kept = {_kept(record) for record in self._journal.records if record["kind"] == "kept"}
        self._folder = LabelledFolder(project.out, project.pool, project.class_names)
        self._settle(self._row, drawn=self._drawn_before())
        if images := self._answers.images:
            self._folder.write(images)  # a killed process may have left it behind the journal

    def close(self) -> None:
        """Another process may go on with this project."""
        self._journal.close()

    @property
    def labels(self) -> dict[int, Label]:
        """Row -> label, of all images of the pool that have one."""
        with self._lock:
            found = self._answers.images.items()
            return {self._row[n]: label for n, label in found if label and n in self._row}

    def start_learning(self, tell: Callable[[Labels], None]) -> None:
        """From now on, `tell` is called with what is labelled; first with all that is."""
        with self._lock:
            self._tell = tell
            tell(Labels(self.labels, tuple(self.queue.fair_rows)))

    def receive(self, message: Message) -> None:
        """Take in what the learner says."""
        with self._lock:
            for record in self._learner.take(message):
                self._journal.append({**record, "time": self._clock()})
            if isinstance(message, Ranking):
                self.queue.ranking, self.queue.by = message.rows, message.by
            elif isinstance(message, Progress):
                self.queue.groups = message.groups
                elsewhere = dict.fromkeys(message.known_elsewhere, "labelled already, elsewhere")
                for row, why in {**message.damaged, **elsewhere}.items():
                    if self.queue.status[row] is Status.OPEN:
                        self._left_out[row] = why
                        self.queue.settle(row, Status.LEFT_OUT)
                        logger.info("%s is left out: %s", self.project.names[row], why)

    def learner_ended(self) -> None:
        """The learner's process has ended by itself; pictures are drawn at random."""
        with self._lock:
            self._learner.ended, self._tell = True, None
            self.queue.ranking = ()
            logger.warning("the learner has stopped; pictures are drawn at random")

    def learner(self) -> dict[str, Any] | None:
        """How the learner fares, for the page; None where there is none."""
        with self._lock:
            if self._tell is None and not self._learner.ended:
                return None
            shown = self._learner.shown(self.labels.values())
            return {**shown, "n_again": len(self.doubts())}

    def prediction(self, row: int) -> list[float]:
        """What the learner expects of an image, which was asked for; empty where it cannot tell.

        Raises ValueError where there is no such image.
        """
        with self._lock:
            self._check_rows([row])
            name = self.project.names[row]
            self._journal.append({"kind": "shown", "image": name, "time": self._clock()})
            scores = self._learner.scores
            found = [] if scores is None else scores.probabilities[row].tolist()
            return [] if any(map(math.isnan, found)) else found

    def doubts(self) -> list[dict[str, Any]]:
        """Labels that the learner contradicts, the most doubtful first, unless they were kept."""
        with self._lock:
            scores = self._learner.scores
            labels, found = self.labels, list[dict[str, Any]]()
            for doubt in scores.doubts if scores else ():
                name = self.project.names[doubt.row]
                kept = (name, doubt.class_index, doubt.label) in self._kept
                if labels.get(doubt.row) == doubt.label and not kept:
                    card = self._card(Asked(doubt.row, "again"))
                    which = {"class": doubt.class_index, "probability": doubt.probability}
                    found.append({**card, **which})
            return found

    def keep(self, row: int, class_index: int) -> None:
        """A label was looked at again, and is right."""
        with self._lock:
            self._check_rows([row])
            name, label = self.project.names[row], self.labels.get(row)
            record = {"kind": "kept", "image": name, "class": class_index, "label": label}
            self._journal.append({**record, "time": self._clock()})
            self._kept.add(_kept(record))

    def hand_out(self, tab: str, n: int, held: Sequence[int] = ()) -> list[dict[str, Any]]:
        """The next `n` images for a tab; those that it holds stay its own."""
        with self._lock:
            self.queue.claim(tab, self._known_rows(held))
            return [self._with_duplicates(tab, one) for one in self.queue.hand_out(tab, n)]

    def hand_out_alike(self, tab: str, n: int, held: Sequence[int] = ()) -> list[dict[str, Any]]:
        """The next image for a tab, and up to `n` - 1 open ones that look like it."""
        with self._lock:
            self.queue.claim(tab, self._known_rows(held))
            if not (asked := self.queue.hand_out(tab, 1)):
                return []
            row = asked[0].row
            ranking = self._learner.ranking
            near = [
                *self.queue.groups.get(row, ()),
                *(ranking.alike.get(row, ()) if ranking else ()),
            ]
            alike = [other for other in dict.fromkeys(near) if self.queue.is_free(other)][: n - 1]
            self.queue.claim(tab, alike)
            asked += [Asked(other, LOOK_ALIKE) for other in alike]
            if len(asked) == 1:  # nothing is known of what looks alike yet
                asked += self.queue.hand_out(tab, n - 1)
            return [self._card(one) for one in asked]

    def release(self, tab: str) -> None:
        """A tab was closed."""
        with self._lock:
            self.queue.release(tab)

    def answer(
        self,
        answer_id: str,
        tab: str,
        rows: Sequence[int],
        whys: Sequence[str],
        label: Label | None,
        seconds: float,
        prediction_shown: bool,
    ) -> None:
        """Write down an answer for `rows`; once, however often it is sent. None is "unsure".

        Raises ValueError where a row or a label is none of this project's.
        """
        with self._lock:
            if answer_id in self._answers:
                return
            self._check(rows, whys, label)
            answer = Answer(
                answer_id,
                tab,
                self._clock(),
                tuple(self.project.names[row] for row in rows),
                tuple(whys),
                label,
                seconds,
                prediction_shown,
            )
            self._journal.append(answer.record)
            self._answers.add(answer)
            self._settle(answer.images, drawn=_drawn([answer]))
            self._folder.write(self._answers.images)

    def undo(self, tab: str) -> list[dict[str, Any]]:
        """Take back a tab's last answer: its images, to be shown again; none where nothing is."""
        with self._lock:
            answer = self._answers.last_of(tab)
            if answer is None:
                return []
            self._journal.append({"kind": "undo", "of": answer.id, "time": self._clock()})
            self._answers.undo(answer.id)
            self._settle(answer.images)
            self._folder.write(self._answers.images)
            pairs = zip(answer.images, answer.whys, strict=True)
            asked = [Asked(self._row[name], why) for name, why in pairs if name in self._row]
            self.queue.claim(tab, [one.row for one in asked])
            given = None if answer.label is None else list(answer.label)
            return [{**self._card(one), "label": given} for one in asked]

    def history(self, n: int) -> list[dict[str, Any]]:
        """The last `n` images that were answered, the newest first, each once."""
        with self._lock:
            seen = dict[str, str]()
            for answer in reversed(self._answers.current):
                for name, why in zip(answer.images, answer.whys, strict=True):
                    if name in self._row and len(seen) < n:
                        seen.setdefault(name, why)
            return [self._card(Asked(self._row[name], why)) for name, why in seen.items()]

    def counts(self) -> dict[str, Any]:
        """How far the work has come, and how fast it goes."""
        with self._lock:
            status = self.queue.status
            of = {one: status.count(one) for one in Status}
            return {
                "images": len(status),
                "labelled": of[Status.LABELLED],
                "unsure": of[Status.UNSURE],
                "left_out": of[Status.LEFT_OUT],
                "remaining": of[Status.OPEN],
                "fair": len(self.queue.fair_rows),
                "per_minute": self._pace(),
            }

    def _check_opening(self) -> None:
        """Raises ConfigurationError where the journal is another project's."""
        opening = {
            "kind": "opened",
            "version": VERSION,
            "classes": list(self.project.class_names),
            "seed": self.project.seed,
            "share": self.project.share,
        }
        if not self._journal.records:
            self._journal.append(opening)
            return
        before = self._journal.records[0]
        for key, value in opening.items():
            if before.get(key) != value:
                was, now = before.get(key), value
                self._journal.close()
                raise ConfigurationError(
                    "other-project",
                    f"{self.project.out} was begun with {key} {was}, and now {key} is {now}. Go on "
                    "with what it was begun with, or give a new --out.",
                )

    def _check(self, rows: Sequence[int], whys: Sequence[str], label: Label | None) -> None:
        if not rows or len(rows) != len(set(rows)) or len(rows) != len(whys):
            raise ValueError(f"Expected different images and a reason for each; got {rows}.")
        self._check_rows(rows)
        n_classes = len(self.project.class_names)
        if label is not None and (len(label) != n_classes or not set(label) <= {0, 1}):
            raise ValueError(f"A label has {n_classes} values of 0 or 1; got {label}.")

    def _check_rows(self, rows: Sequence[int]) -> None:
        if bad := [row for row in rows if not 0 <= row < len(self.project.names)]:
            raise ValueError(f"The pool has {len(self.project.names)} images; got {bad}.")

    def _known_rows(self, rows: Sequence[int]) -> list[int]:
        return [row for row in rows if 0 <= row < len(self.project.names)]

    def _with_duplicates(self, tab: str, asked: Asked) -> dict[str, Any]:
        """The card of an image, and of its near-duplicates that are open: they become the tab's."""
        near = self.queue.groups.get(asked.row, ())
        alike = [row for row in near if self.queue.is_free(row)][:MOST_DUPLICATES]
        self.queue.claim(tab, alike)
        return {
            **self._card(asked),
            "alike": [self._card(Asked(row, DUPLICATE)) for row in alike],
        }

    def _settle(
        self, names: Sequence[str] | Mapping[str, int], drawn: frozenset[str] = frozenset()
    ) -> None:
        """Tell the queue and the listener what the answers for `names` are now."""
        changed = dict[int, Label | None]()
        for name in names:
            answer, row = self._answers.of(name), self._row.get(name)
            if row is None:  # it is no longer in the pool; its label stays
                continue
            if answer is None:
                status = Status.OPEN
            else:
                status = Status.UNSURE if answer.label is None else Status.LABELLED
            if self.queue.status[row] is not Status.LEFT_OUT or answer is not None:
                self.queue.settle(row, status, drawn=name in drawn)
            changed[row] = answer.label if answer else None
        if self._tell is not None and changed:
            self._tell(Labels(changed, tuple(self.queue.fair_rows)))

    def _drawn_before(self) -> frozenset[str]:
        return _drawn(self._answers.current)

    def _card(self, asked: Asked) -> dict[str, Any]:
        """What the page receives of an image."""
        name = self.project.names[asked.row]
        answer = self._answers.of(name)
        return {
            "row": asked.row,
            "name": name,
            "why": asked.why,
            "fair": asked.why == RANDOM or self.queue.is_fair(asked.row),
            "label": list(answer.label) if answer and answer.label else None,
        }

    def _pace(self) -> float | None:
        """Images a minute over the last answers, without pauses; None before there are two."""
        last = self._answers.current[-PACE_ANSWERS:]
        seconds = sum(min(b.time - a.time, PAUSE) for a, b in pairwise(last))
        images = sum(len(answer.images) for answer in last[1:])
        return 60 * images / seconds if seconds > 0 else None


def _kept(record: Record) -> tuple[str, int, Label | None]:
    label = record["label"]
    return record["image"], record["class"], None if label is None else tuple(label)


def _drawn(answers: Sequence[Answer]) -> frozenset[str]:
    """Images that were asked for as random."""
    pairs = (pair for a in answers for pair in zip(a.images, a.whys, strict=True))
    return frozenset(name for name, why in pairs if why == RANDOM)
