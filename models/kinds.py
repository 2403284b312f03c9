"""The kinds of learner, by what `LearnerSettings.backbone` says."""

import time

from models.frozen_learner import FrozenLearner
from models.image_bank import Clock
from models.learner import Learner
from models.network_learner import NetworkLearner
from models.settings import LearnerSettings


def build_learner(settings: LearnerSettings, seed: int, clock: Clock = time.monotonic) -> Learner:
    """Heads on frozen features where `settings` name such, else networks that are trained."""
    kind = FrozenLearner if settings.resolved().is_frozen else NetworkLearner
    return kind(settings, seed, clock)
