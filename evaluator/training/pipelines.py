"""The post-purchase pipelines by name: what is trained on training set + purchase, and how.

A pipeline is data, not code; `ZEWDPCTrainer` carries it out. What is known of the organisers'
trainer and what is our own choice stands in the comments below.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from evaluator.errors import ConfigurationError

Architecture = Literal[
    "efficientnet_b4",
    "efficientnet_b0",
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
    "max_pool_mil",
]
Optimiser = Literal["adam", "adamw", "muon"]
Schedule = Literal["plateau", "cosine", "one-cycle"]


DROPOUT = {"efficientnet_b4": 0.4}  # of the architectures as published; the others' is 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """One post-purchase training recipe.

    `size` is the longest side, in pixels, that the images are brought down to (smaller images are
    left as they are); None trains at the native size. `validation_share` of the rows is held out
    for the plateau schedule and for nothing else. `positive_weight` multiplies the loss of a class
    where it is present. With the optimiser `muon`, `muon_learning_rate` turns the hidden
    convolutions and AdamW at `learning_rate` trains the rest. `averaged_share` of the steps, the
    last ones, leave their weights to the average that predicts (Izmailov et al. 2018, "Averaging
    Weights Leads to Wider Optima and Better Generalization", after Polyak and Juditsky 1992); 0
    predicts with the weights of the last step. `dropout` is the share of the features that the
    head does without in each step; None takes the architecture's own. With `frozen_features` the
    head learns from kept features (`evaluator.training.frozen`), which `standardised` brings to
    zero mean and unit deviation over what is trained on. `minimum_steps` is explained at
    `epochs_for`.
    `revision` is raised whenever the code behind a pipeline changes what is learned, so that old
    scores are not taken for new ones.
    """

    name: str
    architecture: Architecture
    pretrained: bool
    size: int | None = None
    epochs: int
    batch_size: int
    optimiser: Optimiser
    learning_rate: float
    weight_decay: float = 0.0
    schedule: Schedule
    frozen_features: bool = False
    blur: bool = False
    flips: bool = True
    quarter_turns: bool = False
    validation_share: float = 0.0
    positive_weight: float = 1.0
    muon_learning_rate: float = 0.0
    minimum_steps: int = 0
    averaged_share: float = 0.0
    dropout: float | None = None
    standardised: bool = False
    revision: int = 1

    def __post_init__(self) -> None:
        for field, allowed in (
            ("architecture", get_args(Architecture)),
            ("optimiser", get_args(Optimiser)),
            ("schedule", get_args(Schedule)),
        ):
            if getattr(self, field) not in allowed:
                raise ConfigurationError(
                    "pipeline-setting",
                    f"pipeline {self.name!r}: {field} is {getattr(self, field)!r}, "
                    f"expected one of {', '.join(allowed)}",
                )
        for field, sound, expected in (
            ("minimum_steps", self.minimum_steps >= 0, "a number of at least 0"),
            ("size", self.size is None or self.size >= 1, "None or at least 1 pixel"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 2, "at least 2 (batch normalisation)"),
            ("learning_rate", self.learning_rate > 0, "a number above 0"),
            ("weight_decay", self.weight_decay >= 0, "a number of at least 0"),
            ("validation_share", 0 <= self.validation_share < 1, "at least 0 and below 1"),
            ("positive_weight", self.positive_weight > 0, "a number above 0"),
            ("averaged_share", 0 <= self.averaged_share <= 1, "a share from 0 to 1"),
            ("dropout", self.dropout is None or 0 <= self.dropout < 1, "at least 0 and below 1"),
            (
                "dropout",
                self.dropout is None or self.architecture != "max_pool_mil",
                "none with max_pool_mil, which has no layer for it",
            ),
            (
                "standardised",
                self.frozen_features or not self.standardised,
                "false where features are trained",
            ),
            (
                "frozen_features",
                self.pretrained or not self.frozen_features,
                "false where nothing is pretrained",
            ),
            (
                "muon_learning_rate",
                (self.muon_learning_rate > 0) == (self.optimiser == "muon"),
                "a number above 0 with the optimiser muon, 0 with any other",
            ),
            (
                "optimiser",
                self.optimiser != "muon" or self.architecture == "max_pool_mil",
                "adam or adamw for this architecture (muon is for max_pool_mil)",
            ),
        ):
            if not sound:
                raise ConfigurationError(
                    "pipeline-setting",
                    f"pipeline {self.name!r}: {field} is {getattr(self, field)!r}, "
                    f"expected {expected}",
                )

    def epochs_for(self, n_batches: int) -> int:
        """Epochs for a set of `n_batches` batches.

        `epochs`, and up to four times as many where a small set would otherwise make fewer than
        `minimum_steps` steps: too few to leave the starting plateau.
        """
        needed = math.ceil(self.minimum_steps / n_batches)
        return max(self.epochs, min(needed, 4 * self.epochs))

    @property
    def head_dropout(self) -> float:
        """The share of features that the head does without in a step."""
        return DROPOUT.get(self.architecture, 0.2) if self.dropout is None else self.dropout

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any setting; the same on every machine."""
        settings = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(settings.encode()).hexdigest()[:16]


# Known of the organisers' trainer: EfficientNet-b4, 10 epochs, batch 64, 10 % validation split, a
# plateau schedule, features frozen, blur in training only. Adam at 1e-3, the native size and the
# flips are our choice.
_ORGANISER = Pipeline(
    name="organiser",
    architecture="efficientnet_b4",
    pretrained=True,
    epochs=10,
    batch_size=64,
    optimiser="adam",
    learning_rate=1e-3,
    schedule="plateau",
    frozen_features=True,
    blur=True,
    validation_share=0.1,
)
_UNFROZEN = replace(_ORGANISER, name="unfrozen", frozen_features=False)
# The same recipe with the small networks whose ImageNet weights come with pip.
_LITE = replace(_ORGANISER, name="lite", architecture="tf_efficientnet_lite0")
_QUICK = Pipeline(
    name="quick",
    architecture="max_pool_mil",
    pretrained=False,
    size=80,
    epochs=15,
    batch_size=32,
    optimiser="muon",
    learning_rate=3e-3,
    muon_learning_rate=0.03,
    minimum_steps=480,
    schedule="one-cycle",
    quarter_turns=True,
    positive_weight=3.0,
)

PIPELINES: dict[str, Pipeline] = {
    pipeline.name: pipeline
    for pipeline in (
        _ORGANISER,
        _UNFROZEN,
        replace(_UNFROZEN, name="b0-unfrozen", architecture="efficientnet_b0"),
        replace(_UNFROZEN, name="no-blur", blur=False),
        replace(_UNFROZEN, name="cosine", epochs=30, schedule="cosine"),
        _LITE,
        replace(_LITE, name="lite-no-blur", blur=False),
        replace(_LITE, name="lite-long", epochs=30, schedule="cosine"),
        replace(_LITE, name="lite-standardised", epochs=60, schedule="cosine", standardised=True),
        replace(_LITE, name="lite2", architecture="tf_efficientnet_lite2"),
        replace(_LITE, name="lite-unfrozen", frozen_features=False),
        _QUICK,
        replace(_QUICK, name="quick-averaged", averaged_share=0.25),
    )
}

# The challenge's final ranking used five post-purchase pipelines; which five is not known. `all`
# needs a GPU, `all-lite` trains heads on kept features on any machine.
PIPELINE_GROUPS: dict[str, tuple[str, ...]] = {
    "all": ("organiser", "unfrozen", "b0-unfrozen", "no-blur", "cosine"),
    "all-lite": ("lite", "lite-no-blur", "lite-long", "lite-standardised", "lite2"),
}


def pipeline_named(name: str) -> Pipeline:
    """The pipeline of that name; raises `ConfigurationError` naming the known ones."""
    if name not in PIPELINES:
        raise ConfigurationError(
            "unknown-pipeline",
            f"pipeline {name!r} is not known; choose one of {', '.join(PIPELINES)}",
        )
    return PIPELINES[name]
