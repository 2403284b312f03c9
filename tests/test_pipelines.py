"""The pipelines are what the design says, and settings are read strictly."""

import contextlib
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evaluator.training.pipelines import PIPELINE_GROUPS, PIPELINES, parse_pipeline
from shared.errors import ConfigurationError


def differences(name: str, base: str) -> dict[str, object]:
    one, other = PIPELINES[name], PIPELINES[base]
    return {
        field.name: getattr(one, field.name)
        for field in fields(one)
        if field.name != "name" and getattr(one, field.name) != getattr(other, field.name)
    }


def test_organiser_is_what_is_known_of_the_challenges_trainer():
    organiser = PIPELINES["organiser"]
    known = {
        "architecture": "efficientnet_b4",
        "pretrained": True,
        "frozen_features": True,
        "size": None,
        "epochs": 10,
        "batch_size": 64,
        "validation_share": 0.1,
        "blur": True,
        "schedule": "plateau",
    }
    assert {field: getattr(organiser, field) for field in known} == known


@pytest.mark.parametrize(
    ("name", "base", "changes"),
    [
        ("unfrozen", "organiser", {"frozen_features": False}),
        ("b0-unfrozen", "unfrozen", {"architecture": "efficientnet_b0"}),
        ("no-blur", "unfrozen", {"blur": False}),
        ("cosine", "unfrozen", {"epochs": 30, "schedule": "cosine"}),
        ("lite", "organiser", {"architecture": "tf_efficientnet_lite0"}),
        ("lite-no-blur", "lite", {"blur": False}),
        ("lite-long", "lite", {"epochs": 30, "schedule": "cosine"}),
        ("lite2", "lite", {"architecture": "tf_efficientnet_lite2"}),
        ("lite-unfrozen", "lite", {"frozen_features": False}),
        ("quick-averaged", "quick", {"averaged_share": 0.25}),
    ],
)
def test_variants_change_only_what_their_names_say(name, base, changes):
    assert differences(name, base) == changes


def test_groups_hold_five_pipelines_each():
    for names in PIPELINE_GROUPS.values():
        assert len(set(names)) == 5
        assert set(names) <= PIPELINES.keys()
    assert all(PIPELINES[name].frozen_features for name in PIPELINE_GROUPS["all-lite"])
    assert all(name == pipeline.name for name, pipeline in PIPELINES.items())
    assert not PIPELINES["quick"].pretrained


@pytest.mark.parametrize(
    ("n_batches", "epochs"), [(1, 40), (4, 25), (9, 12), (10, 10), (11, 10), (1000, 10)]
)
def test_epochs_for_small_sets_up_to_four_times(n_batches, epochs):
    pipeline = replace(PIPELINES["quick"], epochs=10, minimum_steps=100)
    assert pipeline.epochs_for(n_batches) == epochs
    assert replace(pipeline, minimum_steps=0).epochs_for(n_batches) == 10


