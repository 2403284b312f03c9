"""What the learner saw at its last look at the pool, and what can be made of it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.learner import Learner, Predictions
from strategies.families.uncertainty import mean_binary_entropy
from strategies.image_sets import LabelledSet
from strategies.pool_view import PoolView, Source


@dataclass(frozen=True)
class Look:
    """Predictions of some images of the pool.

    rows : (M,), which images; predictions : of these, in this order.
    """

    rows: Tensor
    predictions: Predictions

    @property
    def is_finite(self) -> bool:
        """Whether all numbers are, which those of a learner that diverged are not."""
        return all(bool(torch.isfinite(values).all()) for values in self.predictions)

    def most_uncertain(self, k: int, available: Tensor) -> Tensor:
        """The `k` rows of highest mean binary entropy; available : (N,) bool, by row."""
        still = available[self.rows]
        entropy = mean_binary_entropy(self.predictions.probabilities[still])
        return self.rows[still][entropy.argsort(descending=True, stable=True)[:k]]

    def probabilities_of(self, rows: Tensor) -> list[Tensor | None]:
        """For each of `rows` its probabilities (C,), None where it was not looked at."""
        place = {row: position for position, row in enumerate(self.rows.tolist())}
        probabilities = self.predictions.probabilities
        return [probabilities[place[row]] if row in place else None for row in rows.tolist()]

    def view(
        self,
        available: Tensor,
        labelled: LabelledSet,
        learner: Learner,
        infer_labelled: Callable[[], Predictions],
    ) -> PoolView:
        """The images that are still available, as a strategy sees them.

        infer_labelled : predictions of all that is labelled, asked for once, if at all.
        """
        still = available[self.rows]
        inferred: list[Predictions] = []

        def of_labelled() -> Predictions:
            if not inferred:
                inferred.append(infer_labelled())
            return inferred[0]

        def labelled_probabilities() -> Tensor:  # (L, C)
            out_of_fold = learner.labelled_probabilities_
            if len(out_of_fold) == len(labelled):
                return out_of_fold
            # Rows that were added since the fit were not trained on either.
            return torch.cat([out_of_fold, of_labelled().probabilities[len(out_of_fold) :]])

        sources: dict[str, Source] = {
            "probabilities": lambda: self.predictions.probabilities[still],
            "embeddings": lambda: self.predictions.embeddings[still],
            "committee": lambda: self.predictions.committee[:, still],
            "labelled_embeddings": lambda: of_labelled().embeddings,
            "labelled_labels": lambda: labelled.labels,
            "labelled_probabilities": labelled_probabilities,
            "validation_f1": lambda: learner.validation_f1_,
            "thresholds": lambda: learner.thresholds_,
        }
        return PoolView(int(still.sum()), sources)
