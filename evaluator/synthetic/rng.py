"""Every sheet owns its random streams: one per purpose, so no draw shifts another."""

import hashlib

import numpy as np

DRAWING = 1  # raised whenever the same recipe would draw other pictures than before


def generator(
    recipe_name: str, seed: int, split: str, index: int, purpose: str
) -> np.random.Generator:
    """The stream `purpose` of one sheet; depends on its arguments and on nothing else.

    A counter-based generator keyed by a hash: sheet 9,999 costs as much as sheet 0, and no sheet
    depends on how many were drawn before it or by whom.
    """
    text = f"{DRAWING}/{recipe_name}/{seed}/{split}/{index}/{purpose}"
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "big")))
