"""`choose.py`: from images that nobody has labelled to a folder for those who label, and again."""

import csv
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
import torch
from PIL import Image

import choose
from labelling.sheet import contact_sheet
from models.network_learner import NetworkLearner
from models.settings import LearnerSettings
from shared.errors import DatasetError
from strategies.image_sets import UnlabelledPool
from tests.conftest import CLASSES
from tests.test_troubleshooting import OWN, appears, entries, symptoms


@pytest.fixture
def photos(make_data: Callable[[], Path]) -> Path:
    """`labelled/` with 24 images, `pool/` with 40 and two more: one is labelled, one a double."""
    root = make_data()
    shutil.move(root / "training", root / "labelled")
    pool = root / "pool"
    shutil.move(root / "unlabelled" / "images", pool / "monday")
    shutil.copyfile(
        root / "labelled" / "images" / "0003.png", pool / "known under another name.png"
    )
    shutil.copyfile(pool / "monday" / "0005.png", pool / "double.png")
    return root


def flags(photos: Path, out: str = "batch", budget: int = 6, *more: str) -> list[str]:
    words = ["--labelled", photos / "labelled", "--pool", photos / "pool", "--budget", budget]
    return [*map(str, [*words, "--out", photos / out]), *more]


def fill_in(labels: Path) -> set[str]:
    """Label every image of a batch; their names."""
    names = [row["filename"] for row in table(labels)]
    rows = [f"{name},{number % 2},1,0" for number, name in enumerate(names)]
    labels.write_text("\n".join([",".join(["filename", *CLASSES]), *rows]))
    return set(names)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_a_class_that_no_labelled_image_shows_is_told(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    labels = photos / "labelled" / "labels.csv"
    header, *rows = labels.read_text().splitlines()
    labels.write_text("\n".join([header, *(f"{row[:-1]}0" for row in rows)]))
    assert choose.main(flags(photos, "batch", 5, "--strategy", "random")) == 0
    assert f"notice: no labelled image shows {CLASSES[-1]}: " in capsys.readouterr().err


@pytest.mark.parametrize("strategy", ["uherding", "random", "winner"])
def test_what_is_chosen_lies_ready_to_be_labelled(
    strategy: str, photos: Path, capsys: pytest.CaptureFixture[str]
):
    assert choose.main(flags(photos, "batch", 6, "--strategy", strategy)) == 0
    printed = capsys.readouterr()
    assert "2 of 42 images are labelled already, excluded or duplicates" in printed.err
    assert "6 of 40 images" in printed.out
    assert ("F1 (cross-validated)" in printed.out) == (strategy != "random")
    assert ("learning from 24" in printed.err) == (strategy != "random")
    batch = photos / "batch"
    empty = table(batch / "labels.csv")
    chosen = table(batch / "chosen.csv")
    assert list(empty[0]) == ["filename", *CLASSES]
    assert {row[name] for row in empty for name in CLASSES} == {""}
    names = [row["filename"] for row in chosen]
    assert [row["filename"] for row in empty] == names
    assert len(set(names)) == 6
    assert [row["rank"] for row in chosen] == [str(rank) for rank in range(1, 7)]
    page = (batch / "chosen.html").read_text()
    title = rf"<title>{strategy}: 6 of 40 images in {photos / 'pool'}</title>"
    assert re.search(title, page)
    assert re.findall(r'src="(.+?)"', page) == [f"images/{name}" for name in names]
    assert page.count('class="guess"') == (0 if strategy == "random" else 6 * len(CLASSES))
    for name in names:
        copied, original = batch / "images" / name, photos / "pool" / name
        assert copied.read_bytes() == original.read_bytes()
    assert not any(name.startswith("known") for name in names)
    looked = strategy != "random"
    expected = [row[f"p {name}"] for row in chosen for name in CLASSES]
    assert all(0 <= float(value) <= 1 for value in expected) if looked else set(expected) == {""}


@pytest.mark.parametrize(
    ("tool", "file", "words"),
    [
        ("label-studio", "tasks.json", "/data/local-files/?d=batch/images/monday/00"),
        ("cvat", "annotations.xml", "<label>\n          <name>dark</name>"),
        ("list-csv", "labels-list.csv", "image,labels"),
    ],
)
def test_choose_writes_the_batch_for_a_tool(tool: str, file: str, words: str, photos: Path):
    assert choose.main(flags(photos, "batch", 6, "--strategy", "random", "--for", tool)) == 0
    text = (photos / "batch" / file).read_text().replace("\r\n", "\n")
    names = [row["filename"] for row in table(photos / "batch" / "labels.csv")]
    assert words in text
    assert [name for name in names if name in text] == names


def test_a_contact_sheet_shows_any_name_as_it_is():
    names = ['a & <b>"c"?#%41.png', "caf\udce9.png"]
    page = contact_sheet("<title> & \udce9", names, ["x < y"], [[0.25], []])
    page.encode()
    assert "<h1>&lt;title&gt; &amp; \\udce9</h1>" in page
    assert 'alt="Image a &amp; &lt;b&gt;&#34;c&#34;?#%41.png"' in page
    links = re.findall(r'src="images/(.+?)"', page)
    assert [os.fsdecode(unquote_to_bytes(link)) for link in links] == names
    assert "<span>x &lt; y</span> <span>0.25</span>" in page
    assert "<script" not in page


def test_the_same_seed_chooses_the_same(photos: Path):
    for into in ("one", "two"):
        assert choose.main(flags(photos, into)) == 0
    assert (photos / "one" / "chosen.csv").read_text() == (
        photos / "two" / "chosen.csv"
    ).read_text()


def test_a_batch_that_is_filled_in_is_learned_from_and_not_chosen_again(photos: Path):
    assert choose.main(flags(photos, "first", 30)) == 0
    first = fill_in(photos / "first" / "labels.csv")
    words = flags(photos, "second", 10)
    words.insert(2, str(photos / "first"))
    assert choose.main(words) == 0
    second = {row["filename"] for row in table(photos / "second" / "chosen.csv")}
    assert len(second) == 10
    assert first.isdisjoint(second)


def test_images_of_any_size_and_mode_can_be_chosen(photos: Path):
    for number, mode in enumerate(("L", "RGBA", "I;16", "P")):
        pixels = np.full((20 + number, 31), 90, np.uint16 if mode == "I;16" else np.uint8)
        picture = Image.fromarray(pixels)
        picture = picture if mode == "I;16" else picture.convert(mode)
        picture.save(photos / "pool" / f"odd {number}.png")
    assert choose.main(flags(photos, "batch", 44)) == 0
    assert len(list((photos / "batch" / "images").rglob("*.png"))) == 44


def test_a_cameras_bits_that_were_not_scaled_are_told(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    for file in (photos / "pool").rglob("*.png"):
        grey = np.asarray(Image.open(file).convert("L"), np.uint16) << 4  # 12 of 16 bits
        Image.fromarray(grey).save(file)
    assert choose.main(flags(photos, "batch", 5, "--strategy", "random")) == 0
    said = capsys.readouterr().err
    assert "notice: pool: 41 of 41 images are nearly black" in said
    assert "labelled: " not in said


def test_photographs_are_read_small_and_upright(tmp_path: Path):
    pixels = np.zeros((300, 600, 3), np.uint8)
    pixels[:, 300:] = 255  # the right half is bright
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right, by a quarter
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    images = choose.Images((tmp_path / "a.jpg",), np.zeros((1, 2), np.uint8), 100)
    image = images[0]["image"]
    assert image.shape == (100, 100, 3), "either side has what the learner's square needs"
    assert image[:40].mean() < 10 < 245 < image[60:].mean()


def resize(images: Path, size: tuple[int, int], every: int = 1) -> None:
    for file in sorted(images.glob("*.png"))[::every]:
        with Image.open(file) as image:
            changed = image.resize(size)
        changed.save(file)


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch is enough where it does not matter what is learned."""
    config = tmp_path / "hasty.toml"
    config.write_text("[learner]\nmembers = 2\n[planner]\nepochs = 1\n")
    monkeypatch.setattr(choose, "CONFIG", config)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("labelled", "every", "pool", "said"),
    [
        (
            (400, 300),
            1,
            (16, 16),
            "400 px are downscaled to 80 px: small defects may be lost in 24",
        ),
        ((320, 300), 1, (16, 16), ""),  # four times the learner's
        # One labelled image of two is large, and so are all that are read.
        (
            (330, 300),
            2,
            (16, 16),
            "330 px are downscaled to 80 px: small defects may be lost in 12",
        ),
        ((40, 30), 1, (200, 90), "200 px are downscaled to 40 px: small defects may be lost in 40"),
        (
            (40, 30),
            12,
            (200, 90),
            "200 px are downscaled to 40 px: small defects may be lost in 40",
        ),
        ((40, 30), 1, (160, 90), ""),
    ],
)
def test_choose_names_the_size_that_the_learner_sees(
    labelled: tuple[int, int],
    every: int,
    pool: tuple[int, int],
    said: str,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    small = LearnerSettings(device="cpu", backbone="small")
    monkeypatch.setattr(LearnerSettings, "candidates", lambda _: (small,))
    resize(photos / "labelled" / "images", labelled, every)
    resize(photos / "pool" / "monday", pool)
    (photos / "pool" / "double.png").unlink()
    assert choose.main(flags(photos, "batch", 6, "--strategy", "entropy")) == 0
    told = capsys.readouterr().err
    assert f"images of {said}" in told if said else "downscaled" not in told
    assert ("The labelled images have no more" in told) == ("to 40 px" in told)


def test_choose_does_not_warn_of_sizes_where_nothing_looks(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    resize(photos / "pool" / "monday", (200, 90))
    assert choose.main(flags(photos, "batch", 6, "--strategy", "random")) == 0
    assert "downscaled" not in capsys.readouterr().err


@pytest.mark.parametrize("strategy", ["entropy", "random"])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (7, 7), (5, 2)])
def test_labelled_images_of_a_few_pixels_are_refused(
    size: tuple[int, int], strategy: str, photos: Path, capsys: pytest.CaptureFixture[str]
):
    resize(photos / "labelled" / "images", size, every=20)
    assert choose.main(flags(photos, "batch", 6, "--strategy", strategy)) == 2
    told = capsys.readouterr().err
    first = photos / "labelled" / "images" / "0000.png"
    what = f"({str(first)!r}: it has {size[0]} x {size[1]} pixels, and one side must have at least"
    assert f"2 of 24 labelled images cannot be used {what} 8" in told
    assert is_explained(told)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("strategy", ["entropy", "random"])
def test_choose_names_the_number_of_threads_where_the_choice_depends_on_it(
    strategy: str, photos: Path, capsys: pytest.CaptureFixture[str]
):
    said = f"computed on {torch.get_num_threads()} CPU threads"
    assert choose.main(flags(photos, "batch", 6, "--strategy", strategy)) == 0
    log = (photos / "batch" / "buyer.log").read_text()
    assert (said in log) == (said in capsys.readouterr().err) == (strategy == "entropy")


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("size", [(8, 8), (40, 2)])
def test_small_images_that_a_learner_can_look_at_are_learned_from(
    size: tuple[int, int], photos: Path
):
    resize(photos / "labelled" / "images", size)
    assert choose.main(flags(photos, "batch", 6, "--strategy", "entropy")) == 0


def test_images_of_a_few_pixels_in_the_pool_are_left_out(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    (photos / "pool" / "double.png").unlink()
    resize(photos / "pool" / "monday", (1, 1), every=10)
    labelled = choose.read_labelled([photos / "labelled"], 80)
    assert len(choose.read_pool(photos / "pool", labelled)) == 36
    assert "4 of 41 images cannot be used and are left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("backbone", "asked", "there", "said"),
    [
        ("efficientnet_b0", "auto", None, True),
        ("efficientnet_b0", "auto", Path("weights.safetensors"), False),
        ("efficientnet_b0", "no", None, False),
        ("small", "auto", None, False),
    ],
)
def test_missing_weights_names_a_network_that_starts_without_them(
    backbone: str,
    asked: str,
    there: Path | None,
    said: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("models.settings.find_weights", lambda *_: there)
    words = LearnerSettings(backbone=backbone, pretrained=asked, device="cpu").missing_weights()
    assert ("from scratch" in words) == ("create_model('efficientnet_b0'" in words) == said


@pytest.mark.parametrize(("strategy", "said"), [("uherding", True), ("random", False)])
def test_choose_gives_notice_of_missing_weights_where_a_model_is_used(
    strategy: str,
    said: bool,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(LearnerSettings, "missing_weights", lambda _: "they are missing")
    assert choose.main(flags(photos, "batch", 3, "--strategy", strategy)) == 0
    assert ("notice: they are missing" in capsys.readouterr().err) == said


def is_explained(printed: str) -> bool:
    """Whether the last line leads to where the words printed stand as a symptom."""
    words, _, anchor = printed.strip().rpartition("\nsee docs/troubleshooting.md#")
    places = [anchor] if anchor != "messages-of-our-own-submission" else OWN
    return any(appears(shown, words) for place in places for shown in symptoms(entries()[place]))


@pytest.mark.parametrize(("read", "refused"), [(4, True), (6, True), (9, False)])
def test_choose_refuses_a_batch_that_was_not_chosen_among_others(
    read: int,
    refused: bool,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    """Of a slow pool no more was read in time than is asked for."""
    read_in_time = UnlabelledPool.read

    def slowly(pool: UnlabelledPool, *arguments: Any) -> float:
        seconds = read_in_time(pool, *arguments)
        pool.inputs = pool.inputs[:read]
        pool.indices[read:] = -1
        return seconds

    monkeypatch.setattr(UnlabelledPool, "read", slowly)
    more = ["--strategy", "uherding", "--minutes", "5"]
    assert choose.main(flags(photos, "batch", 6, *more)) == (2 if refused else 0)
    printed = capsys.readouterr()
    if refused:
        assert is_explained(printed.err)
        assert "no-time-to-look" in printed.err
        assert not (photos / "batch").exists()
    else:
        assert "There was time to read 9 of the 40" in printed.out


def test_choose_takes_the_whole_pool_where_it_has_looked_at_all_of_it(photos: Path):
    assert choose.main(flags(photos, "batch", 40, "--strategy", "entropy")) == 0
    assert all(row["p striped"] for row in table(photos / "batch" / "chosen.csv"))


def test_classes_keep_their_names_in_the_table(photos: Path, capsys: pytest.CaptureFixture[str]):
    labels = photos / "labelled" / "labels.csv"
    labels.write_text(labels.read_text().replace(",".join(CLASSES), "1.10,1e5,5011"))
    assert choose.main(flags(photos, "batch", 6, "--strategy", "entropy")) == 0
    table = capsys.readouterr().out.splitlines()[-3:]
    assert [line.split()[0] for line in table] == ["1.10", "1e5", "5011"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"device": "xpu"}, "`device` 'xpu' is none of this machine"),
        ({"backbone": "resnet10t", "pretrained": "nofile.pt"}, "'nofile.pt' is no file"),
        ({"backbone": "resnet10t", "pretrained": __file__}, "cannot be read as weights of resnet"),
        ({"backbone": "resnet10t", "pretrained": "yes"}, "no ImageNet weights of resnet10t"),
    ],
)
def test_settings_that_cannot_be_met_are_told_in_words(
    settings: dict[str, str],
    words: str,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    config = photos / "submission.toml"
    config.write_text("[learner]\n" + "".join(f"{n} = {v!r}\n" for n, v in settings.items()))
    monkeypatch.setattr(choose, "CONFIG", config)
    assert choose.main(flags(photos, "batch", 6, "--strategy", "entropy")) == 2
    printed = capsys.readouterr().err
    assert words in printed
    assert is_explained(printed)


def test_the_learner_is_measured_on_the_first_folder_alone(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """What was chosen is richer in rare classes: probabilities fitted to it are too high."""
    seen = []
    fit = NetworkLearner.fit

    def spied(*given: Any, **how: Any) -> NetworkLearner:
        seen.append((len(given[1]), how["n_calibration"]))
        return fit(*given, **how)

    assert choose.main(flags(photos)) == 0
    fill_in(photos / "batch" / "labels.csv")
    monkeypatch.setattr(NetworkLearner, "fit", spied)
    both = ["--labelled", str(photos / "labelled"), str(photos / "batch")]
    assert choose.main([*flags(photos, "batch-2"), *both]) == 0
    assert seen == [(30, 24)]
    assert "evaluating the model on 24 images of the first folder" in capsys.readouterr().err
    few = ["--labelled", str(photos / "batch"), str(photos / "labelled")]
    labels = (photos / "batch" / "labels.csv").read_text().splitlines()
    emptied = [labels[0], *labels[1:5], *(line.split(",")[0] + ",,," for line in labels[5:])]
    (photos / "batch" / "labels.csv").write_text("\n".join(emptied))
    assert choose.main([*flags(photos, "batch-3"), *few]) == 0
    assert (
        "the first folder has only 4 images: evaluating the model on all" in capsys.readouterr().err
    )


def test_choose_gives_notice_of_a_model_near_chance(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    labels = photos / "labelled" / "labels.csv"
    header, *lines = labels.read_text().splitlines()
    rest = [line.split(",")[0] + "," * len(CLASSES) for line in lines[4:]]
    labels.write_text("\n".join([header, *lines[:4], *rest]))
    assert choose.main(flags(photos, "batch", 6, "--strategy", "entropy")) == 0
    assert "no better than a random ranking" in capsys.readouterr().out


def spoil_nothing(photos: Path) -> None:
    """What is refused is in the flags."""


def spoil_an_image(photos: Path) -> None:
    (photos / "pool" / "monday" / "0001.png").write_bytes(b"no picture")


def leave_a_cell_empty(photos: Path) -> None:
    labels = photos / "labelled" / "labels.csv"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join([*lines[:-1], lines[-1][:-1]]))


def empty_the_cells(photos: Path) -> None:
    labels = photos / "labelled" / "labels.csv"
    header, *lines = labels.read_text().splitlines()
    empty = "," * len(CLASSES)
    labels.write_text("\n".join([header, *(line.split(",")[0] + empty for line in lines)]))


def contradict_a_label(photos: Path) -> None:
    labels, images = photos / "labelled" / "labels.csv", photos / "labelled" / "images"
    lines = labels.read_text().splitlines()
    name, *cells = lines[1].split(",")
    shutil.copy(images / name, images / "copy.png")
    others = ["0" if cell == "1" else "1" for cell in cells]
    labels.write_text("\n".join([*lines, ",".join(["copy.png", *others]), ""]))


def empty_the_pool(photos: Path) -> None:
    shutil.rmtree(photos / "pool")
    shutil.copytree(photos / "labelled" / "images", photos / "pool")


def remove_the_pool(photos: Path) -> None:
    shutil.rmtree(photos / "pool")


def remove_the_labels(photos: Path) -> None:
    (photos / "labelled" / "labels.csv").unlink()


def take_the_folder(photos: Path) -> None:
    (photos / "batch").mkdir()


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_learned(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(choose, "read_labelled", None)
    (photos / "file").write_text("in the way")
    assert choose.main(flags(photos, "file/batch")) == 2
    assert "file/batch cannot be written" in capsys.readouterr().err


def test_what_is_excluded_or_broken_is_no_candidate(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(photos / "pool" / "monday", photos / "test sample")
    keep = sorted((photos / "test sample").iterdir())
    for file in keep[:12]:
        file.unlink()
    (photos / "pool" / "double.png").unlink()
    (photos / "pool" / "empty.png").write_bytes(b"")
    (photos / "pool" / "folder.png").mkdir()
    (photos / "pool" / "gone.png").symlink_to(photos / "nowhere.png")
    (photos / "pool" / ".thumbnails").mkdir()
    shutil.copy(photos / "validation" / "images" / "0001.png", photos / "pool" / ".thumbnails")
    more = ["--exclude", str(photos / "test sample"), "--strategy", "random"]
    assert choose.main(flags(photos, "batch", 12, *more)) == 0
    assert {row["filename"] for row in table(photos / "batch" / "labels.csv")} == {
        f"monday/{file.name}" for file in keep[:12]
    }
    assert "1 of 42 images cannot be used and are left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("suffix", "how", "said"),
    [
        ("bmp", {}, "28 of its 28 images are in the pool"),
        ("tif", {"compression": "tiff_lzw"}, "28 of its 28 images are in the pool"),
        ("webp", {"lossless": True}, "28 of its 28 images are in the pool"),
        ("webp", {"quality": 90}, "are no longer the same pixel for pixel, but one picture"),
        ("jpg", {"quality": 85}, "are no longer the same pixel for pixel, but one picture"),
    ],
)
def test_excluded_images_are_recognised_in_any_format(
    suffix: str, how: dict[str, Any], said: str, photos: Path, capsys: pytest.CaptureFixture[str]
):
    test = photos / "test sample"
    test.mkdir()
    kept = {f"monday/{number:04}.png" for number in range(12)}
    for file in sorted((photos / "pool" / "monday").iterdir()):
        with Image.open(file) as image:
            large = image.resize((96, 64))
        large.save(file)
        if f"monday/{file.name}" not in kept:
            large.save((test / file.name).with_suffix(f".{suffix}"), **how)
    (photos / "pool" / "double.png").unlink()
    more = ["--exclude", str(test), "--strategy", "random"]
    assert choose.main(flags(photos, "batch", 12, *more)) == 0
    assert {row["filename"] for row in table(photos / "batch" / "labels.csv")} == kept
    told = capsys.readouterr().err
    assert "29 of 41 images are labelled already, excluded or duplicates (1 labelled, 28 ex" in told
    assert said in told


def test_labelled_images_are_recognised_with_another_header(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    for number in range(3):
        with Image.open(photos / "labelled" / "images" / f"000{number}.png") as image:
            image.save(photos / "pool" / f"{number}.png", compress_level=1, dpi=(300, 300))
    labelled = choose.read_labelled([photos / "labelled"], 80)
    pool = choose.read_pool(photos / "pool", labelled)
    assert {file.name for file in pool.files if file.parent == photos / "pool"} == {"double.png"}
    assert "5 of 45 images are labelled already, excluded or duplicates (4 labelled, 1 dup" in (
        capsys.readouterr().err
    )


def test_budget_for_the_whole_pool_counts_images_that_are_labelled_already(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = sorted((photos / "labelled" / "images").iterdir())[0]
    shutil.copy(labelled, photos / "pool" / f"again{labelled.suffix}")
    assert choose.main(flags(photos, "batch", 44, "--strategy", "random")) == 2
    assert choose.main(flags(photos, "batch", 43, "--strategy", "random")) == 0
    assert "all 40 images that need a label are chosen" in capsys.readouterr().err
    assert len(table(photos / "batch" / "chosen.csv")) == 40


def test_what_is_excluded_or_labelled_and_not_in_the_pool_is_told(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    (photos / "pool" / "known under another name.png").unlink()
    labelled = choose.read_labelled([photos / "labelled"], 80)
    excluded = [photos / "validation", photos / "pool" / "monday"]
    with pytest.raises(DatasetError, match="none that can be chosen"):
        choose.read_pool(photos / "pool", labelled, excluded)
    told = capsys.readouterr().err
    assert "none of the 24 labelled images is in the pool" in told
    assert f"notice: --exclude {excluded[0]}: none of its 16 images is in the pool" in told
    assert f"--exclude {excluded[1]}: 40 of its 40 images are in the pool" in told


@pytest.mark.parametrize("of", ["test sample", "labelled/images"])
def test_an_excluded_or_labelled_image_that_cannot_be_read_is_refused(
    of: str, photos: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(photos / "pool" / "monday", photos / "test sample")
    (photos / of / "0003.png").write_bytes(b"no picture")
    assert choose.main(flags(photos, "batch", 6, "--exclude", str(photos / "test sample"))) == 2
    told = capsys.readouterr().err
    assert re.search(
        rf"1 of \d+ (labelled )?images cannot be used \('{photos / of}/0003.png': ", told
    )
    assert is_explained(told)


def test_images_of_the_pool_without_content_are_named_and_counted(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    labelled = choose.read_labelled([photos / "labelled"], 80)
    pool = photos / "pool"
    for number in range(5):
        (pool / f"gone {number}.png").symlink_to("../.git/annex/objects/gone.png")
    assert len(choose.read_pool(pool, labelled).files) == 40
    told = capsys.readouterr().err
    assert f"5 of 47 images are not on this disk ({str(pool / 'gone 0.png')!r}: a link" in told
    with pytest.raises(DatasetError, match="5 of 47 images are not on this disk"):
        choose.read_pool(photos / "validation", labelled, [pool])


def test_a_pool_may_lie_behind_links(photos: Path):
    (photos / "pool" / "monday").rename(photos / "a disk")
    (photos / "pool" / "monday").symlink_to(photos / "a disk")
    (photos / "a disk" / "back").symlink_to(photos / "pool")
    assert choose.main(flags(photos, "batch", 40, "--strategy", "random")) == 0


@pytest.mark.parametrize(
    ("suffix", "how"),
    [
        *(("jpg", {}), ("png", {}), ("bmp", {}), ("tif", {}), ("webp", {})),
        ("tif", {"compression": "tiff_lzw"}),
    ],
)
def test_what_is_cut_short_is_no_candidate_and_what_has_more_behind_it_is(
    suffix: str, how: dict[str, str], photos: Path, capsys: pytest.CaptureFixture[str]
):
    whole = photos / f"whole.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(whole, **how)
    content = whole.read_bytes()
    (photos / "pool" / f"zu kurz für uns.{suffix}").write_bytes(content[: len(content) // 2])
    (photos / "pool" / f"longer.{suffix}").write_bytes(content + b"a camera's own")
    assert choose.main(flags(photos, "batch", 43, "--strategy", "random")) == 0
    chosen = {row["filename"] for row in table(photos / "batch" / "labels.csv")}
    assert {name for name in chosen if name.endswith(f"er.{suffix}")} == {f"longer.{suffix}"}
    told = capsys.readouterr().err
    assert "1 of 44 images cannot be used and are left out" in told
    assert f"zu kurz für uns.{suffix}': " in told


def test_what_is_damaged_in_the_middle_is_left_out_of_the_pool_and_named(
    photos: Path, capsys: pytest.CaptureFixture[str]
):
    labelled = choose.read_labelled([photos / "labelled"], 80)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    bad = photos / "pool" / "damaged.jpg"
    Image.fromarray(noise).save(bad, quality=95)
    content = bad.read_bytes()
    middle = len(content) // 2
    bad.write_bytes(content[:middle] + bytes(500) + content[middle + 500 :])
    assert len(choose.read_pool(photos / "pool", labelled).files) == 40
    told = capsys.readouterr().err
    assert f"1 of 43 images cannot be used and are left out ({str(bad)!r}: " in told


def test_a_batch_may_be_half_filled_in(photos: Path, capsys: pytest.CaptureFixture[str]):
    assert choose.main(flags(photos, "first", 12, "--strategy", "random")) == 0
    labels = photos / "first" / "labels.csv"
    first = fill_in(labels)
    header, *lines = labels.read_text().splitlines()
    waiting = [line.split(",")[0] + "," * len(CLASSES) for line in lines[4:]]
    labels.write_text("\n".join([header, *lines[:4], *waiting]))
    labelled = choose.read_labelled([photos / "first"], 80)
    assert len(labelled.images) == 4
    printed = capsys.readouterr().err
    assert f"8 of 12 images in {photos / 'first'} are not labelled yet" in printed
    pool = choose.read_pool(photos / "pool", labelled)
    left = {file.relative_to(photos / "pool").as_posix() for file in pool.files}
    assert len(left) == 41 - 12, "one of the pool is labelled in the other folder"
    assert first.isdisjoint(left)


def test_files_of_other_kinds_are_counted(photos: Path, capsys: pytest.CaptureFixture[str]):
    labelled = choose.read_labelled([photos / "labelled"], 80)
    pool = photos / "pool"
    for name in ("a.gif", "monday/b.GIF", "c.heic", "README", ".hidden.gif"):
        (pool / name).write_bytes(b"")
    assert len(choose.read_pool(pool, labelled)) == 40
    said = "4 other files are not read (.gif 2, "
    assert said in capsys.readouterr().err
    for image in pool.rglob("*.png"):
        image.unlink()
    with pytest.raises(DatasetError, match="holds no image: what is read is") as caught:
        choose.read_pool(pool, labelled)
    assert said in str(caught.value)


def test_what_is_labelled_twice_counts_once(photos: Path, capsys: pytest.CaptureFixture[str]):
    one = photos / "labelled"
    assert len(choose.read_labelled([one, one / "labels.csv"], 80).images) == 24
    assert "24 of 48 labelled images stand twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "budget", "more", "said"),
    [
        (spoil_nothing, 43, [], "43 labels are more than the 40 images to choose from"),
        (spoil_nothing, 0, [], "--budget 0"),
        (spoil_nothing, 6, ["--minutes", "nan"], "--minutes nan"),
        (spoil_nothing, 6, ["--strategy", "entrpy"], "Did you mean 'entropy'?"),
        (spoil_nothing, 6, ["--strategy", "entropy:rounds=3"], "wants its labels in 3 rounds"),
        (spoil_an_image, 42, [], "42 labels are more than the 39 images"),
        (spoil_nothing, 6, ["--minutes", "0.0001"], "would have chosen by something else"),
        (spoil_nothing, 6, ["--exclude", "nowhere"], "nowhere is not a folder"),
        (contradict_a_label, 6, [], "are the same image, and have different labels"),
        (leave_a_cell_empty, 6, [], "labels.csv, line 25: striped is ''; a label is 0 or 1"),
        (empty_the_cells, 6, [], "is labelled yet. Fill in some lines"),
        (empty_the_pool, 6, [], "and none that can be chosen"),
        (remove_the_pool, 6, [], "pool is not a folder"),
        (remove_the_labels, 6, [], "is not there, or has no labels.csv"),
        (take_the_folder, 6, [], "batch exists already"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing_behind(
    spoil: Callable[[Path], None],
    budget: int,
    more: list[str],
    said: str,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
):
    spoil(photos)
    before = sorted(photos.rglob("*"))
    assert choose.main(flags(photos, "batch", budget, *more)) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert is_explained(printed)
    assert sorted(photos.rglob("*")) == before
