"""What torch says of itself and of the GPU, printed as JSON by a process of its own.

A broken installation ends this process, not the one that asks (`evaluator.checks.doctor`).
"""

import json
from pathlib import Path
from typing import Any

from evaluator.training.pipelines import PIPELINES


def main() -> None:
    import torch
    import torchvision  # with another torch than it was built for, this is where it breaks

    no_cuda = _why_no_cuda()
    found = {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "no_cuda": no_cuda,
        "gpus": [] if no_cuda else [_gpu(number) for number in range(torch.cuda.device_count())],
        "weights": _weights(),
    }
    print(json.dumps(found))


def _why_no_cuda() -> str:
    """Why torch computes on no GPU, in its own words; nothing where it does."""
    import torch

    try:
        torch.empty(0, device="cuda")
    except (RuntimeError, AssertionError) as refused:  # AssertionError: built without CUDA
        return str(refused).splitlines()[0]
    return ""


def _gpu(number: int) -> dict[str, Any]:
    """The GPU, and what went wrong when a sum was computed on it."""
    import torch

    device = torch.device("cuda", number)
    properties = torch.cuda.get_device_properties(device)
    try:
        torch.ones(64, 64, device=device).mm(torch.ones(64, 64, device=device)).sum().item()
        error = ""
    except RuntimeError as failed:
        error = str(failed).splitlines()[0]
    return {
        "name": properties.name,
        "capability": [properties.major, properties.minor],
        "memory": properties.total_memory,
        "error": error,
    }


def _weights() -> list[dict[str, str]]:
    """The ImageNet weights that pipelines start from: whose, where they lie, where they are had."""
    import torch
    from torchvision.models import get_model_weights

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    names = {pipeline.architecture for pipeline in PIPELINES.values() if pipeline.pretrained}
    urls = {name: get_model_weights(name).IMAGENET1K_V1.url for name in sorted(names)}
    return [
        {"architecture": name, "path": str(folder / Path(url).name), "url": url}
        for name, url in urls.items()
    ]


if __name__ == "__main__":
    main()
