"""A training step recorded once as a CUDA graph and replayed from then on.

A fast GPU is done with a kernel before Python has launched the next, and waits; a recorded step is
one launch. It runs the kernels that the step itself would run, so it learns the same. The method is
PyTorch's whole-network capture (Nguyen et al. 2021, "Accelerating PyTorch with CUDA Graphs").
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from evaluator.errors import ConfigurationError

# Of a batch, tensors with a row for each image: the loss, detached. Gradients are left in the
# parameters, in place of any that were there.
Step = Callable[..., Tensor]

# How steps are carried out: recorded on a GPU where it pays, launched kernel by kernel, or launched
# as torch.compile made them.
Steps = Literal["recorded", "launched", "compiled"]

WORTH_RECORDING = 40  # steps; on an H200 ten of EfficientNet-b0 win back what recording takes
_WARM_UPS = 2  # steps before each recording, in which cuDNN and cuBLAS set themselves up
_MEMORY = 3  # times what a step takes must be free: recordings keep theirs, and other passes follow


@contextmanager
def recorded(
    step: Step, network: nn.Module, examples: Sequence[Sequence[Tensor]]
) -> Iterator[Step]:
    """`step` of `network`, recorded for batches of the sizes of `examples`.

    `network` must be in the mode in which it is trained, and the examples on its device. On a CPU,
    and where a GPU is short of memory, this is `step` itself, as it is for other sizes. Weights,
    batch-norm statistics and random state are left as they were; a loss and its gradients hold
    until the next step. Raises ConfigurationError where the step cannot be recorded.
    """
    device = examples[0][0].device
    if device.type != "cuda":
        yield step
        return
    with torch.cuda.device(device):
        recordings = _recordings(step, network, examples)

        def replayed(*batch: Tensor) -> Tensor:
            if len(batch[0]) not in recordings:
                return step(*batch)
            return recordings[len(batch[0])].replay(batch)

        try:
            yield replayed
        finally:  # an error's traceback would keep them, and with them the memory of a step
            recordings.clear()
            network.zero_grad()


@dataclass(frozen=True)
class _Recording:
    """A recorded step, and the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    batch: list[Tensor]
    loss: Tensor
    gradients: list[tuple[nn.Parameter, Tensor | None]]

    def replay(self, batch: Sequence[Tensor]) -> Tensor:
        for own, given in zip(self.batch, batch, strict=True):
            own.copy_(given)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.loss


def _recordings(
    step: Step, network: nn.Module, examples: Sequence[Sequence[Tensor]]
) -> dict[int, _Recording]:
    """By size of batch; none where memory is short."""
    recordings: dict[int, _Recording] = {}
    buffers = [buffer.clone() for buffer in network.buffers()]
    pool = torch.cuda.graph_pool_handle()  # shared: one step is over before the next begins
    with torch.random.fork_rng(devices=[examples[0][0].device]):
        for example in sorted(examples, key=lambda batch: len(batch[0]), reverse=True):
            batch = [tensor.clone() for tensor in example]
            if not _room_for(step, batch):
                break
            recordings[len(batch[0])] = _record(step, network, batch, pool)
    network.zero_grad()
    with torch.no_grad():
        for buffer, before in zip(network.buffers(), buffers, strict=True):
            buffer.copy_(before)
    return recordings


def _record(step: Step, network: nn.Module, batch: list[Tensor], pool: Any) -> _Recording:
    stream = _recording_stream(torch.cuda.current_device())
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            step(*batch)
    torch.cuda.current_stream().wait_stream(stream)
    network.zero_grad()  # what the recording leaves in their place lies in its own memory
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, pool=pool, stream=stream):
            loss = step(*batch)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ConfigurationError(
            "recording-failed",
            f"the training step could not be recorded as a CUDA graph on {batch[0].device} "
            f"({str(error).splitlines()[0]}); --steps launched does without",
        ) from error
    return _Recording(graph, batch, loss, [(p, p.grad) for p in network.parameters()])


@cache
def _recording_stream(device: int) -> torch.cuda.Stream:
    """One for all recordings on a device: libraries keep a workspace for every stream they meet."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _room_for(step: Step, batch: list[Tensor]) -> bool:
    """Whether the GPU has `_MEMORY` times the memory that a step takes."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step(*batch)
    taken = torch.cuda.max_memory_allocated() - before
    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - before
    return free >= _MEMORY * taken
