"""Images as batches: brought to size once, then turned, mirrored and blurred in batches.

Parameters are drawn per image on the CPU, so that the same seed augments alike on every device;
the work itself happens where the batch lies.
"""

import warnings

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

_CHUNK = 256  # images resized at a time: bounds the memory beyond the result itself


def resize_images(images: npt.NDArray[np.uint8], size: int | None) -> torch.Tensor:
    """`images` uint8 (N, H, W, 3) as uint8 (N, 3, S, S), channels-last in memory.

    The longest side is brought down to `size` pixels, with antialiasing; images that are smaller
    already, or any images where `size` is None, stay as they are, without a copy: enlarging would
    cost time and add nothing. Memory-mapped arrays are read chunk by chunk.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"images came as {images.dtype} {images.shape}, expected uint8 (N, H, W, 3)"
        )
    height, width = images.shape[1:3]
    longest = max(height, width)
    if size is None or longest <= size:
        return _as_tensor(images)
    target = (max(1, round(height * size / longest)), max(1, round(width * size / longest)))
    resized = torch.empty(
        (len(images), 3, *target), dtype=torch.uint8, memory_format=torch.channels_last
    )
    for start in range(0, len(images), _CHUNK):
        chunk = _as_tensor(images[start : start + _CHUNK])
        resized[start : start + _CHUNK] = F.interpolate(
            chunk, size=target, mode="bilinear", antialias=True
        )
    return resized


def _as_tensor(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    with warnings.catch_warnings():
        # A read-only memory map is fine: nothing here writes to the images.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images).permute(0, 3, 1, 2)  # (N, 3, H, W), a view


def augment(
    batch: torch.Tensor, generator: torch.Generator, *, flips: bool, quarter_turns: bool, blur: bool
) -> torch.Tensor:
    """`batch` float (B, 3, H, W) with each image turned, mirrored and blurred by its own dice.

    `quarter_turns` turns images that are not square by half turns only. `generator` lives on the
    CPU and is advanced by the same amount whatever the images show.
    """
    n = len(batch)
    dice = torch.rand(4, n, generator=generator)  # (4, B)
    never = torch.zeros(n, dtype=torch.bool)
    mirror_columns = dice[0] < 0.5 if flips else never
    mirror_rows = dice[1] < 0.5 if flips else never
    square = batch.shape[2] == batch.shape[3]
    transpose = dice[2] < 0.5 if quarter_turns and square else never
    for chosen, change in (
        (mirror_columns, lambda x: x.flip(3)),
        (mirror_rows, lambda x: x.flip(2)),
        (transpose, lambda x: x.transpose(2, 3)),
    ):
        if chosen.any():
            picked = chosen.nonzero().squeeze(1).to(batch.device)
            batch[picked] = change(batch[picked])
    if blur:
        batch = gaussian_blur(batch, 0.1 + 1.9 * dice[3])
    return batch


_BLUR_RADIUS = 2  # pixels: a 5-tap kernel


def gaussian_blur(batch: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """`batch` float (B, C, H, W) blurred with a 5 x 5 Gaussian of `sigma` (B,) pixels each."""
    n, channels = batch.shape[:2]
    offsets = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, dtype=torch.float32)  # (5,)
    taps = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)  # (B, 5)
    taps = (taps / taps.sum(1, keepdim=True)).to(batch.device, batch.dtype)
    taps = taps.repeat_interleave(channels, 0)  # (B C, 5)
    # One grouped convolution over all images and channels at once: each row has its own kernel.
    rows = F.pad(batch, [_BLUR_RADIUS] * 4, mode="reflect").flatten(0, 1)[None]  # (1, B C, H', W')
    rows = F.conv2d(rows, taps[:, None, :, None], groups=n * channels)
    rows = F.conv2d(rows, taps[:, None, None, :], groups=n * channels)
    return rows.view(batch.shape).contiguous(memory_format=torch.channels_last)
