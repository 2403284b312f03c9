"""How fast this machine trains and infers, measured on a throwaway network before any planning."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.random_streams import stream
from core.symmetries import N_SYMMETRIES
from models.learner import Speed
from models.member import INFERENCE_BATCHES

if TYPE_CHECKING:
    from models.network_learner import NetworkLearner

WARM_UP_IMAGES = 4
EPOCHS_OF_A_FIT = 10  # of the fits between rounds, unless PlannerSettings.refit_epochs says other


def measure_speed(
    learner: "NetworkLearner", images: Tensor, labels: Tensor, seconds: float = 2.0, steps: int = 12
) -> Speed:
    """Train up to `steps` steps, or `seconds`, on `images` uint8 (L, 3, S, S), then infer once.

    The network is thrown away and the learner is not changed, but for a batch size that its memory
    cannot hold. Warm-up steps are not counted: on a GPU the very first loads libraries, and the
    first of a full batch searches for kernels of that size, for up to tens of seconds each. The
    second says whether a full batch can be tried.
    """
    trial = type(learner)(learner.settings, learner.seed, learner.clock)
    trial.start_members(labels.shape[1], images.shape[-1], announce=False)
    clock = learner.clock
    rng = stream(learner.seed, "learner/speed")

    def step(n: int) -> float:
        """Seconds for each of `n` images."""
        batch = torch.randint(len(images), (n,), generator=rng)
        started = clock()
        trial.train_on(trial.members_[0], images, labels, batch, batch % N_SYMMETRIES, 0.0)
        trial.synchronise()
        return (clock() - started) / n

    step(WARM_UP_IMAGES)
    taken, n_looked = [step(WARM_UP_IMAGES)], INFERENCE_BATCHES * WARM_UP_IMAGES
    if taken[0] * WARM_UP_IMAGES < seconds:  # else it is too slow to try a whole batch
        n = min(learner.batch_size_, len(images))
        first = step(n)
        taken = [first] if first <= 2 * taken[0] else []  # much dearer: still warming up
        began = clock()
        while not taken or (len(taken) < steps and clock() - began <= seconds):
            taken.append(step(n))
        n_looked = INFERENCE_BATCHES * trial.batch_size_
    learner.batch_size_ = trial.batch_size_
    passes = max(1.0, learner.settings.members - 1)
    block = images[torch.randint(len(images), (n_looked,), generator=rng)]
    trial.infer(block[:1])
    started = clock()
    trial.infer(block)
    look = (clock() - started) / n_looked
    # A fit ends with inference on what its members hold out, at most one pass over its epochs.
    return Speed(_median(taken) * passes + look / EPOCHS_OF_A_FIT, look)


def _median(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).median())
