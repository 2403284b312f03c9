"""Loops of many small steps run best on one thread."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it torch uses one thread on the CPU; the number from before returns afterwards.

    For loops of thousands of small products: waiting for a second thread at every step costs
    more than it brings, and many times more where other processes want the cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
