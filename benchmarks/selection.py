"""Seconds and memory of every strategy, beside the same methods of other libraries.

    python benchmarks/selection.py                       # all three sections
    python benchmarks/selection.py --sections catalogue peers
    python benchmarks/selection.py --sections scale --only badge coreset

Three sections, each a table: `catalogue`, every strategy on 10,000 images x 1,792 features, 6
classes, 2,000 picks; `peers`, the same input given to other libraries, each stopped once it has
taken `--patience` times our time (then reported as "> N s"); `scale`, 10,000 and 1,000,000 images
x 256 features in half precision, with the exponent of cost in pool size. Each measurement is
made in a process of its own, once (20 times where it takes less than 0.2 s). Memory is the peak
above what the process held when its inputs were in place. On a machine that others use too,
`--clock cpu --threads 1` counts CPU seconds instead. Peers that are not installed
(requirements-dev.txt) are left out, and named.
"""

import argparse
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import torch
from torch import Tensor

from benchmarks.peers import PEERS
from benchmarks.tables import hardware, print_table
from strategies.feature_space import EmbeddingPoints
from strategies.pool_view import PoolView
from strategies.registry import load, parse_strategy
from strategies.selectors import d_squared_sample

CLASSES, LABELLED, PICKS = 6, 1_000, 2_000
CATALOGUE = (10_000, 1_792)
SCALE = ((10_000, 256), (1_000_000, 256))
MEMORY_LIMIT_SCALE_GB, SECONDS_LIMIT_SCALE = 6.0, 600
SHORT_S = 0.2
SHORTEST_PATIENCE_S, LONGEST_PATIENCE_S = 10.0, 150.0


@dataclass(frozen=True)
class Measured:
    """One selection: seconds, or why there are none; memory in MB, above inputs and in all."""

    seconds: float | None
    above_mb: float = 0.0
    total_mb: float = 0.0
    cpu_s: float = 0.0
    note: str = ""


def make_views(images: int, dimensions: int, half: bool) -> dict[str, Tensor]:
    """A pool like the pooled features of a network: clustered, not negative, rare classes."""
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(200, dimensions, generator=rng)
    heads = torch.randn(dimensions, CLASSES, generator=rng) * 3 / dimensions**0.5

    def embed(count: int) -> Tensor:
        features = torch.empty(count, dimensions, dtype=torch.float16 if half else torch.float32)
        for start in range(0, count, 10_000):
            block = features[start : start + 10_000]
            where = torch.randint(len(centres), (len(block),), generator=rng)
            noise = torch.randn(len(block), dimensions, generator=rng)
            block.copy_((centres[where] + noise).relu_())
        return features

    def believe(features: Tensor) -> Tensor:
        rowwise = torch.split(features, 10_000)
        blocks = [torch.sigmoid(rows.float() @ heads - 2.5) for rows in rowwise]
        return torch.cat(blocks)

    pool, labelled = embed(images), embed(LABELLED)
    p, known = believe(pool), believe(labelled)
    spread = torch.randn(5, 1, CLASSES, generator=rng) * 0.5
    return {
        "probabilities": p,
        "embeddings": pool,
        "committee": torch.sigmoid(p.logit(eps=1e-6) + spread),
        "labelled_embeddings": labelled,
        "labelled_labels": (torch.rand(known.shape, generator=rng) < known).float(),
        "labelled_probabilities": known,
        "validation_f1": torch.rand(CLASSES, generator=rng),
        "thresholds": torch.full((CLASSES,), 0.5),
    }


def select_ours(views: dict[str, Tensor], name: str) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    if name == "d-squared":  # a selector without a strategy of its own
        return d_squared_sample(EmbeddingPoints(views["embeddings"]), PICKS, rng)
    return parse_strategy(name).select(PoolView.from_tensors(**views), PICKS, rng)


def run_child(views_file: str, name: str, peer: str, limit_s: str) -> None:
    """Measure one selection in this process and print it as JSON; past `limit_s` CPU seconds the
    system ends it."""
    load()
    views: dict[str, Tensor] = torch.load(views_file)
    small = make_views(64, 8, half=False)
    parse_strategy("entropy").select(PoolView.from_tensors(**small), 5, torch.Generator())
    torch.randn(256, 256) @ torch.randn(256, 256)  # starts the threads
    process = psutil.Process()
    before = process.memory_info().rss
    # From here on, VmHWM is this selection's peak.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    used = math.ceil(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used + math.ceil(float(limit_s)), -1))

    def select() -> Any:
        return PEERS[name][peer](views, PICKS) if peer else select_ours(views, name).numpy()

    try:
        picks, seconds, cpu_s = timed(select, 1)
    except ImportError as missing:
        print(json.dumps({"seconds": None, "note": f"not installed ({missing.name})"}))
        return
    if seconds < SHORT_S:  # below the resolution of the clocks
        picks, seconds, cpu_s = timed(select, 20)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    distinct = len(set(picks.tolist()))
    note = "" if distinct == PICKS else f"{distinct} distinct picks"
    measured = {"seconds": seconds, "above_mb": (peak - before) / 1e6, "total_mb": peak / 1e6}
    print(json.dumps({**measured, "cpu_s": cpu_s, "note": note}))


def timed(select: Callable[[], Any], runs: int) -> tuple[Any, float, float]:
    """What it answers; seconds, and CPU seconds, of one run."""
    start, cpu_start = time.perf_counter(), time.process_time()
    for _ in range(runs):
        picks = select()
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    return picks, seconds / runs, cpu_s / runs


