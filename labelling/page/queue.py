"""Which image is asked for next: in turns the learner's wishes and a random sample of the pool."""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

RANDOM = "random"
CLAIM_SECONDS = 300.0  # for which an image that was handed out is not handed to another tab


class Status(Enum):
    """Where an image stands."""

    OPEN = "open"
    LABELLED = "labelled"
    UNSURE = "unsure"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class Asked:
    """An image that is handed out.

    why : "random" where it was drawn for the fair sample, else the name of what chose it.
    """

    row: int
    why: str


class Queue:
    """Hands out images of the pool, each to one tab at a time.

    Every `share`-th image is the next of a random order that was fixed beforehand. What has a label
    among the first of that order, up to the last one asked for as random, is the fair sample:
    whether the learner chose an image, too, has no say in whether it belongs there. The others are
    the most wanted of the last ranking.

    names : of the images; the random order depends on these and `seed` alone, so that images that
        are added to the pool later find their places among the others.
    clock : in seconds.
    """

    def __init__(
        self,
        names: Sequence[str],
        seed: int,
        share: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        keys = [
            hashlib.blake2b(f"{seed}/{name}".encode(errors="surrogateescape")) for name in names
        ]
        self.order = sorted(range(len(names)), key=lambda row: keys[row].digest())
        self.position = dict(zip(self.order, range(len(names)), strict=True))
        self.status = [Status.OPEN] * len(names)
        self.drawn = 0  # so many of the order, the first ones, have been asked for as random
        self.ranking: Sequence[int] = ()
        self.by = RANDOM  # what made the ranking
        self.groups: Mapping[
            int, Sequence[int]
        ] = {}  # row -> all of its near-duplicates, itself too
        self._share = share
        self._clock = clock
        self._claims: dict[int, tuple[str, float]] = {}
        self._handed = 0

    def settle(self, row: int, status: Status, *, drawn: bool = False) -> None:
        """An image was answered, undone or left out; `drawn` if it was asked for as random."""
        self.status[row] = status
        self._claims.pop(row, None)
        if drawn:
            self.drawn = max(self.drawn, self.position[row] + 1)

    @property
    def fair_rows(self) -> list[int]:
        """The fair sample: images with a label that were drawn at random from the pool."""
        drawn = self.order[: self.drawn]
        return [row for row in drawn if self.status[row] is Status.LABELLED]

    def is_fair(self, row: int) -> bool:
        """Whether an image belongs to the fair sample, once it has a label."""
        return self.position[row] < self.drawn

    def hand_out(self, tab: str, n: int) -> list[Asked]:
        """Up to `n` images for a tab, none that another holds; unsure ones last."""
        found = list[Asked]()
        while len(found) < n and (asked := self._next()) is not None:
            self.claim(tab, [asked.row])
            self._handed += 1
            found.append(asked)
        return found

    def claim(self, tab: str, rows: Iterable[int]) -> None:
        """Hold images for a tab, for some minutes from now."""
        until = self._clock() + CLAIM_SECONDS
        self._claims |= dict.fromkeys(rows, (tab, until))

    def release(self, tab: str) -> None:
        """A tab holds nothing any more."""
        self._claims = {row: claim for row, claim in self._claims.items() if claim[0] != tab}

    def is_free(self, row: int) -> bool:
        """Whether an image is open and no tab holds it."""
        return self.status[row] is Status.OPEN and not self._is_claimed(row)

    def _is_claimed(self, row: int) -> bool:
        return row in self._claims and self._claims[row][1] > self._clock()

    def _next(self) -> Asked | None:
        if self._handed % self._share:
            wanted = (row for row in self.ranking if self.is_free(row) and not self._is_known(row))
            if (row := next(wanted, None)) is not None:
                return Asked(row, self.by)
        if (row := next((row for row in self.order if self.is_free(row)), None)) is not None:
            return Asked(row, RANDOM)
        unsure = (row for row in self.order if self.status[row] is Status.UNSURE)
        row = next((row for row in unsure if not self._is_claimed(row)), None)
        return None if row is None else Asked(row, "unsure before")

    def _is_known(self, row: int) -> bool:
        """Whether a near-duplicate has a label, or is being asked for."""
        alike = self.groups.get(row, ())
        return any(
            self.status[other] is Status.LABELLED or self._is_claimed(other)
            for other in alike
            if other != row
        )
