"""What every benchmark prints: the hardware in one line, and a Markdown table."""

import os
from collections.abc import Sequence

import torch

from evaluator.training.device import device_name


def hardware(device: str | None = None) -> str:
    """Processor, threads and torch, and how busy the machine was when the clock started."""
    busy = f"load {os.getloadavg()[0]:.1f} at the start"
    return f"{device_name(device)}, torch {torch.__version__}, {busy}"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table: first column to the left, the others to the right."""
    print("\n| " + " | ".join(header) + " |")
    print("|---" + "|---:" * (len(header) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)
