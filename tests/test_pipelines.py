"""The pipelines are what the design says, and a mistyped one is refused."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from evaluator.errors import ConfigurationError
from evaluator.training.pipelines import PIPELINE_GROUPS, PIPELINES, pipeline_named


def differences(name: str, base: str) -> dict[str, object]:
    one, other = PIPELINES[name], PIPELINES[base]
    return {
        field.name: getattr(one, field.name)
        for field in fields(one)
        if field.name != "name" and getattr(one, field.name) != getattr(other, field.name)
    }


def test_organiser_is_the_known_trainer():
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
def test_each_variant_changes_only_what_its_name_says(name, base, changes):
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
def test_small_sets_are_gone_through_more_often_up_to_four_times(n_batches, epochs):
    pipeline = replace(PIPELINES["quick"], epochs=10, minimum_steps=100)
    assert pipeline.epochs_for(n_batches) == epochs
    assert replace(pipeline, minimum_steps=0).epochs_for(n_batches) == 10


def test_fingerprints_tell_every_setting_apart_and_agree_between_processes():
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "efficientnet_b9"}, "architecture is 'efficientnet_b9', expected one of"),
        ({"schedule": "one_cycle"}, "schedule is 'one_cycle', expected one of"),
        ({"optimiser": "adam-w"}, "optimiser is 'adam-w', expected one of"),
        ({"epochs": 0}, "epochs is 0, expected at least 1"),
        ({"batch_size": 1}, "batch_size is 1, expected at least 2"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"validation_share": 1.0}, "validation_share is 1.0, expected at least 0 and below 1"),
        ({"positive_weight": 0.0}, "positive_weight is 0.0"),
        ({"optimiser": "adamw"}, "muon_learning_rate is 0.03, expected .* 0 with any other"),
        ({"muon_learning_rate": 0.0}, "muon_learning_rate is 0.0, expected a number above 0"),
        ({"architecture": "efficientnet_b0"}, "optimiser is 'muon', expected adam or adamw"),
        ({"size": 0}, "size is 0"),
        ({"averaged_share": 1.5}, "averaged_share is 1.5, expected a share from 0 to 1"),
        ({"frozen_features": True}, "frozen_features is True, expected false where nothing is pre"),
        ({"standardised": True}, "standardised is True, expected false where features are trained"),
        ({"dropout": 0.5}, "dropout is 0.5, expected none with max_pool_mil"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(change, message):
    with pytest.raises(ConfigurationError, match=message):
        replace(PIPELINES["quick"], **change)


def test_a_pipeline_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        PIPELINES["quick"].epochs = 1


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ConfigurationError, match="'organizer' is not known; choose one of organi"):
        pipeline_named("organizer")
