"""Files and folders that may not be read, also by root."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

READS_ALL = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
VERSION_3 = 0x20080522  # of the kernel's capability sets


@contextlib.contextmanager
def permissions(path: Path, mode: int) -> Iterator[None]:
    """`path` has the permissions `mode` while this is open, and they bind this thread."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with _rights_of_a_user():
            yield
    finally:
        path.chmod(before)


@contextlib.contextmanager
def _rights_of_a_user() -> Iterator[None]:
    """This thread, and those that it starts, are bound by permissions though root's."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the upper halves
    if libc.capget(header, sets):
        pytest.skip("this kernel does not tell what root may do")
    effective = sets[0]
    sets[0] = effective & ~READS_ALL
    if libc.capset(header, sets):
        pytest.skip("root cannot give up its rights here")
    try:
        yield
    finally:
        sets[0] = effective
        libc.capset(header, sets)
