"""How fast this machine trains and infers, measured on a throwaway net before any planning."""

from typing import NamedTuple

import torch
from torch import Tensor

from models.augment import WAYS
from models.learner import INFERENCE_BATCHES, Learner
from models.randomness import stream

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
    cannot hold. The first steps of each kind are not counted. The very first wakes the device up,
    which on a GPU takes seconds of loading libraries; the second says whether a whole batch can
    be tried.
    """
    rehearsal = Learner(learner.settings, learner.seed, learner.clock)
    rehearsal.start_members(labels.shape[1], images.shape[-1], announce=False)
    clock = learner.clock
    rng = stream(learner.seed, "learner/speed")

    def step(n: int) -> float:
        batch = torch.randint(len(images), (n,), generator=rng)
        started = clock()
        rehearsal.train_on(rehearsal.members_[0], images, labels, batch, batch % WAYS, 0.0)
        rehearsal.synchronise()
        return clock() - started

    step(WARM_UP_IMAGES)
    n, taken = WARM_UP_IMAGES, [step(WARM_UP_IMAGES)]
    if taken[0] < seconds:  # else it is too slow to try a whole batch
        n = min(learner.batch_size_, len(images))
    began = clock()
    while len(taken) <= steps and (len(taken) == 1 or clock() - began <= seconds):
        taken.append(step(n))
    learner.batch_size_ = rehearsal.batch_size_
    passes = max(1.0, learner.settings.members - 1)
    block = images[torch.randint(len(images), (INFERENCE_BATCHES * n,), generator=rng)]
    rehearsal.look(block[:n])
    started = clock()
    rehearsal.look(block)
    look = (clock() - started) / len(block)
    # A fit ends with a look at what its members hold out, at most one look over its epochs.
    return Speed(_typical(taken[1:]) / n * passes + look / EPOCHS_OF_A_FIT, look)


def _typical(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).median())
