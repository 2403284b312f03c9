"""The smallest submission: buys the first images of the pool, and predicts nothing.

    python local_evaluation.py --submission examples/first_k.py \\
        --recipe debug --pipeline quick --pairs 20:1
"""

import numpy as np


class ZEWDPCBaseRun:
    """What the evaluator looks for: a class of this name with three phases."""

    def pre_training_phase(self, training_dataset, time_available=None, register_progress=print):
        """Learn from the labelled images; here there is nothing to learn."""
        self.n_classes = len(training_dataset[0]["label"])

    def purchase_phase(
        self, unlabelled_dataset, training_dataset, budget, time_available, register_progress=print
    ):
        """Buy labels one by one; only what `purchase_label` has sold counts."""
        n = min(budget, len(unlabelled_dataset))
        return {idx: unlabelled_dataset.purchase_label(idx) for idx in range(n)}

    def prediction_phase(self, test_dataset, register_progress=print):
        """0/1 labels (n_images, n_classes): needed by the contract, not scored in round 2."""
        return np.zeros((len(test_dataset), self.n_classes), np.uint8)
