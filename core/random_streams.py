"""Named random streams: every random choice draws from the stream of its purpose and a seed.

Two trials with the same seed share every stream that does not depend on what was bought
(common random numbers), so their difference is the purchase and not the draw.
"""

import hashlib

import torch


def stream_seed(seed: int, name: str) -> int:
    """A 63-bit seed that depends on `seed` and the stream's `name` and on nothing else."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def stream(seed: int, name: str) -> torch.Generator:
    """A fresh CPU generator at the start of the stream `name` of `seed`."""
    return torch.Generator().manual_seed(stream_seed(seed, name))
