"""The plan of an evaluation: which submissions buy with which budgets and seeds, scored how."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.random_streams import stream_seed
from evaluator.data.dataset import Splits
from evaluator.experiment.submissions import Submission
from evaluator.records.trial import REFERENCES, Pair, Trial
from evaluator.training.pipelines import Pipeline
from shared.errors import ConfigurationError

PUBLIC_PAIRS = (Pair(621, 17), Pair(621, 51), Pair(1889, 17), Pair(1889, 51), Pair(1321, 34))
ROUND_PAIRS = {1: (Pair(3000, 180),), 2: PUBLIC_PAIRS}
POOL = 10_000  # unlabelled images of the challenge
ANOTHER_TRAINING = 1000  # between the training seeds of one purchase; more than anyone's --seeds
LABELS, MINUTES = (500, 2000), (15, 60)  # the rectangle that round 2's pairs come from


@dataclass(frozen=True)
class Plan:
    """Everything an evaluation does, before it does it.

    Every purchase seed is scored under `training_seeds` post-purchase seeds, the same ones for
    every strategy, so that strategies are compared in pairs.
    """

    splits: Splits
    submissions: tuple[Submission, ...]
    strategies: tuple[str | None, ...]  # None: whatever the submission itself is set to
    pairs: tuple[Pair, ...]
    seeds: int
    training_seeds: int
    pipelines: tuple[Pipeline, ...]  # none where the submission's own predictions are scored
    reference_seeds: int = 1  # of the row `all`, which costs most and varies least
    conditions: str = ""  # see Trial
    references: tuple[str, ...] = REFERENCES
    first_seed: int = 0

    def __post_init__(self) -> None:
        for submission in self.submissions:
            _ = submission.code  # as it is now, before anything runs

    def reference_trials(self, strategy: str) -> Iterator[Trial]:
        """One of the evaluator's own rows; `all` under fewer seeds, because it costs most."""
        if not self.pipelines or strategy not in self.references:
            return
        seeds = min(self.reference_seeds, self.seeds) if strategy == "all" else self.seeds
        for seed in range(self.first_seed, self.first_seed + seeds):
            yield Trial(self.splits.name, self.splits.fingerprint, strategy, None, seed)

    def purchases(self) -> Iterator[Trial]:
        """What the submissions buy, seed by seed, so that there are early comparisons."""
        for seed in range(self.first_seed, self.first_seed + self.seeds):
            for pair in self.pairs:
                for submission in self.submissions:
                    for strategy in self.strategies:
                        yield Trial(
                            self.splits.name,
                            self.splits.fingerprint,
                            strategy,
                            pair,
                            seed,
                            submission.code,
                            self.conditions,
                            submission.name,
                        )

    def trials(self) -> list[Trial]:
        """In the order they are run: the cheapest reference first, the most expensive last."""
        return [
            *self.reference_trials("none"),
            *self.purchases(),
            *self.reference_trials("all"),
        ]

    def labels(self) -> tuple[str, ...]:
        """The rows that the submissions have in tables."""
        return tuple(dict.fromkeys(trial.label for trial in self.purchases()))

    def submission_of(self, trial: Trial) -> Submission:
        """The submission that buys in a trial."""
        return next(one for one in self.submissions if one.name == trial.submission)

    def trainings(self, trial: Trial) -> list[tuple[Pipeline, int]]:
        """The post-purchase trainings of one trial: pipelines and their training seeds.

        The first is the purchase's own seed, so that more of either keep what is done.
        """
        return [
            (pipeline, trial.seed + number * ANOTHER_TRAINING)
            for pipeline in self.pipelines
            for number in range(self.training_seeds)
        ]


def parse_pairs(words: Sequence[str]) -> tuple[Pair, ...]:
    """Pairs from `public`, `random:N` (drawn from the challenge's rectangle) or `B:M` words.

    Raises ConfigurationError for anything else.
    """
    pairs: list[Pair] = []
    for word in words:
        if word == "public":
            pairs += PUBLIC_PAIRS
        elif word.startswith("random:"):
            pairs += _random_pairs(word)
        else:
            pairs.append(_one_pair(word))
    return tuple(dict.fromkeys(pairs))


def scaled_pairs(pairs: Sequence[Pair], share: float) -> tuple[Pair, ...]:
    """Budgets cut to a data set that is `share` of the challenge's, at least 1 label and 6 s.

    Pairs that are equal then are one.
    """
    scaled = (Pair(max(1, round(p.budget * share)), max(0.1, p.minutes * share)) for p in pairs)
    return tuple(dict.fromkeys(Pair(p.budget, round(p.minutes, 2)) for p in scaled))


def _one_pair(word: str) -> Pair:
    budget, colon, minutes = word.partition(":")
    try:
        pair = Pair(int(budget), float(minutes))
    except ValueError:
        pair = Pair(0, 0)
    if not colon or pair.budget < 1 or not 0 < pair.minutes < float("inf"):
        raise ConfigurationError(
            "bad-budget",
            f"--pairs {word}: expected LABELS:MINUTES such as 621:17, `public`, or `random:N`.",
        )
    return pair


def _random_pairs(word: str) -> list[Pair]:
    count, _, seed = word.removeprefix("random:").partition(":")
    if not count.isdecimal() or int(count) < 1 or (seed and not seed.isdecimal()):
        raise ConfigurationError(
            "bad-budget", f"--pairs {word}: expected random:N or random:N:SEED, e.g. random:5."
        )
    rng = random.Random(stream_seed(int(seed or 0), "budget pairs"))
    return [Pair(rng.randint(*LABELS), rng.randint(*MINUTES)) for _ in range(int(count))]
