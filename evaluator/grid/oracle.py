"""The row `oracle`: what the judge buys with every label of the pool and a network in hand.

An image is worth what a network can still learn from it: its loss under the network that knows
what was bought so far, less its loss under networks that know half of the pool and not this image
(Mindermann et al. 2022, "Prioritized Training on Points that are Learnable, Worth Learning, and
Not Yet Learnt"). The second loss takes out what nobody can learn. Without it the highest errors
(EL2N, Paul et al. 2021) are images at the border of their label, and such a purchase is worth no
more than one that looks at labels alone (docs/results.md). Validation images are never touched.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from evaluator.randomness import stream, stream_seed
from evaluator.training.pipelines import PIPELINES, Pipeline
from evaluator.training.scoring import Scorer, source_digest

NETWORK = PIPELINES["quick"]  # learns from the purchase, whatever pipeline scores it
KNOWING = replace(NETWORK, epochs=8)  # learns half of the pool: many images, fewer rounds of them
ROUNDS = 4

Tell = Callable[[float], None]  # is told the share that is done
Losses = NDArray[np.float64]  # (N,), one of each image of the pool


def oracle(scorer: Scorer, budget: int, seed: int, tell: Tell = lambda share: None) -> list[int]:
    """The `budget` rows of the pool that are worth most, bought in rounds, as in the module's text.

    Under one seed equal budgets buy the same; it is bought once.
    """
    return list(scorer.once(("oracle", budget, seed), lambda: _bought(scorer, budget, seed, tell)))


@cache
def oracle_code() -> str:
    """Changes when the oracle could buy something else on the same data and machine."""
    digest = hashlib.blake2b(digest_size=6)
    for part in (NETWORK.fingerprint(), KNOWING.fingerprint(), torch.__version__, source_digest()):
        digest.update(part.encode())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()


def oracle_trainings(
    n_training: int, n_pool: int, purchases: Iterable[tuple[int, int]]
) -> Iterator[tuple[Pipeline, int]]:
    """What it trains for purchases of (budget, seed): pipelines and numbers of images.

    The halves of the pool are learned once for all of them, and again by each process on a cluster.
    """
    different = set(purchases)
    for half in _halves(n_pool) if different else ():
        yield KNOWING, n_training + len(half)
    for budget, _ in different:
        known = n_training
        for size in _sizes(min(budget, n_pool)):
            yield NETWORK, known
            known += size


def _bought(scorer: Scorer, budget: int, seed: int, tell: Tell) -> list[int]:
    pool = scorer.splits.unlabelled
    sizes = _sizes(min(budget, len(pool)))
    hopeless = scorer.once(
        "oracle, hopeless", lambda: _hopeless(scorer, lambda share: tell(share / 2))
    )
    bought: list[int] = []
    for number, size in enumerate(sizes):
        learner = stream_seed(seed, f"oracle round {number}")

        def told(share: float, number: int = number) -> None:
            tell(0.5 + 0.5 * (number + share) / len(sizes))

        likely = scorer.probabilities(pool, bought, NETWORK, learner, told)
        worth = _losses(likely, pool.labels) - hopeless
        worth[bought] = -np.inf
        bought += np.argsort(-worth, kind="stable")[:size].tolist()
    return bought


def _hopeless(scorer: Scorer, tell: Tell) -> Losses:
    """Of each image of the pool the loss that remains when half of the pool is known, not it."""
    pool = scorer.splits.unlabelled
    losses = np.empty(len(pool))
    one, other = _halves(len(pool))
    for number, (known, asked) in enumerate(((one, other), (other, one))):

        def told(share: float, number: int = number) -> None:
            tell((number + share) / 2)

        learner = stream_seed(number, "oracle half")
        likely = scorer.probabilities(pool, known, KNOWING, learner, told)
        losses[asked] = _losses(likely, pool.labels)[asked]
    return losses


def _halves(n: int) -> tuple[list[int], list[int]]:
    """The rows of the pool in two halves, drawn at random; the same for every purchase."""
    shuffled = torch.randperm(n, generator=stream(0, "oracle halves")).tolist()
    return shuffled[: n // 2], shuffled[n // 2 :]


def _sizes(budget: int) -> list[int]:
    """Of each round; rounds are as equal as can be."""
    return [len(part) for part in np.array_split(np.arange(budget), ROUNDS) if len(part)]


def _losses(likely: torch.Tensor, labels: NDArray[np.integer]) -> Losses:
    """Cross-entropy of `likely` (N, C), summed over classes: (N,)."""
    truth = torch.from_numpy(np.array(labels)).double()
    sure = likely.double().clamp(1e-7, 1 - 1e-7)  # 0 and 1 are only rounded
    losses = F.binary_cross_entropy(sure, truth, reduction="none")
    return np.asarray(losses.sum(1).numpy(), dtype=np.float64)
