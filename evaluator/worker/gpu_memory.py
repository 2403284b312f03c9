"""The GPU memory of the platform's card, whatever the card has that is used here.

torch's allocator is limited in the submission's process, before its first allocation: beyond the
limit it raises `OutOfMemoryError`, as on a full card. torch itself is imported by the submission,
when and if it likes; nothing here imports it.
"""

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

TORCH_CUDA = "torch.cuda"
GB = 1e9  # as cards are sold: a T4 of 16 GB has 14.6 to 14.8 GiB left, and 16e9 bytes are 14.9 GiB


def limit_gpu_memory(most: float, say: Callable[[str], None]) -> None:
    """Let this process have `most` bytes of each GPU, once it has imported torch and uses one.

    say : called with one line about each GPU at its first use.
    """
    sys.meta_path.insert(0, _AfterImport(TORCH_CUDA, lambda cuda: _limit_lazily(cuda, most, say)))


class _AfterImport(MetaPathFinder):
    """Calls `then(module)` when a module has been imported; where it lies, others find."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._then = then
        self._asking_others = False

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != self._name or self._asking_others:
            return None
        self._asking_others = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking_others = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_call(module: ModuleType) -> None:
                execute(module)
                self._then(module)

            spec.loader.exec_module = execute_and_call  # type: ignore[method-assign]
        return spec


def _limit_lazily(cuda: Any, most: float, say: Callable[[str], None]) -> None:
    def limit() -> None:
        for number in range(cuda.device_count()):
            card = cuda.get_device_properties(number)
            say(
                f"{card.name}: {min(most, card.total_memory) / GB:.1f} of its "
                f"{card.total_memory / GB:.1f} GB; the platform's has {most / GB:g} (--gpu-memory)"
            )
            if most < card.total_memory:
                with cuda.device(number):  # to set a limit makes that card the current one
                    cuda.set_per_process_memory_fraction(most / card.total_memory, number)

    # torch's own list of what is done when CUDA is initialised, which takes seconds and memory:
    # a submission that stays on the processor is spared it. Seeds are set through it, too.
    cuda._lazy_call(limit)
