"""The eight ways to lay a square image down, chosen per image, applied in one batch."""

import torch
from torch import Tensor

WAYS = 8


def dihedral(images: Tensor, ways: Tensor) -> Tensor:
    """Flip and rotate by 90°: bit 0 of an image's way flips it left-right, bit 1 upside down,
    bit 2 swaps its axes.

    images : (B, 3, S, S), any dtype; ways : (B,) integers in 0..7.
    """
    bits = ways.to(images.device, non_blocking=True)[:, None, None, None]  # (B, 1, 1, 1)
    images = torch.where((bits & 1).bool(), images.flip(3), images)
    images = torch.where((bits & 2).bool(), images.flip(2), images)
    return torch.where((bits & 4).bool(), images.transpose(2, 3), images)
