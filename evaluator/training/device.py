"""Where the post-purchase training computes: the device, its half precision, CPU threads."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import torch

from core import precision
from core.precision import half_precision
from evaluator.records.provenance import processor
from shared.errors import ConfigurationError


def chosen_device(device: torch.device | str | None) -> torch.device:
    """`device`, or the GPU where there is one. Raises ConfigurationError for what is no device."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(device)
    except RuntimeError:
        raise ConfigurationError(
            "unknown-device",
            f"device {device!r} is none that torch knows; expected cpu, cuda or cuda:N",
        ) from None


def usable_device(device: torch.device | str | None) -> torch.device:
    """`chosen_device`, tried out. Raises ConfigurationError where this machine lacks it, too."""
    chosen = chosen_device(device)
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without it
        raise ConfigurationError(
            "unknown-device",
            f"device {str(chosen)!r} cannot be used here ({str(error).splitlines()[0]}); choose "
            "another --device, or leave it out",
        ) from error
    return chosen


@cache
def device_name(asked: str | None = None) -> str:
    """The device that trains, by name and, on a CPU, with the number of threads in use.

    `asked` is as for `chosen_device`.
    """
    device = chosen_device(asked)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} {'thread' if threads == 1 else 'threads'}"


def too_little_memory(
    what: str, error: torch.OutOfMemoryError, otherwise: str
) -> ConfigurationError:
    """The error of `what` on a device that is too small for it; `otherwise` is another way out."""
    return ConfigurationError(
        "device-memory",
        f"{what} needs more memory than the device has free: {error}. Free it, or {otherwise}.",
    )


def release_memory() -> None:
    """Give cached GPU memory back: the next purchase runs on the same GPU, in another process."""
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # after a failure on the GPU, which is the error to show
            torch.cuda.empty_cache()


def autocast(device: torch.device) -> torch.autocast:
    """Autocast to the device's half precision; on a CPU, float32 throughout."""
    return precision.autocast(device, half_precision(device))


def cache_on_gpu(images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`images` on the GPU where they leave it at least half of its free memory, else as given."""
    if device.type != "cuda":
        return images
    free, _ = torch.cuda.mem_get_info(device)
    return images.to(device) if images.nbytes <= free // 2 else images


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`tensor` on `device`, where it may be already.

    A plain copy to a GPU waits until the GPU has done all work queued before, so that a few small
    ones in each step keep the next step from ever being ready. This one is queued.
    """
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@contextmanager
def thread_limit(max_threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if max_threads is not None:
        torch.set_num_threads(max_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
