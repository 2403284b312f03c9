"""How fast this machine trains and infers, measured on a throwaway net before any planning."""

from typing import NamedTuple

import torch
from torch import Tensor

from core.random_streams import stream
from core.symmetries import N_SYMMETRIES
from models.learner import INFERENCE_BATCHES, Learner

WARM_UP_IMAGES = 4
EPOCHS_OF_A_FIT = 10  # of the fits between rounds, unless PlannerSettings.refit_epochs says other


class Speed(NamedTuple):
    """Seconds per labelled image and epoch of a fit, and per image looked at; all members."""

    fit: float
    look: float


def measure_speed(
    learner: Learner, images: Tensor, labels: Tensor, seconds: float = 2.0, steps: int = 12
) -> Speed:
    """Train up to `steps` steps, or `seconds`, on `images` uint8 (L, 3, S, S), then look once.

    The net is thrown away and the learner is not changed, but for a batch size that its memory
    cannot hold. Steps that wake the device up are not counted: on a GPU the very first loads
    libraries, and the first of a whole batch looks for kernels of that size, for up to tens of
    seconds each. The second says whether a whole batch can be tried.
    """
    rehearsal = Learner(learner.settings, learner.seed, learner.clock)
    rehearsal.start_members(labels.shape[1], images.shape[-1], announce=False)
    clock = learner.clock
    rng = stream(learner.seed, "learner/speed")

    def step(n: int) -> float:
        """Seconds for each of `n` images."""
        batch = torch.randint(len(images), (n,), generator=rng)
        started = clock()
        rehearsal.train_on(rehearsal.members_[0], images, labels, batch, batch % N_SYMMETRIES, 0.0)
        rehearsal.synchronise()
        return (clock() - started) / n

    step(WARM_UP_IMAGES)
    taken, n_looked = [step(WARM_UP_IMAGES)], INFERENCE_BATCHES * WARM_UP_IMAGES
    if taken[0] * WARM_UP_IMAGES < seconds:  # else it is too slow to try a whole batch
        n = min(learner.batch_size_, len(images))
        first = step(n)
        taken = [first] if first <= 2 * taken[0] else []  # much dearer: it was waking up again
        began = clock()
        while not taken or (len(taken) < steps and clock() - began <= seconds):
            taken.append(step(n))
        n_looked = INFERENCE_BATCHES * rehearsal.batch_size_
    learner.batch_size_ = rehearsal.batch_size_
    passes = max(1.0, learner.settings.members - 1)
    block = images[torch.randint(len(images), (n_looked,), generator=rng)]
    rehearsal.look(block[:1])
    started = clock()
    rehearsal.look(block)
    look = (clock() - started) / n_looked
    # A fit ends with a look at what its members hold out, at most one look over its epochs.
    return Speed(_typical(taken) * passes + look / EPOCHS_OF_A_FIT, look)


def _typical(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).median())
