"""Minutes of a T4 as minutes of this machine: measured, written, read, applied."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from evaluator.__main__ import main
from evaluator.cli import main as local_evaluation
from evaluator.experiment import t4_scaling
from evaluator.experiment.t4_scaling import Calibration, Speed, calibrate, read_calibration
from evaluator.records.trial import Pair
from evaluator.training.device import device_name
from evaluator.training.pipelines import PIPELINES, Pipeline
from shared.errors import ConfigurationError

T4_MIDDLE = 147.17  # images per second: the geometric mean of 114 and 190


def calibration(training: float = T4_MIDDLE, device: str = "a processor") -> Calibration:
    return Calibration(
        device=device,
        torch="2.10.0",
        model="efficientnet_b4",
        pixels=256,
        batch_size=64,
        precision="float16",
        measured="2026-11-25T12:00:00+00:00",
        training=Speed(training, 0.9 * training, 1.1 * training, 5),
    )


def test_t4_speed_is_what_the_measured_gpus_scale_to() -> None:
    """Images per second of a 380 px (or 320 px) measurement x bandwidth ratio x pixel ratio."""
    measured = {  # GPU: images/s, pixels, GB/s
        "V100": (204, 380, 900),
        "A100": (331, 380, 2039),
        "RTX 3090": (242, 380, 936),
        "RTX 3090, smaller images": (355, 320, 936),
    }
    scaled = [speed * 320 / gb * (px / 256) ** 2 for speed, px, gb in measured.values()]
    assert scaled == pytest.approx([160, 114, 182, 190], abs=0.6)
    assert t4_scaling.T4_IMAGES_PER_SECOND == (114.0, 190.0)


@pytest.mark.parametrize(
    ("images_per_second", "ratio", "minutes"),
    [
        (147.17, 1.0, 17.0),
        (979.0, 6.65, 2.56),  # an H200
        (5.5, 0.0374, 454.9),  # two cores of an EPYC
        (147_170.0, 1000.0, 0.1),  # never under 0.1 minutes
    ],
)
def test_scale_pairs_divides_minutes_by_the_speed_ratio(
    images_per_second: float, ratio: float, minutes: float
) -> None:
    found = calibration(images_per_second)
    assert found.speed_ratio == pytest.approx(ratio, rel=0.002)
    assert found.scale_pairs([Pair(621, 17), Pair(621, 17.00001)]) == (Pair(621, minutes),)


def test_speed_ratio_range_is_that_of_the_t4() -> None:
    assert calibration(190.0).speed_ratio_range == pytest.approx((1.0, 190 / 114))
    assert calibration(114.0).speed_ratio_range == pytest.approx((0.6, 1.0))


def test_read_calibration_reads_what_was_written(tmp_path: Path) -> None:
    found = calibration()
    path = tmp_path / "new" / "calibration.json"
    found.write(path)
    assert read_calibration(path, "a processor") == found
    assert [file.name for file in path.parent.iterdir()] == ["calibration.json"]
    older = {**asdict(found), "inference": {"median": 500.0, "low": 1, "high": 2, "turns": 5}}
    path.write_text(json.dumps(older))
    assert read_calibration(path, "a processor") == found


@pytest.mark.parametrize(
    ("speed", "words"), [(5.528, "5.53 (n = 5 turns, 4.98 to 6.08)"), (1399.8, "1,400 (n = 5")]
)
def test_format_calibration_rounds_speeds(speed: float, words: str) -> None:
    assert words in t4_scaling.format_calibration(calibration(speed), Path("calibration.json"))


def edited(**fields: object) -> str:
    return json.dumps({**asdict(calibration()), **fields})


@pytest.mark.parametrize(
    ("content", "device", "code"),
    [
        (None, "a processor", "no-calibration"),
        ("", "a processor", "bad-calibration"),
        ("[" * 100_000, "a processor", "bad-calibration"),
        ("[]", "a processor", "bad-calibration"),
        ("{}", "a processor", "bad-calibration"),
        (edited(training=3), "a processor", "bad-calibration"),
        (edited(training=asdict(Speed(0, 0, 0, 5))), "a processor", "bad-calibration"),
        (edited(training={"median": "5"}), "a processor", "bad-calibration"),
        (edited(extra=1), "a processor", "bad-calibration"),
        (edited(), "another", "other-calibration"),
    ],
)
def test_read_calibration_refuses(
    content: str | None, device: str, code: str, tmp_path: Path
) -> None:
    path = tmp_path / "calibration.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        read_calibration(path, device)
    assert caught.value.code == code


def measure_small(device: str | None) -> Calibration:
    """A real measurement of a small network, which takes a second."""
    return calibrate(device, PIPELINES["quick"], pixels=32, seconds=0.2)


def test_calibrate_measures_the_trainer_in_turns() -> None:
    found = measure_small("cpu")
    assert 0 < found.training.low <= found.training.median <= found.training.high
    assert found.training.turns == 5
    assert (found.model, found.pixels) == ("max_pool_mil", 32)
    assert (found.batch_size, found.precision) == (8, "float32")


def test_calibrate_takes_the_largest_batch_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def measure(pipeline: Pipeline, *_: object) -> Speed:
        tried.append(pipeline.batch_size)
        if pipeline.batch_size > fits:
            raise torch.OutOfMemoryError
        return Speed(1, 1, 1, 5)

    monkeypatch.setitem(t4_scaling.BATCH_SIZES, "cpu", (64, 32, 16, 8))
    monkeypatch.setattr(t4_scaling, "measure_speed", measure)
    fits = 16
    assert calibrate("cpu").batch_size == 16
    assert tried == [64, 32, 16]
    fits = 4
    with pytest.raises(ConfigurationError, match="efficientnet_b4 needs more memory"):
        calibrate("cpu")


def test_calibrate_writes_what_hardware_t4_reads(
    tmp_path: Path,
    squares: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(t4_scaling, "calibrate", measure_small)
    file = tmp_path / "calibration.json"
    assert main(["calibrate", "--device", "cpu", "--out", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "of a T4, estimated  114 to 190" in printed
    assert "send the file" in printed
    found = read_calibration(file, device_name("cpu"))
    replace(found, training=Speed(2 * T4_MIDDLE, 1, 1, 5)).write(file)
    words = ["--data", squares, "--pairs", "5:3", "--pipeline", "quick", "--hardware", "t4"]
    words += ["--calibration", file, "--device", "cpu", "--out", tmp_path, "--plan", "--quiet"]
    assert local_evaluation(list(map(str, words))) == 0
    plan = capsys.readouterr().out
    assert "5:1.5 (labels:minutes; round 2, 16 GiB, minutes of a T4 / 2)" in plan


@pytest.mark.parametrize("place", ["/proc/new/c.json", "."])
def test_calibrate_refuses_a_file_that_cannot_be_written_before_it_measures(
    place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(t4_scaling, "calibrate", None)
    assert main(["calibrate", "--device", "cpu", "--out", place]) == 2
    assert f"{place} cannot be written" in capsys.readouterr().err


def test_hardware_t4_is_refused_on_a_cluster(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(squares), "--hardware", "t4", "--engine", "ray", "--out", str(tmp_path)]
    assert local_evaluation(words) == 2
    assert "hardware-on-cluster" in capsys.readouterr().err
