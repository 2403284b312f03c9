"""A minute here is worth what was measured here, by a T4 as far as one is known."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from evaluator.__main__ import main
from evaluator.checks import calibrate
from evaluator.errors import ConfigurationError
from evaluator.experiment.command_line import main as local_evaluation
from evaluator.experiment.hardware import T4, Calibration, read_calibration
from evaluator.records.trial import Pair
from evaluator.training import throughput
from evaluator.training.device import device_name
from evaluator.training.throughput import Throughput, measure_throughput


def calibration(training: float = T4.middle, device: str = "a processor") -> Calibration:
    return Calibration(
        device=device,
        torch="2.10.0",
        model="efficientnet_b4",
        pixels=256,
        batch_size=64,
        precision="float16",
        measured="2026-11-25T12:00:00+00:00",
        training=Throughput(training, 0.9 * training, 1.1 * training, 5),
        inference=Throughput(500.0, 490.0, 510.0, 5),
    )


@pytest.mark.parametrize(
    ("speed", "minutes"),
    [(1.0, 17.0), (10.0, 1.7), (0.02, 850.0), (1000.0, 0.1)],  # the last: not under 0.1
)
def test_a_machine_so_many_times_a_t4_gets_so_much_less_time(speed: float, minutes: float):
    found = calibration(speed * T4.middle)
    assert found.worth == pytest.approx(speed)
    assert found.pairs_here([Pair(621, 17), Pair(621, 17.00001)]) == (Pair(621, minutes),)


def test_the_range_is_that_of_the_reference():
    low, high = calibration(T4.training[0]).worth_range
    assert (low, high) == pytest.approx((T4.training[0] / T4.training[1], 1.0))
    assert low < calibration(T4.training[0]).worth < high


def test_what_is_written_is_read_again(tmp_path: Path):
    found = calibration()
    found.write(tmp_path / "new" / "calibration.json")
    assert read_calibration(tmp_path / "new" / "calibration.json", "a processor") == found
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["calibration.json"]


@pytest.mark.parametrize(
    ("speed", "words"), [(5.528, "5.53 (4.98 to 6.08)"), (1399.8, "1,400 (1,260 to 1,540)")]
)
def test_speeds_are_told_as_a_person_writes_them(speed: float, words: str):
    assert words in calibrate.told(calibration(speed), Path("calibration.json"))


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
        (edited(training=asdict(Throughput(0, 0, 0, 5))), "a processor", "bad-calibration"),
        (edited(training={"median": "5"}), "a processor", "bad-calibration"),
        (edited(extra=1), "a processor", "bad-calibration"),
        (edited(), "another", "other-calibration"),
    ],
)
def test_a_file_that_does_not_serve_is_refused(
    content: str | None, device: str, code: str, tmp_path: Path
):
    path = tmp_path / "calibration.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        read_calibration(path, device)
    assert caught.value.code == code


def test_throughput_is_measured_in_turns_on_the_judges_own_trainer():
    said: list[str] = []
    found = measure_throughput("cpu", threads=1, seconds=0.5, pixels=32, tell=said.append)
    for speed in (found.training, found.inference):
        assert 0 < speed.low <= speed.median <= speed.high
        assert speed.turns == throughput.TURNS
    assert found.inference.median > found.training.median  # a step looks, and learns besides
    assert (found.batch_size, found.precision) == (8, "float32")
    assert [line.partition(":")[0] for line in said] == ["training", "training", "inference"]


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch):
    tried: list[int] = []

    def measured(_device: torch.device, size: int, *_: object) -> int:
        tried.append(size)
        if size > 16:
            raise torch.OutOfMemoryError
        return size

    monkeypatch.setattr(throughput, "_measured", measured)
    assert measure_throughput("cuda") == 16
    assert tried == [64, 32, 16]


@pytest.fixture
def quick_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(device: str | None, *, threads: int, tell: Callable[[str], None]) -> object:
        return throughput.measure_throughput("cpu", threads=1, seconds=0.5, pixels=32)

    monkeypatch.setattr(calibrate, "measure_throughput", measure)


@pytest.mark.usefixtures("quick_measurement")
def test_the_command_writes_what_the_flag_reads(
    tmp_path: Path, squares: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "calibration.json"
    assert main(["calibrate", "--device", "cpu", "--out", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "T4, estimated" in printed
    assert "send the file" in printed
    found = read_calibration(file, device_name("cpu"))
    replace(found, training=Throughput(2 * T4.middle, 1, 1, 5)).write(file)
    words = ["--data", squares, "--pairs", "5:3", "--pipeline", "quick", "--hardware", "t4"]
    words += ["--calibration", file, "--device", "cpu", "--out", tmp_path, "--plan", "--quiet"]
    assert local_evaluation(list(map(str, words))) == 0
    plan = capsys.readouterr().err
    assert "5:1.5 (labels:minutes; round 2, 16 GiB, minutes of a T4 / 2)" in plan


@pytest.mark.parametrize("place", ["/proc/new/c.json", "."])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(
    place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(calibrate, "measure_throughput", None)
    assert main(["calibrate", "--device", "cpu", "--out", place]) == 2
    assert f"{place} cannot be written" in capsys.readouterr().err


def test_on_a_cluster_minutes_are_its_own(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["--data", str(squares), "--hardware", "t4", "--engine", "ray", "--out", str(tmp_path)]
    assert local_evaluation(words) == 2
    assert "hardware-on-cluster" in capsys.readouterr().err
