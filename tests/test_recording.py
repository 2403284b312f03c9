"""A step recorded as a CUDA graph computes what it computes when it is launched."""

import contextlib
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluator.training import device, recording, trainer
from evaluator.training.networks import build_network, set_training
from evaluator.training.pipelines import PIPELINES
from evaluator.training.recording import Step, Steps, recorded
from evaluator.training.trainer import ZEWDPCTrainer

SHAPE = (3, 64, 64)
GPU = torch.device("cuda")
Test = TypeVar("Test", bound=Callable[..., None])


def gpu(test: Test) -> Test:
    lacking = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    return pytest.mark.gpu(lacking(test))


def network(name: str = "max_pool_mil", *, frozen: bool = False) -> nn.Module:
    torch.manual_seed(0)
    made = build_network(name, 3).to(GPU).to(memory_format=torch.channels_last)  # type: ignore
    set_training(made, frozen_features=frozen)
    return made


def step_of(net: nn.Module) -> Step:
    def step(batch: Tensor, targets: Tensor) -> Tensor:
        net.zero_grad()
        loss = F.binary_cross_entropy_with_logits(net(batch), targets)
        loss.backward()
        return loss.detach()

    return step


def sheets(n: int, device: torch.device = GPU) -> tuple[Tensor, Tensor]:
    dice = torch.Generator().manual_seed(1)
    images = torch.randn(n, *SHAPE, generator=dice).to(device)
    return images, (torch.rand(n, 3, generator=dice) < 0.5).float().to(device)


@pytest.fixture
def exact() -> Iterator[None]:
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    yield
    torch.backends.cudnn.deterministic = before


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of an EfficientNet-b0 whose signal reaches its end: batch norm knows what comes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build_network("efficientnet_b0", 3).train()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        net(torch.randn(32, *SHAPE))
    file = tmp_path_factory.mktemp("weights") / "b0.pt"
    torch.save(net.state_dict(), file)
    return str(file)


def test_on_a_cpu_nothing_is_recorded():
    net = build_network("max_pool_mil", 3)
    step = step_of(net)
    with recorded(step, net, [sheets(8, torch.device("cpu"))]) as replayed:
        assert replayed is step


B0 = replace(PIPELINES["b0-unfrozen"], epochs=1, batch_size=12, learning_rate=1e-4)
LEARNING = {
    "muon and an average": replace(PIPELINES["quick-averaged"], epochs=1, minimum_steps=0),
    "unfrozen": B0,
    "frozen": replace(B0, frozen_features=True),
}


@gpu
@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LEARNING)
def test_a_recorded_training_learns_what_a_launched_one_learns(name, half, weights, monkeypatch):
    """Dropout and stochastic depth included: the dice fall alike."""
    monkeypatch.setattr(device, "half_precision", lambda _: half)
    monkeypatch.setattr(trainer, "half_precision", lambda _: half)
    monkeypatch.setattr(trainer, "WORTH_RECORDING", 0)
    dice = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (151, *SHAPE), dtype=torch.uint8, generator=dice)
    labels = torch.randint(0, 2, (151, 3), generator=dice)
    made = []

    def watched(*arguments):
        made.append(arguments[2])
        return recorded(*arguments)

    monkeypatch.setattr(trainer, "recorded", watched)

    def fitted(rate: float = 1.0, *, steps: Steps) -> Tensor:
        pipeline = replace(LEARNING[name], learning_rate=rate * LEARNING[name].learning_rate)
        trained = ZEWDPCTrainer(
            pipeline, ["a", "b", "c"], seed=0, device="cuda", weights=weights, steps=steps
        )
        network = trained.fit(images, labels).network_
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    replayed, launched = fitted(steps="recorded"), fitted(steps="launched")
    assert len(made) == 1
    assert len(made[0]) == 2  # sizes of batches
    another = fitted(1.1, steps="launched")
    assert (replayed - launched).norm() < 0.3 * (another - launched).norm()


@gpu
@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("n", [8, 5, 7])
def test_losses_and_gradients_are_those_of_the_step(n):
    """Seven is a size that was not recorded."""
    net, (images, targets) = network(), sheets(n)
    step = step_of(net)
    with recorded(step, net, [sheets(8), sheets(5)]) as replayed:
        replayed(*sheets(8))
        found = replayed(images, targets).item(), [p.grad.clone() for p in net.parameters()]
    expected = step(images, targets).item(), [p.grad.clone() for p in net.parameters()]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@gpu
def test_recording_changes_neither_weights_nor_statistics_nor_dice():
    net = network("efficientnet_b0")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    dice = torch.cuda.get_rng_state()
    with recorded(step_of(net), net, [sheets(8), sheets(5)]):
        after = net.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())
        assert torch.equal(torch.cuda.get_rng_state(), dice)
        assert all(p.grad is None for p in net.parameters())


@gpu
def test_dropout_draws_anew_at_every_replay():
    images, targets = sheets(4)
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(images[0].numel(), 3)).to(GPU)
    with recorded(step_of(net), net, [(images, targets)]) as replayed:
        losses = {replayed(images, targets).item() for _ in range(3)}
    assert len(losses) == 3


@gpu
@pytest.mark.parametrize("ending", ["well", "in an error"])
def test_the_memory_comes_back(ending):
    net, (images, targets) = network("efficientnet_b0"), sheets(64)
    held = []

    def whole() -> int:
        with (
            contextlib.suppress(FloatingPointError),
            recorded(step_of(net), net, [sheets(64), sheets(63)]) as replayed,
        ):
            held.append(replayed)  # as the traceback of an error would
            replayed(images, targets)
            if ending == "in an error":
                raise FloatingPointError
        torch.cuda.synchronize()
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved()

    first = whole()  # libraries take workspaces, and keep them
    assert [whole() - first <= 2**24 for _ in range(3)] == [True] * 3


@gpu
def test_with_too_little_memory_steps_are_launched(monkeypatch):
    monkeypatch.setattr(recording, "_MEMORY", 1e9)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", None)
    net = network()
    with recorded(step_of(net), net, [sheets(8)]) as replayed:
        assert replayed(*sheets(8)).isfinite()


UNRECORDABLE = """
import torch
from evaluator.errors import ConfigurationError
from evaluator.training.recording import recorded

net = torch.nn.Linear(4, 3).cuda()

def step(batch, targets):
    net.zero_grad()
    loss = (net(batch) - targets).square().mean()
    print(loss.item())  # waits for the GPU, which a recording cannot
    loss.backward()
    return loss.detach()

try:
    with recorded(step, net, [(torch.zeros(8, 1, 1, 4).cuda(), torch.zeros(8, 3).cuda())]):
        pass
except ConfigurationError as error:
    print(error.code, error)
"""


@gpu
def test_what_cannot_be_recorded_is_said():
    """In a process of its own: a recording that failed leaves torch in disorder."""
    command = [sys.executable, "-c", UNRECORDABLE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "recording-failed the training step could not be recorded" in done.stdout, done.stderr