def test_fingerprint_changes_with_every_setting_and_not_with_the_process():
    quick = PIPELINES["quick"]
    changed = [
        replace(quick, epochs=quick.epochs + 1),
        replace(quick, size=quick.size - 1),
        replace(quick, positive_weight=quick.positive_weight + 1),
        replace(quick, averaged_share=0.5),
        replace(quick, revision=quick.revision + 1),
    ]
    prints = [p.fingerprint() for p in (*PIPELINES.values(), *changed)]
    assert len(set(prints)) == len(prints)
    code = (
        "from evaluator.training.pipelines import PIPELINES\n"
        "print(PIPELINES['quick'].fingerprint())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert other == quick.fingerprint()


PARSED = {
    # text: the pipeline's name
    "organiser": "organiser",
    "organiser:epochs=20": "organiser:epochs=20",
    "organiser:epochs=10": "organiser",  # as it is anyway
    "organiser: learning_rate = 1e-4 , epochs=20": "organiser:epochs=20,learning_rate=0.0001",
    "quick:size=None,flips=no": "quick:size=none,flips=false",
    "cosine:optimiser=adamw,architecture=efficientnet_b0": (
        "cosine:architecture=efficientnet_b0,optimiser=adamw"
    ),
}


@pytest.mark.parametrize("text", PARSED)
def test_parse_pipeline_names_what_differs(text: str) -> None:
    pipeline = parse_pipeline(text)
    assert pipeline.name == PARSED[text]
    assert parse_pipeline(pipeline.name) == pipeline


def test_parse_pipeline_changes_the_settings_given_and_no_other() -> None:
    text = "quick:size=none,epochs=3,learning_rate=0.5,flips=false,optimiser=adam,"
    changed = parse_pipeline(f"{text}muon_learning_rate=0")
    expected = {
        "size": None,
        "epochs": 3,
        "learning_rate": 0.5,
        "flips": False,
        "optimiser": "adam",
        "muon_learning_rate": 0.0,
    }
    assert changed == replace(PIPELINES["quick"], name=changed.name, **expected)
    assert changed.fingerprint() != PIPELINES["quick"].fingerprint()


UNKNOWN = {
    "organizer": "'organizer' is not known; did you mean 'organiser'? choose one of organiser, unf",
    "zzz:epochs=3": "'zzz' is not known; choose one of organiser, unfrozen",
}


@pytest.mark.parametrize("text", UNKNOWN)
def test_parse_pipeline_unknown_name(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_pipeline(text)
    assert caught.value.code == "unknown-pipeline"
    assert UNKNOWN[text] in str(caught.value)


WRONG = {
    "organiser:": "'' came, expected key=value, each key once, as in organiser:epochs=20,learning_",
    "organiser:epochs": "'epochs' came, expected key=value",
    "organiser:epochs=": "'epochs=' came, expected key=value",
    "organiser:epochs=1,epochs=2": "'epochs=2' came, expected key=value, each key once",
    "organiser:epoch=3": "no setting 'epoch'; did you mean 'epochs'? those of organiser are archit",
    "organiser:name=x": "there is no setting 'name'; those of organiser are",
    "organiser:revision=2": "there is no setting 'revision'",
    "organiser:epochs=ten": "epochs is 'ten', expected a whole number",
    "organiser:epochs=2.5": "epochs is '2.5', expected a whole number",
    "organiser:epochs=none": "epochs is None, expected a whole number",
    "organiser:epochs=0": "epochs is '0', expected at least 1",
    "organiser:batch_size=1": "batch_size is '1', expected at least 2",
    "organiser:learning_rate=fast": "learning_rate is 'fast', expected a number",
    "organiser:learning_rate=nan": "learning_rate is 'nan', expected a finite number",
    "organiser:learning_rate=0": "learning_rate is '0', expected a number above 0",
    "organiser:weight_decay=-1": "weight_decay is '-1', expected at least 0",
    "organiser:validation_share=1": "validation_share is '1', expected a number below 1",
    "quick:averaged_share=1.5": "averaged_share is '1.5', expected at most 1",
    "quick:positive_weight=0": "positive_weight is '0', expected a number above 0",
    "quick:minimum_steps=-1": "minimum_steps is '-1', expected at least 0",
    "organiser:size=0": "size is '0', expected at least 1",
    "organiser:blur=maybe": "blur is 'maybe', expected true or false",
    "organiser:optimiser=adam-w": "optimiser is 'adam-w', expected 'adam', 'adamw' or 'muon'",
    "organiser:schedule=one_cycle": "expected 'plateau', 'cosine' or 'one-cycle'",
    "organiser:architecture=efficientnet_b9": "architecture is 'efficientnet_b9', expected 'effic",
    "quick:optimiser=adamw": "muon_learning_rate is 0.03, expected a number above 0 with the optim",
    "quick:muon_learning_rate=0": "muon_learning_rate is 0.0, expected a number above 0",
    "quick:architecture=efficientnet_b0": "optimiser is 'muon', expected adam or adamw",
    "quick:frozen_features=true": "frozen_features is True, expected false where nothing is pretra",
    "quick:dropout=0.5": "dropout is 0.5, expected none with max_pool_mil",
    "organiser:dropout=1": "dropout is '1', expected a number below 1",
    "unfrozen:standardised=true": "standardised is True, expected false where features are trained",
}


@pytest.mark.parametrize("text", WRONG)
def test_parse_pipeline_names_setting_value_and_what_is_valid(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_pipeline(text)
    assert caught.value.code == "pipeline-setting"
    assert str(caught.value).startswith(f"pipeline {text!r}: ")
    assert WRONG[text] in str(caught.value)


@given(st.text(alphabet="organisequkbtchpzd_:=,.- 0123456789{}", max_size=30))
def test_parse_pipeline_reads_or_explains_any_text(settings: str) -> None:
    for text in (settings, f"quick:{settings}", f"organiser:epochs={settings}"):
        with contextlib.suppress(ConfigurationError):
            pipeline = parse_pipeline(text)
            assert parse_pipeline(pipeline.name) == pipeline


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"epochs": "3"}, {"epochs": 2.0}, {"optimiser": "adamw"}]
)
def test_pipeline_refuses_settings_of_another_type_or_range(change) -> None:
    with pytest.raises(ValidationError):
        replace(PIPELINES["quick"], **change)


def test_pipeline_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        PIPELINES["quick"].epochs = 1
