"""The eight symmetries of a square image (the dihedral group), one per image, in one batch."""

import torch
from torch import Tensor

N_SYMMETRIES = 8


def apply_symmetries(
    images: Tensor, choices: Tensor, *, flips: bool = True, quarter_turns: bool = True
) -> Tensor:
    """Mirror each image left to right, top to bottom and along its diagonal, as `choices` say.

    images : (B, C, H, W), any dtype; choices : bool (B, 3), on the same device. `flips` allows the
    first two, `quarter_turns` the third, which images that are not square never take: with both,
    all eight symmetries come up.
    """
    across, down, diagonal = choices.T[:, :, None, None, None]  # (B, 1, 1, 1) each
    if flips:
        images = torch.where(across, images.flip(3), images)
        images = torch.where(down, images.flip(2), images)
    if quarter_turns and images.shape[2] == images.shape[3]:
        images = torch.where(diagonal, images.transpose(2, 3), images)
    return images


def symmetry_choices(symmetry: Tensor) -> Tensor:
    """The `choices`, bool (B, 3), of symmetries that are numbered (B,) in 0..7, by their bits."""
    bits = torch.tensor([1, 2, 4], device=symmetry.device)
    return (symmetry[:, None] & bits).bool()
