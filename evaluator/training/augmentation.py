"""Images as batches: brought to size once, then mirrored, normalised and blurred in batches.

Random choices are drawn on the CPU, so that one seed augments alike on every device; the work is
done on the device that the batch is on.
"""

import warnings
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

_CHUNK = 256  # images resized at a time: bounds the memory beyond the result itself
_BLUR_RADIUS = 2  # pixels: a kernel of 5 x 5
_BLUR_SIGMA = (0.1, 2.0)  # pixels: torchvision's default range, the organisers' is not known

# Of the ImageNet weights; any fixed constants serve a net trained from scratch.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def resize_images(images: npt.NDArray[np.uint8], size: int | None) -> torch.Tensor:
    """`images` uint8 (N, H, W, 3) as uint8 (N, 3, S, S), channels-last in memory.

    The longest side is brought down to `size` pixels, with antialiasing; the shape is kept. Images
    that are small enough already, or any where `size` is None, stay as they are, without a copy:
    enlarging costs time and adds nothing. Memory-mapped arrays are read chunk by chunk.
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


def normalise(batch: torch.Tensor) -> torch.Tensor:
    """uint8 (B, 3, H, W) as float32 of about zero mean and unit deviation, channels-last."""
    mean, std = _mean_and_std(batch.device)
    scaled = batch.float().sub_(mean).div_(std)
    return scaled.contiguous(memory_format=torch.channels_last)


@cache
def _mean_and_std(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Of pixels from 0 to 255, (1, 3, 1, 1) each; made once, for a GPU waits while they travel."""
    mean, std = torch.tensor(_MEAN), torch.tensor(_STD)
    return (
        (255 * mean).view(1, 3, 1, 1).to(device),
        (255 * std).view(1, 3, 1, 1).to(device),
    )


def random_blur(n: int, generator: torch.Generator) -> torch.Tensor:
    """`blur_taps` (n, 5) of as many random widths."""
    low, high = _BLUR_SIGMA
    return blur_taps(low + (high - low) * torch.rand(n, generator=generator))


def blur_taps(sigma: torch.Tensor) -> torch.Tensor:
    """Weights (B, 5) of Gaussians of `sigma` (B,) pixels, each over five pixels in a row."""
    offsets = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, dtype=torch.float32)  # (5,)
    taps = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)  # (B, 5)
    return taps / taps.sum(1, keepdim=True)


def gaussian_blur(batch: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """`batch` float (B, C, H, W), each image blurred by its own `taps` (B, 5), both ways."""
    n, channels = batch.shape[:2]
    taps = taps.repeat_interleave(channels, 0)  # (B C, 5)
    # One grouped convolution over all images and channels at once: each plane has its own kernel.
    planes = F.pad(batch, [_BLUR_RADIUS] * 4, mode="reflect")  # (B, C, H + 4, W + 4)
    planes = planes.contiguous().flatten(0, 1)[None]  # (1, B C, H + 4, W + 4)
    planes = F.conv2d(planes, taps[:, None, :, None], groups=n * channels)
    planes = F.conv2d(planes, taps[:, None, None, :], groups=n * channels)
    return planes.view(batch.shape).contiguous(memory_format=torch.channels_last)
