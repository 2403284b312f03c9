"""`python -m evaluator doctor`: what this machine has, what it lacks, how to fix it.

Runs on the standard library alone, for it is asked when an installation does not work.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from evaluator.checks import environment
from evaluator.checks.check import Check, add_json_flag, show

MAKE_DATA = "python -m evaluator data make --recipe demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `doctor`."""
    add_json_flag(parser)
    parser.set_defaults(run=lambda flags: show(examine(Path()), as_json=flags.json))


def examine(folder: Path) -> list[Check]:
    """Every check. `folder` is where commands are typed: it holds, or will, data/ and results/."""
    results, data = folder / "results", folder / "data"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    elsewhere = "/a/folder/of/yours"
    free = shutil.disk_usage(environment.nearest_existing(results)).free
    return [
        *_installation(),
        environment.memory_check(environment.total_memory()),
        environment.cpu_check(environment.usable_cpus()),
        environment.disk_check(free, results),
        environment.write_check(
            "results", [results], f"python local_evaluation.py --out {elsewhere}"
        ),
        environment.write_check("cache", [data, home], f"export XDG_CACHE_HOME={elsewhere}"),
        *_data(data),
        environment.git_check(),
        environment.ray_check(),
        environment.bubblewrap_check(),
    ]


def _installation() -> list[Check]:
    files = (environment.REPO_ROOT / name for name in environment.REQUIREMENTS)
    pins = environment.read_pins("\n".join(file.read_text("utf-8-sig") for file in files))
    installed, needs = environment.installed_version, environment.torch_that_torchvision_needs()
    facts, driver = environment.ask_torch(), environment.output_of(*environment.NVIDIA)
    return [
        environment.python_check(sys.version_info[:3]),
        environment.torch_check(facts, pins, installed, needs),
        environment.requirements_check(pins, installed),
        environment.gpu_check(facts, driver),
        environment.weights_check(facts),
    ]


def _data(folder: Path) -> list[Check]:
    try:
        return data_checks(folder)
    except ImportError as error:
        return [Check("data", "warn", f"not looked at: {error}", environment.how_to_install())]


def data_checks(data: Path) -> list[Check]:
    """One check per data set in `data`, by its files and tables, of which few are decoded."""
    folders = [path for path in sorted(data.glob("[!.]*")) if path.is_dir()]
    if not folders:
        detail = f"no data set in {data}; an evaluation then generates synthetic images"
        return [Check("data", "warn", detail, MAKE_DATA)]
    return [_data_check(folder) for folder in folders]


def _data_check(root: Path) -> Check:
    # What follows needs what may be missing where the doctor is asked.
    from shared.errors import DatasetError
    from shared.images.decoding import BROKEN, open_image
    from shared.images.layout import find_splits, read_split

    name = f"data: {root.name}"
    if next(root.rglob("labels.csv"), None) is None:
        return Check(name, "warn", f"{root} is no data set: no labels.csv in it", MAKE_DATA)
    sizes = set()
    try:
        files = find_splits(root)
        training = read_split("training", files.pop("training"))
        splits = [training, *(read_split(*split, training.class_names) for split in files.items())]
        for split in splits:
            try:
                with open_image(split.images[0]) as image:
                    image.load()
                    sizes.add(f"{image.width} x {image.height}")
            except BROKEN as error:
                raise OSError(f"the image {split.images[0]} cannot be read ({error})") from error
    except (DatasetError, OSError) as error:
        return Check(name, "fail", str(error), f"python -m evaluator data check {root}")
    counts = ", ".join(f"{len(split.images):,} {split.name}" for split in splits)
    classes = len(training.class_names)
    return Check(name, "ok", f"{counts}; {classes} classes; {', '.join(sorted(sizes))} px")
