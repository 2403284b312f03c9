"""The named strategies, by family; importing this registers them all."""

from strategies.catalogue import (
    baselines,
    boundary,
    committee,
    coverage,
    diversity,
    gradients,
    mixed,
    multilabel,
    uncertainty,
)

__all__ = [
    "baselines",
    "boundary",
    "committee",
    "coverage",
    "diversity",
    "gradients",
    "mixed",
    "multilabel",
    "uncertainty",
]
