"""Data sets where submissions of 2022 look for them: `from evaluator.dataset import ...`."""

from evaluator.data.dataset import (
    ZEWDPCBaseDataset,
    ZEWDPCProtectedDataset,
    aggregated_dataset,
    instantiate_purchased_dataset,
)

__all__ = [
    "ZEWDPCBaseDataset",
    "ZEWDPCProtectedDataset",
    "aggregated_dataset",
    "instantiate_purchased_dataset",
]
