"""A training step recorded once as a CUDA graph and replayed from then on.

A fast GPU is done with a kernel before Python has launched the next, and waits; a recorded step is
one launch. It runs the kernels that the step itself would run, so it learns the same. The method is
PyTorch's whole-network capture (Nguyen et al. 2021, "Accelerating PyTorch with CUDA Graphs").
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from evaluator.errors import ConfigurationError

# Of normalised images (B, 3, H, W) and targets (B, C): the loss, detached. Gradients are left in
# the parameters, in place of any that were there.
Step = Callable[[Tensor, Tensor], Tensor]

WORTH_RECORDING = 40  # steps; on an H200 ten of EfficientNet-b0 win back what recording takes
_WARM_UPS = 2  # steps before each recording, in which cuDNN and cuBLAS set themselves up
_MEMORY = 3  # times what a step takes must be free: recordings keep theirs, and other passes follow


@contextmanager
def recorded(
    step: Step,
    network: nn.Module,
    batch_sizes: Sequence[int],
    shape: Sequence[int],
    n_classes: int,
    device: torch.device,
) -> Iterator[Step]:
    """`step` of `network`, recorded for batches (B, *shape), B one of `batch_sizes`.

    `network` must be in the mode in which it is trained. On a CPU, and where a GPU is short of
    memory, this is `step` itself. Weights, batch-norm statistics and random state are left as they
    were; a loss and its gradients hold until the next step. Raises ConfigurationError where the
    step cannot be recorded.
    """
    if device.type != "cuda":
        yield step
        return
    with torch.cuda.device(device):
        recordings = _recordings(step, network, batch_sizes, shape, n_classes, device)

        def replayed(batch: Tensor, targets: Tensor) -> Tensor:
            if len(batch) not in recordings:
                return step(batch, targets)
            return recordings[len(batch)].replay(batch, targets)

        try:
            yield replayed
        finally:  # an error's traceback would keep them, and with them the memory of a step
            recordings.clear()
            network.zero_grad()


@dataclass(frozen=True)
class _Recording:
    """A recorded step, and the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    batch: Tensor
    targets: Tensor
    loss: Tensor
    gradients: list[tuple[nn.Parameter, Tensor | None]]

    def replay(self, batch: Tensor, targets: Tensor) -> Tensor:
        self.batch.copy_(batch)
        self.targets.copy_(targets)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.loss


def _recordings(
    step: Step,
    network: nn.Module,
    batch_sizes: Sequence[int],
    shape: Sequence[int],
    n_classes: int,
    device: torch.device,
) -> dict[int, _Recording]:
    """By size of batch; none where memory is short."""
    recordings: dict[int, _Recording] = {}
    buffers = [buffer.clone() for buffer in network.buffers()]
    pool = torch.cuda.graph_pool_handle()  # shared: one step is over before the next begins
    with torch.random.fork_rng(devices=[device]):
        for n in sorted(batch_sizes, reverse=True):
            batch = torch.zeros(n, *shape, device=device)
            batch = batch.contiguous(memory_format=torch.channels_last)
            targets = torch.zeros(n, n_classes, device=device)
            if not _room_for(step, batch, targets):
                break
            recordings[n] = _record(step, network, batch, targets, pool)
    network.zero_grad()
    with torch.no_grad():
        for buffer, before in zip(network.buffers(), buffers, strict=True):
            buffer.copy_(before)
    return recordings


def _record(
    step: Step, network: nn.Module, batch: Tensor, targets: Tensor, pool: Any
) -> _Recording:
    stream = _recording_stream(torch.cuda.current_device())
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            step(batch, targets)
    torch.cuda.current_stream().wait_stream(stream)
    network.zero_grad()  # what the recording leaves in their place lies in its own memory
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, pool=pool, stream=stream):
            loss = step(batch, targets)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ConfigurationError(
            "recording-failed",
            f"the training step could not be recorded as a CUDA graph on {batch.device} "
            f"({str(error).splitlines()[0]}); --compile trains without, and so does --device cpu",
        ) from error
    return _Recording(graph, batch, targets, loss, [(p, p.grad) for p in network.parameters()])


@cache
def _recording_stream(device: int) -> torch.cuda.Stream:
    """One for all recordings on a device: libraries keep a workspace for every stream they meet."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _room_for(step: Step, batch: Tensor, targets: Tensor) -> bool:
    """Whether the GPU has `_MEMORY` times the memory that a step takes."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step(batch, targets)
    taken = torch.cuda.max_memory_allocated() - before
    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - before
    return free >= _MEMORY * taken
