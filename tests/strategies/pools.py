"""Pools for tests: small, of every kind of trouble, the same for the same seed."""

import torch
from torch import Tensor

from strategies.pool_view import PoolView


def views(
    images: int = 60, dimensions: int = 8, classes: int = 3, labelled: int = 12, seed: int = 0
) -> dict[str, Tensor]:
    """All views of a pool of clustered images with classes of falling prevalence."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    centres, heads = 2 * normal(5, dimensions), normal(dimensions, classes)

    def embed(count: int) -> Tensor:
        where = torch.randint(5, (count,), generator=rng)
        return centres[where] + normal(count, dimensions)

    def believe(embeddings: Tensor) -> Tensor:
        return torch.sigmoid(embeddings @ heads - torch.arange(classes))

    pool, known = embed(images), embed(labelled)
    committee = [believe(pool + 0.3 * normal(images, dimensions)) for _ in range(4)]
    draws = torch.rand(labelled, classes, generator=rng)
    return {
        "probabilities": believe(pool),
        "embeddings": pool,
        "committee": torch.stack(committee),
        "labelled_embeddings": known,
        "labelled_labels": (draws < believe(known)).float(),
        "labelled_probabilities": believe(known + 0.3 * normal(labelled, dimensions)),
        "validation_f1": torch.rand(classes, generator=rng),
        "thresholds": torch.full((classes,), 0.4),
    }


def pool_of(given: dict[str, Tensor]) -> PoolView:
    return PoolView.from_tensors(**given)


def permuted(given: dict[str, Tensor], order: Tensor) -> dict[str, Tensor]:
    """The same pool with its images in another order."""
    return {
        **given,
        "probabilities": given["probabilities"][order],
        "embeddings": given["embeddings"][order],
        "committee": given["committee"][:, order],
    }


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
