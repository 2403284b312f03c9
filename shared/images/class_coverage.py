"""Classes that no image of a split shows, and what that does to the score.

The F1 of a class that no held-out image shows is 0 whatever is predicted (`zero_division=0`, as
the challenge scores), so every such class lowers the highest macro-F1 that anything can reach.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def absent_classes(labels: NDArray[np.generic], class_names: Sequence[str]) -> tuple[str, ...]:
    """The classes that no row of `labels`, (N, C) of 0/1, has."""
    absent = set(range(len(class_names))).difference(np.nonzero(labels)[1].tolist())
    return tuple(name for column, name in enumerate(class_names) if column in absent)


def macro_f1_bound(never_held_out: Sequence[str], n_classes: int) -> str:
    """In words, how high macro-F1 can get; empty where every class is held out."""
    if not never_held_out:
        return ""
    reachable = n_classes - len(never_held_out)
    return (
        f"no held-out image shows {', '.join(never_held_out)}: F1 is 0 there whatever is "
        f"predicted, and macro-F1 cannot exceed {reachable}/{n_classes} "
        f"({reachable / n_classes:.3f})"
    )


def coverage_doubts(
    labels: Mapping[str, NDArray[np.generic]], class_names: Sequence[str]
) -> Iterator[str]:
    """What a person should know of classes that a split lacks, a line each.

    labels : of the splits `training`, `unlabelled` and `validation`, (N, C) each.
    """
    absent = {split: absent_classes(own, class_names) for split, own in labels.items()}
    if bound := macro_f1_bound(absent["validation"], len(class_names)):
        yield bound
    nowhere = [name for name in absent["training"] if name in absent["unlabelled"]]
    unlearnable = [name for name in nowhere if name not in absent["validation"]]
    if unlearnable:
        yield (
            f"no training image and none of the pool shows {', '.join(unlearnable)}, which is held "
            "out: nothing can teach it"
        )
    if only_bought := [name for name in absent["training"] if name not in nowhere]:
        yield f"no training image shows {', '.join(only_bought)}: only bought labels can teach it"
    if never_bought := [name for name in absent["unlabelled"] if name not in nowhere]:
        yield (
            f"no image of the pool shows {', '.join(never_bought)}: no purchase can add an example"
        )


def positives_in_words(labels: np.ndarray, class_names: Sequence[str]) -> str:
    """The share of images (N, C) that show each class, and that show none, in words."""
    shares = (
        f"{name} {share:.1%}" for name, share in zip(class_names, labels.mean(0), strict=True)
    )
    return f"{', '.join(shares)}; none {(labels.sum(1) == 0).mean():.1%}"
