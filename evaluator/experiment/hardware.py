"""How much of the platform's work a minute here is worth, and budgets cut to match.

`python -m evaluator calibrate` measures and writes the file; `local_evaluation.py --hardware t4`
reads it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluator.atomic_io import write_file
from evaluator.errors import ConfigurationError
from evaluator.records.trial import Pair
from evaluator.training.throughput import Throughput

FILE = Path("results/calibration.json")
LEAST_MINUTES = 0.1  # of compute that a scaled pair still has


@dataclass(frozen=True)
class Reference:
    """Images per second of EfficientNet-b4 at 256 px on other hardware: from, to."""

    training: tuple[float, float]
    inference: tuple[float, float]

    @property
    def middle(self) -> float:
        """Of training: the geometric mean, for both ends are ratios."""
        return math.sqrt(self.training[0] * self.training[1])


# Nobody has published a T4's throughput of this network: an estimate, from GPUs that have been
# measured with mixed precision and channels-last, by memory bandwidth (b4 waits for memory; a T4
# has 320 GB/s) and by pixels (all but the smallest layers grow with the image).
#   training   V100, 900 GB/s: 204/s at 380 px (NVIDIA DeepLearningExamples)  -> 160
#              A100 80 GB, 2,039 GB/s: 331/s at 380 px (the same)             -> 114
#              RTX 3090, 936 GB/s: 242/s at 380 px, 355/s at 320 px (timm's
#              results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv)      -> 182, 190
#   inference  RTX 3090: 922/s at 380 px (timm's benchmark-infer-...)         -> 695,
#              and down by as much as training lies apart
T4 = Reference(training=(114.0, 190.0), inference=(417.0, 695.0))


@dataclass(frozen=True)
class Calibration:
    """What was measured on one processor; as in the file."""

    device: str  # as journals name it
    torch: str
    model: str
    pixels: int
    batch_size: int
    precision: str
    measured: str  # ISO date and time
    training: Throughput
    inference: Throughput

    @property
    def worth(self) -> float:
        """T4 minutes that one minute here is worth, by training."""
        return self.training.median / T4.middle

    @property
    def worth_range(self) -> tuple[float, float]:
        """... as far as a T4 is known."""
        return self.training.median / T4.training[1], self.training.median / T4.training[0]

    @property
    def worth_of_looking(self) -> float:
        """The same by inference."""
        low, high = T4.inference
        return self.inference.median / math.sqrt(low * high)

    def minutes_here(self, minutes: float) -> float:
        """Minutes here that do the work of so many on a T4, to hundredths."""
        return max(LEAST_MINUTES, round(minutes / self.worth, 2))

    def pairs_here(self, pairs: Sequence[Pair]) -> tuple[Pair, ...]:
        """Pairs in minutes of a T4 as pairs in minutes of this processor; equal ones are one."""
        return tuple(dict.fromkeys(Pair(p.budget, self.minutes_here(p.minutes)) for p in pairs))

    def write(self, path: Path) -> None:
        write_file(path, f"{json.dumps(asdict(self), indent=2)}\n".encode())


def read_calibration(path: Path, device: str) -> Calibration:
    """The calibration in `path`, which must be that of `device`, named as journals name it.

    Raises ConfigurationError where there is none, it cannot be read, or it is another's.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        speeds = [Throughput(**fields.pop(name)) for name in ("training", "inference")]
        found = Calibration(training=speeds[0], inference=speeds[1], **fields)
        if not all(0 < speed.median < math.inf for speed in speeds):
            raise ValueError("speeds must be above 0")
    except FileNotFoundError:
        raise ConfigurationError(
            "no-calibration",
            f"--hardware t4 needs to know how fast this machine is, and there is no {path}: run "
            "`python -m evaluator calibrate` first (a minute or two).",
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigurationError(
            "bad-calibration",
            f"{path} is not what `python -m evaluator calibrate` writes ({error}): run it again.",
        ) from None
    if found.device != device:
        raise ConfigurationError(
            "other-calibration",
            f"{path} was measured on {found.device}; here computes {device}. Run `python -m "
            "evaluator calibrate` here, with the same --device.",
        )
    return found
