"""Who learns from which labelled image: folds that stay put while images are added."""

import torch
from torch import Tensor


def extend_folds(folds: Tensor, labels: Tensor, n_folds: int, rng: torch.Generator) -> Tensor:
    """Assign the rows of `labels` beyond `len(folds)` to folds, each class spread evenly.

    A row keeps its fold for good, so that a model trained further on a grown set has still
    never seen the rows it held out. Rows go, in random order, to the fold with the fewest
    positives of their rarest class, then to the one with the fewest rows.

    folds : (L0,) in 0..n_folds-1; labels : (L, C) of 0/1, L >= L0. Returns (L,).
    """
    known = len(folds)
    if len(labels) < known:
        raise ValueError(
            f"Labelled images may only be added: there were {known}, now {len(labels)}."
        )
    out = torch.cat([folds, folds.new_zeros(len(labels) - known)])
    positives = torch.stack([labels[:known][folds == f].sum(0) for f in range(n_folds)])  # (K, C)
    rows = torch.bincount(folds, minlength=n_folds).double()  # (K,)
    frequency = labels.sum(0)
    for offset in torch.randperm(len(labels) - known, generator=rng).tolist():
        row = known + offset
        label = labels[row]
        present = label.nonzero().flatten()
        load = rows.clone()
        if len(present):
            rarest = present[frequency[present].argmin()]
            load += positives[:, rarest].double() * (len(labels) + 1)
        fold = int(load.argmin())
        out[row] = fold
        rows[fold] += 1
        positives[fold] += label
    return out
