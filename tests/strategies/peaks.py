"""Prints, as JSON, how many MB each of the named strategies holds at most while it chooses.

In a process of its own, where the C library gives back all that is freed: what it keeps for later,
in pieces that may be too small, made the same choice grow a process by 95 to 269 MB.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from strategies.registry import parse_strategy
from tests.strategies.pools import generator, pool_of, views

GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # glibc's


def peaks_of(names: list[str]) -> dict[str, float]:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.strategies.peaks", *names],
        env=os.environ | GIVEN_BACK,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def peak(name: str) -> float:
    pool = pool_of(views(images=6000, dimensions=256, classes=12, labelled=100))
    strategy = parse_strategy(name)
    strategy.select(pool, 5, generator(0))  # reads the views, which are not the strategy's
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from here
    before = memory_mb("VmRSS")
    strategy.select(pool, 100, generator(0))
    return memory_mb("VmHWM") - before


def memory_mb(line: str) -> float:
    return int(Path("/proc/self/status").read_text().partition(f"{line}:")[2].split()[0]) / 1024


if __name__ == "__main__":
    print(json.dumps({name: peak(name) for name in sys.argv[1:]}))
