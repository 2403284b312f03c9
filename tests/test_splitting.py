"""`labelling split`: every labelled image in one split, at random, with what belongs to it."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluator.data.dataset import open_splits
from evaluator.data.doubts import repeated_images
from labelling.__main__ import main
from labelling.splitting import Amount, divide
from shared.errors import ConfigurationError, DatasetError
from shared.images.layout import SPLITS, read_split
from tests.conftest import CLASSES, write_split

TENTH, FIFTH = Amount(10, is_share=True), Amount(20, is_share=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 labelled images: 0000.png to 0059.png."""
    return write_split(tmp_path / "labelled", 60, seed=1)


def split(folder: Path, *more: str) -> int:
    return main(["split", str(folder), "--out", str(folder.parent / "judged"), *more])


def contents(labels_csv: Path) -> dict[tuple[bytes, bytes], str]:
    """Pixels and labels of every image of a split -> its name."""
    read = read_split("any", labels_csv, CLASSES)
    names = (file.relative_to(labels_csv.parent / "images").as_posix() for file in read.images)
    pixels = (np.asarray(Image.open(file)).tobytes() for file in read.images)
    return dict(zip(zip(pixels, map(bytes, read.labels), strict=True), names, strict=True))


def test_every_image_goes_into_one_split_with_its_labels(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert split(folder, "--training", "10", "--validation", "25%") == 0
    judged = folder.parent / "judged"
    parts = [contents(judged / name / "labels.csv") for name in SPLITS]
    assert [len(part) for part in parts] == [10, 35, 15]
    everything = contents(folder / "labels.csv")
    assert parts[0] | parts[1] | parts[2] == everything
    assert not any(sorted(part.values()) == list(part.values()) for part in parts), "at random"
    opened = open_splits(judged)
    assert not [*repeated_images(opened)]
    assert f"next: python -m evaluator data check {judged}" in capsys.readouterr().out


def test_the_lot_is_the_seeds(folder: Path):
    rows = [divide([folder], TENTH, FIFTH, seed=seed).rows for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


def test_what_belongs_together_stays_together(folder: Path, capsys: pytest.CaptureFixture[str]):
    """Six groups of ten: a tenth of the images cannot be had, nor may a group be torn for it."""
    division = divide([folder], FIFTH, FIFTH, together=r"^00(\d)\d")
    groups = {
        name: {division.names[row][2] for row in rows} for name, rows in division.rows.items()
    }
    assert [len(division.rows[name]) for name in SPLITS] == [10, 40, 10]
    assert sum(map(len, groups.values())) == 6
    assert "60 images in 6 groups, the largest of 10" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="60 images in 6 groups leave none for training"):
        divide([folder], Amount(4, is_share=False), FIFTH, together=r"^00(\d)\d")


@pytest.mark.parametrize("seed", range(5))
def test_amounts_are_met_as_nearly_as_groups_of_any_size_allow(folder: Path, seed: int):
    division = divide([folder], FIFTH, FIFTH, together=r"^00(0|1\d|[2-5])", seed=seed)
    found = {name: len(division.rows[name]) for name in SPLITS}
    assert abs(found["training"] - 12) <= 5
    assert abs(found["validation"] - 12) <= 5


def test_several_folders_are_joined_and_doubles_count_once(
    folder: Path, make_data: Callable[[], Path], capsys: pytest.CaptureFixture[str]
):
    more = make_data() / "training"
    (more / "images" / "0001.png").write_bytes((folder / "images" / "0007.png").read_bytes())
    rows = list(csv.reader((folder / "labels.csv").open()))
    text = (more / "labels.csv").read_text().splitlines()
    text[2] = ",".join(["0001.png", *rows[8][1:]])
    (more / "labels.csv").write_text("\n".join([*text[:-1], "0023.png,,,"]))
    division = divide([folder, more], TENTH, FIFTH)
    assert sum(map(len, division.rows.values())) == len(division.names) == 60 + 24 - 2
    assert {name.split("/")[0] for name in division.names} == {"labelled", "training"}
    told = capsys.readouterr().err
    assert "1 of 24 images" in told
    assert "1 of 83 labelled images stand twice" in told


def test_photographs_are_shrunk_upright(folder: Path):
    Image.new("RGB", (60, 30), (200, 10, 10)).save(folder / "images" / "0003.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    photograph = Image.new("RGB", (60, 30), (10, 10, 200))
    photograph.save(folder / "images" / "deep.jpg", exif=exif)
    with (folder / "labels.csv").open("a") as file:
        file.write("deep.jpg,1,0,0\n")
    assert split(folder, "--size", "12") == 0
    found = {path.name: path for path in (folder.parent / "judged").rglob("*.png")}
    assert len(found) == 61
    sizes = {name: Image.open(path).size for name, path in found.items()}
    assert sizes.pop("deep.jpg.png") == (6, 12), "not squeezed"
    assert sizes.pop("0003.png.png") == (12, 6)
    assert set(sizes.values()) == {(12, 12)}
    assert not Image.open(found["deep.jpg.png"]).getexif(), "or it would be turned again"
    red, green, blue = Image.open(found["deep.jpg.png"]).getpixel((5, 5))
    assert blue > 150 > red + green


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--training", "90%"], "bad-split"),
        (["--training", "60"], "bad-split"),
        (["--together", "nothing"], "bad-split"),
        (["--together", "("], "bad-split"),
    ],
)
def test_what_cannot_be_divided_is_told(
    flags: list[str], code: str, folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert split(folder, *flags) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"#{code}")
    assert [path.name for path in folder.parent.iterdir()] == ["labelled"], "nothing was written"


