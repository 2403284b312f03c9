"""A post-purchase training as a kit is usually written, to compare with.

PIL decodes each image in each epoch, torchvision's transforms change it, a DataLoader with
workers brings it, and the network computes in full precision. Nothing is held out.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from evaluator.data.dataset import Splits
from evaluator.training.networks import build_network, set_training
from evaluator.training.optimisers import build_optimisers, build_schedule
from evaluator.training.pipelines import Pipeline
from shared.images.layout import find_splits, read_split

WORKERS = 4


class Files(Dataset[tuple[Tensor, Tensor]]):
    """Images read from their files whenever they are asked for."""

    def __init__(self, files: Sequence[Path], labels: np.ndarray, pipeline: Pipeline) -> None:
        self.files = files
        self.labels = torch.from_numpy(labels.astype(np.float32))
        size, steps = pipeline.size, list[Callable[..., object]]()
        if size:
            steps.append(transforms.Resize(size))
        if pipeline.flips:
            steps += [transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip()]
        if pipeline.quarter_turns:
            steps.append(transforms.RandomApply([transforms.RandomRotation((90, 90))]))
        if pipeline.blur:
            steps.append(transforms.GaussianBlur(5))
        steps += [
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB")), self.labels[index]


def fit_plainly(
    splits: Splits,
    n: int,
    pipeline: Pipeline,
    device: torch.device,
    *,
    epochs: int,
    seed: int,
    after_epoch: Callable[[], None] = lambda: None,
) -> nn.Module:
    """Train on the first `n` images of the training split; the network, ready to predict."""
    torch.manual_seed(seed)
    data = Files(training_files(splits)[:n], splits.training.labels, pipeline)
    loader = DataLoader(data, pipeline.batch_size, shuffle=True, num_workers=WORKERS)
    network = build_network(pipeline.architecture, len(splits.class_names)).to(device)
    set_training(network, frozen_features=pipeline.frozen_features)
    optimisers = build_optimisers(network, pipeline)
    steps = epochs * len(loader)
    schedules = [build_schedule(optimiser, pipeline, steps) for optimiser in optimisers]
    weight = torch.tensor(pipeline.positive_weight, device=device)
    for _ in range(epochs):
        for batch, labels in loader:
            logits = network(batch.to(device))
            loss = F.binary_cross_entropy_with_logits(logits, labels.to(device), pos_weight=weight)
            network.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimiser, schedule in zip(optimisers, schedules, strict=True):
                optimiser.step()
                if isinstance(schedule, torch.optim.lr_scheduler.LambdaLR):
                    schedule.step()
        after_epoch()
    return network.eval()


def training_files(splits: Splits) -> tuple[Path, ...]:
    """The image files of the training split, in the order of its labels."""
    found = find_splits(splits.root)
    return tuple(read_split("training", found["training"], splits.class_names).images)
