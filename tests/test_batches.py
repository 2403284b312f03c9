"""What a training sees is the seed's choice alone, and every row comes once an epoch."""

from dataclasses import replace

import pytest
import torch

from evaluator.training.augmentation import normalise
from evaluator.training.batches import Batches, augment
from evaluator.training.pipelines import PIPELINES, Pipeline

PIPELINE = replace(PIPELINES["organiser"], batch_size=8, validation_share=0.1)
CPU = torch.device("cpu")


def batches(n: int = 31, pipeline: Pipeline = PIPELINE, seed: int = 0) -> Batches:
    """Of images that tell their row, with the row as their target."""
    rows = torch.arange(n)
    images = rows.to(torch.uint8)[:, None, None, None].expand(n, 3, 4, 4).contiguous()
    return Batches(pipeline, seed, images, rows[:, None].float(), CPU)


def rows_of(batch: tuple[torch.Tensor, ...]) -> list[int]:
    images, targets, *_ = batch
    assert torch.equal(images[:, 0, 0, 0].float(), targets[:, 0])
    return targets[:, 0].int().tolist()


def test_epoch_has_each_row_once_but_those_held_out():
    made = batches()
    first, second = ([rows_of(batch) for batch in made.epoch()] for _ in range(2))
    assert first != second
    held_out = made.held_out_rows.tolist()
    assert len(held_out) == 3
    for epoch in (first, second):
        assert [len(rows) for rows in epoch] == made.sizes == [7, 7, 7, 7]
        assert sorted(sum(epoch, held_out)) == list(range(31))
    assert [targets[:, 0].int().tolist() for _, targets in made.held_out()] == [held_out]
    again = [rows_of(batch) for batch in batches().epoch()]
    assert again == first


@pytest.mark.parametrize("change", [{"flips": False}, {"quarter_turns": True}, {"blur": False}])
def test_epoch_draws_the_same_rows_and_symmetries_for_every_pipeline(change):
    other = batches(pipeline=replace(PIPELINE, **change))
    for batch, changed in zip(batches().epoch(), other.epoch(), strict=True):
        for own, others in zip(batch[:3], changed[:3], strict=True):
            assert torch.equal(own, others)


def test_training_images_are_in_order_and_not_augmented():
    made = batches()
    expected = torch.tensor([row for row in range(31) if row not in made.held_out_rows.tolist()])
    found = torch.cat(list(made.training_images()))
    images = expected.to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    assert torch.equal(found, normalise(images))


def test_augment_blurs_only_with_taps():
    images = torch.zeros(1, 3, 9, 9, dtype=torch.uint8)
    images[0, :, 4, 4] = 255
    upright, taps = torch.zeros(1, 3, dtype=torch.bool), torch.full((1, 5), 0.2)
    assert torch.equal(augment(PIPELINE, images, upright), normalise(images))
    spread = augment(PIPELINE, images, upright, taps) > normalise(torch.zeros_like(images)) + 1e-4
    assert spread[0, 0].sum() == 25
