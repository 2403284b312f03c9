"""Per-class quotas: every class takes its turn to name the image it wants most."""

import torch
from torch import Tensor


def round_robin(preferences: list[Tensor], k: int) -> Tensor:
    """k distinct positions, the classes taking turns in order of `preferences`.

    Each entry is one class's positions, most wanted first; a class whose next wish is taken
    already names the one after. A class that has run out is passed over. Raises ValueError where
    all have run out before k.
    """
    orders = [order.tolist() for order in preferences]
    at = [0] * len(orders)
    taken: dict[int, None] = {}  # keeps the order of the picks
    while len(taken) < k:
        before = len(taken)
        for c, order in enumerate(orders):
            while at[c] < len(order) and order[at[c]] in taken:
                at[c] += 1
            if at[c] < len(order) and len(taken) < k:
                taken[order[at[c]]] = None
        if len(taken) == before:
            raise ValueError(f"The classes name only {before} images; {k} are to be chosen.")
    device = preferences[0].device if preferences else torch.device("cpu")
    return torch.tensor(list(taken), dtype=torch.long, device=device)


def class_quotas(scores: Tensor, k: int) -> Tensor:
    """k positions, every class naming its share: `scores` (N, C), what each image is worth to
    each class. An image that several classes want counts for the first to name it."""
    count = min(k, scores.shape[0])  # fewer than k are taken before any class's turn
    return round_robin(list(scores.topk(count, dim=0).indices.T), k)
