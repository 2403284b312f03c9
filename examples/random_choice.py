"""A baseline that every strategy should beat: buys at random.

    python local_evaluation.py --submission examples/random_choice.py \\
        --recipe debug --pipeline quick --pairs 20:1
"""

import numpy as np


class ZEWDPCBaseRun:
    """Buys at random, each seed other images; predicts how common each class is.

    Parameters
    ----------
    seed : the evaluator passes the trial's seed to a constructor that takes one.
    """

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)

    def pre_training_phase(self, training_dataset, time_available=None, register_progress=print):
        labels = np.stack([training_dataset[i]["label"] for i in range(len(training_dataset))])
        self.prevalence = labels.mean(axis=0)  # (C,)

    def purchase_phase(
        self, unlabelled_dataset, training_dataset, budget, time_available, register_progress=print
    ):
        n = min(budget, len(unlabelled_dataset))
        chosen = self.rng.choice(len(unlabelled_dataset), n, replace=False)
        bought = {}
        for number, idx in enumerate(chosen.tolist(), start=1):
            bought[idx] = unlabelled_dataset.purchase_label(idx)
            register_progress(number / n)
        return bought

    def prediction_phase(self, test_dataset, register_progress=print):
        common = (self.prevalence >= 0.5).astype(np.uint8)  # (C,)
        return np.tile(common, (len(test_dataset), 1))
