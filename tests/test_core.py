"""What buyer and evaluator share: the numerics stay what they were when scores were recorded."""

import hashlib
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from core.max_pool_mil import N_FEATURES, MaxPoolMIL, small_features
from core.muon import COEFFICIENTS, ITERATIONS, Muon, orthogonalised
from core.precision import is_out_of_memory
from core.random_streams import stream, stream_seed
from core.symmetries import N_SYMMETRIES, apply_symmetries, symmetry_choices
from evaluator.training import networks as evaluator_networks
from models import networks as buyer_networks

RECORDED_SEEDS = {
    (0, "a"): 6612858177627257344,
    (7, "learner/folds/0"): 4955655405868766160,
}


def digest(tensors: Iterable[Tensor]) -> str:
    joined = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        joined.update(tensor.detach().contiguous().numpy().tobytes())
    return joined.hexdigest()


@pytest.mark.parametrize(("seed", "name"), RECORDED_SEEDS)
def test_stream_seed_is_the_recorded_one(seed: int, name: str) -> None:
    assert stream_seed(seed, name) == RECORDED_SEEDS[seed, name]


def test_stream_starts_over_at_each_call_and_differs_by_name_and_seed() -> None:
    draws = [torch.rand(3, generator=stream(*key)) for key in ((0, "a"), (0, "b"), (1, "a"))]
    assert torch.equal(draws[0], torch.rand(3, generator=stream(0, "a")))
    assert len({tuple(draw.tolist()) for draw in draws}) == 3


def test_build_network_draws_the_recorded_initial_weights_for_the_buyer() -> None:
    network = buyer_networks.build_network("small", 4, 80, stream(3, "x"))
    assert digest(network.parameters()) == "d60c8ba3458f3984"


def test_build_network_draws_the_recorded_initial_weights_for_the_evaluator() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        network = evaluator_networks.build_network("max_pool_mil", 4)
    assert digest(network.parameters()) == "36a3628cdf5edcb1"


def test_max_pool_mil_heads_are_one_function_with_one_initialisation() -> None:
    with torch.random.fork_rng(devices=[]):
        networks = []
        for head in ("convolution", "linear"):
            torch.manual_seed(0)
            networks.append(MaxPoolMIL(small_features(), N_FEATURES, 6, head).eval())
    images = torch.randn(2, 3, 24, 40, generator=torch.Generator().manual_seed(1))
    convolution, linear = (network(images) for network in networks)
    assert torch.allclose(convolution, linear, atol=1e-5)
    assert len({digest(network.parameters()) for network in networks}) == 1
    assert sum(p.numel() for p in networks[0].parameters()) == 79_470


def test_max_pool_mil_answers_with_its_strongest_place_and_features() -> None:
    network = MaxPoolMIL(torch.nn.Identity(), 2, 3, "linear")
    tokens = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(0))  # (B, T, D)
    output = network.logits_and_features(tokens)
    assert torch.equal(output.features, tokens.amax(1))
    assert torch.equal(output.logits, network.classifier(tokens).amax(1))
    assert torch.equal(output.logits, network(tokens))


def test_muon_parameters_are_the_convolutions_after_the_first() -> None:
    network = MaxPoolMIL(small_features(), N_FEATURES, 4, "linear")
    shapes = [tuple(weight.shape) for weight in network.muon_parameters()]
    assert shapes == [(24, 24, 3, 3), (48, 24, 3, 3), (48, 48, 3, 3), (96, 48, 3, 3)]
    assert MaxPoolMIL(torch.nn.Identity(), 2, 3, "linear").muon_parameters() == []


