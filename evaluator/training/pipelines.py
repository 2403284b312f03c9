"""The post-purchase pipelines by name: what is trained on training set + purchase, and how.

A pipeline is data, not code; `ZEWDPCTrainer` carries it out. What is known of the organisers'
trainer and what is our own choice stands in the comments below.
"""

import difflib
import hashlib
import json
import math
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from shared.errors import ConfigurationError

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


@dataclass(
    frozen=True,
    slots=True,
    kw_only=True,
    config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False),
)
class Pipeline:
    """One post-purchase training recipe. Raises pydantic's ValidationError for impossible settings.

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
    size: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)]  # batch normalisation needs two
    optimiser: Optimiser
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Schedule
    frozen_features: bool = False
    blur: bool = False
    flips: bool = True
    quarter_turns: bool = False
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    positive_weight: Annotated[float, Field(gt=0)] = 1.0
    muon_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    minimum_steps: Annotated[int, Field(ge=0)] = 0
    averaged_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    standardised: bool = False
    revision: int = 1

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "Pipeline":
        for setting, fits, expected in (
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
            if not fits:
                about = {"setting": setting, "value": getattr(self, setting), "expected": expected}
                raise PydanticCustomError(
                    "settings", "{setting} is {value}, expected {expected}", about
                )
        return self

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

_NOT_SETTINGS = ("name", "revision")
_ADAPTER = TypeAdapter(Pipeline)
_EXPECTED = {  # by pydantic's type of error; {ge} and the like are the bounds of the setting
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "at least {ge}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "at most {le:g}",
}


def parse_pipeline(text: str) -> Pipeline:
    """A pipeline as on a command line: `organiser`, or `organiser:epochs=20,learning_rate=0.003`.

    The second is a configuration of its own. Its name says in which settings it differs from the
    first, in one order and one spelling, so that every record tells the two apart. Raises
    ConfigurationError.
    """
    name, colon, settings = text.partition(":")
    if name not in PIPELINES:
        raise ConfigurationError(
            "unknown-pipeline",
            f"pipeline {name!r} is not known;{_meant(name, PIPELINES)} choose one of "
            f"{', '.join(PIPELINES)}",
        )
    base = PIPELINES[name]
    if not colon:
        return base
    own = {key: value for key, value in asdict(base).items() if key not in _NOT_SETTINGS}
    given: dict[str, Any] = {}
    for part in settings.split(","):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not (key and equals and value) or key in given:
            raise ConfigurationError(
                "pipeline-setting",
                f"pipeline {text!r}: {part!r} came, expected key=value, each key once, as in "
                f"{name}:epochs={2 * base.epochs},learning_rate={base.learning_rate}",
            )
        if key not in own:
            known = ", ".join(f"{known}={_spelled(value)}" for known, value in own.items())
            raise ConfigurationError(
                "pipeline-setting",
                f"pipeline {text!r}: there is no setting {key!r};{_meant(key, own)} those of "
                f"{name} are {known}",
            )
        given[key] = None if value.lower() == "none" else value
    try:
        changed = _ADAPTER.validate_python({**asdict(base), **given}, strict=False)
    except ValidationError as error:
        setting, value, expected = _what_is_wrong(error)
        raise ConfigurationError(
            "pipeline-setting", f"pipeline {text!r}: {setting} is {value!r}, expected {expected}"
        ) from error
    differing = [
        f"{key}={_spelled(getattr(changed, key))}"
        for key in own
        if getattr(changed, key) != own[key]
    ]
    return replace(changed, name=f"{name}:{','.join(differing)}") if differing else base


def _meant(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" did you mean {close[0]!r}?" if close else ""


def _spelled(value: object) -> str:
    """As a command line gives it."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _what_is_wrong(error: ValidationError) -> tuple[Any, Any, str]:
    """Setting, value and what is valid, of the first setting that is wrong."""
    first = error.errors()[0]
    about = first.get("ctx", {})
    if first["type"] == "settings":  # that do not fit together
        return about["setting"], about["value"], about["expected"]
    if first["type"] in _EXPECTED:
        expected = _EXPECTED[first["type"]].format(**about)
    else:
        expected = first["msg"].removeprefix("Input should be ")
    return first["loc"][0], first["input"], expected
