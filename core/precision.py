"""Which number format a device computes in natively, and when it ran out of memory."""

import torch


def half_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 where a GPU computes in it, else float16; None on a CPU."""
    if device.type != "cuda":
        return None
    # Older ones, such as a T4, only emulate bfloat16, slower than float32.
    native = torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if native else torch.float16


def autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """Autocast to `dtype`; None computes in float32 throughout."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done all that it was asked, so that a clock read after it is true."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the device ran out of memory (drivers, cuDNN and cuBLAS say it in words only)."""
    words = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(
        phrase in words for phrase in ("out of memory", "status_alloc_failed")
    )