@pytest.mark.parametrize(
    "flags",
    [["--training", "0"], ["--training", "half"], ["--validation", "100%"], ["--validation", "-3"],
     ["--training", "nan%"], ["--size", "0"]],
)  # fmt: skip
def test_amounts_that_are_none_are_refused(flags: list[str], folder: Path):
    with pytest.raises(SystemExit) as ended:
        split(folder, *flags)
    assert ended.value.code == 2


def test_a_broken_image_and_a_folder_that_is_taken_leave_all_as_it_was(folder: Path):
    judged = folder.parent / "judged"
    judged.mkdir()
    assert split(folder) == 2
    judged.rmdir()
    (folder / "images" / "0030.png").write_bytes(b"no picture")
    assert split(folder, "--size", "8") == 2
    assert [path.name for path in folder.parent.iterdir()] == ["labelled"]


def test_what_is_broken_off_leaves_all_as_it_was(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("labelling.splitting.copy_image", interrupted)
    assert split(folder) == 130
    assert capsys.readouterr().err.endswith("\nStopped.\n")
    assert [path.name for path in folder.parent.iterdir()] == ["labelled"]


def test_an_image_that_may_not_be_read_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    read = Path.read_bytes
    shut = folder / "images" / "0030.png"
    twin = folder / "images" / "0031.png"
    twin.write_bytes(read(shut))  # only files of one size are read to know duplicates

    def refused(path: Path) -> bytes:
        if path == shut:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert split(folder) == 2
    assert f"The image {shut} cannot be read (Permission denied)" in capsys.readouterr().err


def test_the_next_command_can_be_pasted(folder: Path, capsys: pytest.CaptureFixture[str]):
    judged = folder.parent / "to be judged"
    assert main(["split", str(folder), "--out", str(judged)]) == 0
    assert capsys.readouterr().out.endswith(f"data check '{judged}'\n")


def test_two_folders_of_one_name_are_refused(folder: Path, tmp_path: Path):
    other = write_split(tmp_path / "elsewhere" / "labelled", 10, seed=2)
    with pytest.raises(ConfigurationError, match="Two of the folders are called labelled"):
        divide([folder, other], TENTH, FIFTH)
    with pytest.raises(DatasetError):
        divide([tmp_path], TENTH, FIFTH)


def test_a_class_that_is_never_shown_is_told(folder: Path, capsys: pytest.CaptureFixture[str]):
    rows = list(csv.reader((folder / "labels.csv").open()))
    text = [
        ",".join(row) if number < 2 else ",".join([row[0], "0", "1", "0"])
        for number, row in enumerate(rows)
    ]
    (folder / "labels.csv").write_text("\n".join(text))
    assert split(folder) == 0
    told = capsys.readouterr().err
    assert "warning: no validation image shows" in told or "warning: no training image" in told