def orthogonalised_by_singular_values(matrix: Tensor) -> Tensor:
    """What the quintic iteration makes of each singular value, applied to it by itself."""
    u, values, vh = torch.linalg.svd(matrix, full_matrices=False)
    values = values / (matrix.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        values = a * values + b * values**3 + c * values**5
    return u @ torch.diag(values) @ vh


def test_muon_steps_are_nesterov_momentum_orthogonalised_at_a_fixed_norm() -> None:
    rng = torch.Generator().manual_seed(0)
    start, *gradients = torch.randn(4, 6, 4, 3, 3, dtype=torch.float64, generator=rng)
    weight = start.clone().requires_grad_()
    optimiser = Muon([weight], lr=0.1)
    expected, momentum = start.clone(), torch.zeros_like(start)
    for gradient in gradients:
        weight.grad = gradient
        optimiser.step()
        momentum = 0.9 * momentum + gradient
        update = orthogonalised_by_singular_values((gradient + 0.9 * momentum).flatten(1))
        expected = expected * (6**0.5 / expected.norm()) - 0.1 * update.view_as(start)
    assert torch.allclose(weight, expected, atol=1e-9)


def symmetries_seen(flips: bool, quarter_turns: bool, shape: tuple[int, int]) -> int:
    image = torch.arange(shape[0] * shape[1]).view(1, 1, *shape)
    choices = torch.rand(400, 3, generator=stream(0, "test")) < 0.5
    batch = apply_symmetries(
        image.expand(400, 1, *shape), choices, flips=flips, quarter_turns=quarter_turns
    )
    assert torch.equal(batch.flatten(1).sort(1).values, image.flatten(1).expand(400, -1))
    return len(batch.flatten(1).unique(dim=0))


@pytest.mark.parametrize(
    ("flips", "quarter_turns", "shape", "seen"),
    [
        (True, True, (5, 5), 8),
        (True, False, (5, 5), 4),
        (False, True, (5, 5), 2),
        (False, False, (5, 5), 1),
        (True, True, (5, 7), 4),  # not square: never turned by a quarter
    ],
)
def test_apply_symmetries_brings_up_every_allowed_one_and_no_other(
    flips: bool, quarter_turns: bool, shape: tuple[int, int], seen: int
) -> None:
    assert symmetries_seen(flips, quarter_turns, shape) == seen


def test_symmetry_choices_number_the_eight_and_each_image_has_its_own() -> None:
    image = torch.arange(48, dtype=torch.uint8).reshape(1, 3, 4, 4)
    choices = symmetry_choices(torch.arange(N_SYMMETRIES))
    images = apply_symmetries(image.expand(N_SYMMETRIES, 3, 4, 4), choices)
    assert torch.equal(images[0], image[0])
    assert torch.equal(images[1], image[0].flip(2))
    assert torch.equal(images[2], image[0].flip(1))
    assert torch.equal(images[4], image[0].transpose(1, 2))
    expected = {
        tuple(torch.rot90(flipped, k, (1, 2)).flatten().tolist())
        for flipped in (image[0], image[0].flip(2))
        for k in range(4)
    }
    assert {tuple(one.flatten().tolist()) for one in images} == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("CUDA error: out of memory", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", False),
    ],
)
def test_is_out_of_memory_reads_what_libraries_say_in_words(words: str, expected: bool) -> None:
    assert is_out_of_memory(RuntimeError(words)) == expected


@pytest.mark.parametrize("shape", [(24, 216), (216, 24), (48, 48)])
def test_orthogonalised_keeps_directions_and_evens_out_their_strength(
    shape: tuple[int, int],
) -> None:
    generator = torch.Generator().manual_seed(0)
    u, _, vh = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    strengths = torch.logspace(0, -1, len(vh))
    result = orthogonalised(u @ torch.diag(strengths) @ vh)
    within = u.T @ result @ vh.T  # diagonal where the singular vectors are kept
    evened = within.diagonal()
    assert (within - torch.diag(evened)).abs().max() < 1e-4
    assert evened.min() > 0
    assert evened.max() / evened.min() < 3 < strengths.max() / strengths.min()


def test_muon_step_turns_by_its_rate_and_keeps_the_norm() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(24, 24, 3, 3, generator=generator, requires_grad=True)
    optimiser = Muon([weight], lr=0.1)
    before = weight.detach() / weight.detach().norm() * 24**0.5
    weight.grad = torch.randn(24, 24, 3, 3, generator=generator)
    optimiser.step()
    share = ((weight - before).norm() / before.norm()).item()
    assert 0.05 < share < 0.15
    assert ((weight - before) * weight.grad).sum() < 0, "it climbs"


def test_muon_lowers_a_loss_it_is_given() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, target = (
        torch.randn(64, 12, generator=generator),
        torch.randn(6, 12, generator=generator),
    )
    target = target / target.norm() * 6**0.5
    weight = torch.randn(6, 12, generator=generator, requires_grad=True)
    optimiser = Muon([weight], lr=0.05)
    losses = []
    for _ in range(60):
        loss = ((inputs @ (weight - target).T) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[1]
