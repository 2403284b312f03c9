"""`torch.compile` for the post-purchase network, where it was asked for.

Compiled code adds up in another order than eager code, so it is part of a score's configuration.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from evaluator.errors import ConfigurationError


@contextmanager
def compiled(network: nn.Module, wanted: bool) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """`network` to be called with batches: itself, or, where `wanted`, compiled at the first one.

    The weights are those of `network`, which stays usable by itself. Raises ConfigurationError
    from inside the `with`, at the first forward or backward pass, where it cannot be compiled.
    """
    if not wanted:
        yield network
        return
    from torch._dynamo.exc import TorchDynamoException  # seconds to import

    torch.compiler.reset()  # or the networks of earlier trainings use up the number of variants
    try:
        yield torch.compile(network, fullgraph=True)  # fullgraph: never eager without a word
    except TorchDynamoException as error:
        said = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
        raise ConfigurationError(
            "compile-failed",
            f"--steps compiled: torch.compile failed here ({said}); leave it out, or install what "
            "it needs: a C++ compiler, on a GPU Triton",
        ) from error