def measure(
    views_file: Path, name: str, peer: str, limit_s: float, options: argparse.Namespace
) -> Measured:
    """Run one selection in a process of its own, stopped once it has taken `limit_s` seconds."""
    threads = str(options.threads)
    counts = {f"{library}_NUM_THREADS": threads for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    on_cpu = options.clock == "cpu"
    cpu_limit_s = limit_s if on_cpu else limit_s * options.threads
    command = [sys.executable, "-W", "ignore", __file__, "--child", str(views_file), name, peer]
    start_up_s = 20.0
    try:
        done = subprocess.run(
            [*command, str(cpu_limit_s)],
            env={**os.environ, **counts},
            capture_output=True,
            text=True,
            timeout=None if on_cpu else limit_s + start_up_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Measured(None, note=f"> {limit_s:.0f} s")
    if done.returncode == -signal.SIGXCPU:
        return Measured(None, note=f"> {limit_s:.0f} s")
    if done.returncode != 0:
        return Measured(None, note=f"failed: {(done.stderr.strip() or 'killed').splitlines()[-1]}")
    measured = Measured(**json.loads(done.stdout.splitlines()[-1]))
    if on_cpu and measured.seconds is not None:
        return replace(measured, seconds=measured.cpu_s)
    return measured


def catalogue_and_peers(names: list[str], options: argparse.Namespace, folder: Path) -> None:
    """Every strategy, and beside those that others have, theirs."""
    file = folder / "catalogue.pt"
    torch.save(make_views(*CATALOGUE, half=False), file)
    images, dimensions = CATALOGUE
    print(f"{images:,} x {dimensions:,}, {CLASSES} classes, {PICKS:,} picks, one run each")
    ours = {}
    for name in names:
        ours[name] = measure(file, name, "", SECONDS_LIMIT_SCALE, options)
        report(images, name, ours[name])
    if "catalogue" in options.sections:
        rows = [[f"`{n}`", show(m), f"{m.above_mb:,.0f}"] for n, m in ours.items()]
        print_table(("strategy", "seconds", "MB above inputs"), rows)
    if "peers" not in options.sections:
        return
    rows = []
    for name in names:
        our_s = ours[name].seconds
        for peer in PEERS.get(name, {}) if our_s is not None else {}:
            assert our_s is not None
            patience = our_s * options.patience
            limit = min(LONGEST_PATIENCE_S, max(SHORTEST_PATIENCE_S, patience))
            theirs = measure(file, name, peer, limit, options)
            report(images, peer, theirs)
            ratio, sign = theirs.seconds, ""
            if ratio is None and theirs.note.startswith(">"):
                ratio, sign = limit, "> "
            times = f"{sign}{ratio / our_s:,.1f}x" if ratio is not None else "-"
            rows.append([f"`{name}`", f"{our_s:.2f}", peer, show(theirs), times])
    print_table(("selection", "ours, s", "peer", "peer, s", "ratio"), rows)


def scale(names: list[str], options: argparse.Namespace, folder: Path) -> None:
    """Cost from the smallest pool to the largest."""
    found: dict[str, list[Measured]] = {name: [] for name in names}
    for images, dimensions in SCALE:
        file = folder / "scale.pt"
        torch.save(make_views(images, dimensions, half=True), file)
        for name in names:
            measured = measure(file, name, "", SECONDS_LIMIT_SCALE, options)
            found[name].append(measured)
            report(images, name, measured)
    rows = []
    growth = math.log(SCALE[-1][0] / SCALE[0][0])
    for name, (small, large) in found.items():
        exponent = "-"
        if small.seconds and large.seconds:
            exponent = f"{math.log(large.seconds / small.seconds) / growth:.2f}"
        total = f"{large.total_mb / 1000:.1f}"
        rows.append([f"`{name}`", show(small), show(large), exponent, total])
    print(f"{PICKS:,} picks, {SCALE[0][1]} features (fp16), {CLASSES} classes, one run each")
    header = [f"{images:,}, s" for images, _ in SCALE]
    print_table(("strategy", *header, "exponent", "largest, GB in all"), rows)


def report(images: int, what: str, measured: Measured) -> None:
    """A line as soon as it is known: the tables come at the end."""
    print(f"{images:>9,} {what:40} {show(measured)}", file=sys.stderr, flush=True)


def show(measured: Measured) -> str:
    if measured.seconds is None:
        return measured.note
    return f"{measured.seconds:#.3g}".rstrip(".") + (f" ({measured.note})" if measured.note else "")


def parse(arguments: Sequence[str]) -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--sections", nargs="+", default=["catalogue", "peers", "scale"],
        choices=["catalogue", "peers", "scale"], help="which tables to make",
    )  # fmt: skip
    parser.add_argument("--only", nargs="+", help="these strategies (default: all)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall",
        help="cpu: CPU seconds throughout, for a machine that others use too (--threads 1)",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=float, default=12, help="stop a peer at so many times our time"
    )
    return parser.parse_args(arguments)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        run_child(*sys.argv[2:6])
        return
    options = parse(sys.argv[1:])
    torch.set_num_threads(options.threads)
    print(f"{hardware('cpu')}; {options.clock} seconds", flush=True)
    names = options.only or [*sorted(load()), "d-squared"]
    with tempfile.TemporaryDirectory() as folder:
        if {"catalogue", "peers"} & set(options.sections):
            catalogue_and_peers(names, options, Path(folder))
        if "scale" in options.sections:
            scale([n for n in names if n != "d-squared"], options, Path(folder))


if __name__ == "__main__":
    main()
