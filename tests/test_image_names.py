"""A name in a table means the file that it names, or none: never one of another folder."""

from pathlib import Path

import pytest

from shared.images.image_names import ImageNames

TWO_FORMS = ["\u1ec7.png", "e\u0323\u0302.png"]
NFC, NFD = "Gr\u00f6\u00dfe.png", "Gro\u0308\u00dfe.png"


def meant(name: str, *files: str) -> list[str]:
    """The files, of those that are there, that the name means."""
    root = Path("/photos")
    names = ImageNames(root, [root / file for file in files])
    return [file.relative_to(root).as_posix() for file in names.meant_by(name).files]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.png", "a.png"),
        ("./a.png", "a.png"),
        ("cam1/../cam1/a.png", "cam1/a.png"),
        (" a.png", "a.png"),
        # from another machine
        ("/mnt/photos/cam1/a.png", "cam1/a.png"),
        ("C:\\photos\\cam1\\a.png", "cam1/a.png"),
        ("c:/photos/a.png", "a.png"),
        ("\\\\server\\share\\a.png", "a.png"),
        ("cam1\\a.png", "cam1/a.png"),
        ("../images/a.png", "a.png"),
        ("images/train/a.png", "a.png"),
        ("cam1/a.png", "monday/cam1/a.png"),
        ("a.png", "monday/cam1/a.png"),
        # as in an address
        ("my%20photo%C3%A9.png", "my photo\u00e9.png"),
        ("my%2520photo.png", "my photo.png"),
        ("cam1%2Fa.png", "cam1/a.png"),
        ("cam1%5Ca.png", "cam1/a.png"),
        ("file:///home/me/photos/a%20b.png", "a b.png"),
        ("file:///C:/photos/a.png", "a.png"),
        ("https://host:8080/photos/cam1/a.png?X-Amz-Date=1&X-Amz-Signature=ab%2Fc", "cam1/a.png"),
        ("https://host/a.png#t=1", "a.png"),
        ("s3://bucket/photos/cam1/a.png", "cam1/a.png"),
        ("a.png?v=2", "a.png"),
        # Label Studio
        ("/data/local-files/?d=photos/cam1/a.png", "cam1/a.png"),
        ("/data/local-files/?d=photos%2Fcam1%2Fmy%20a.png", "cam1/my a.png"),
        ("data/local-files/?d=photos/my+a.png", "my a.png"),
        ("/data/local-files/?d=photos\\cam1\\a.png", "cam1/a.png"),
        ("http://localhost:8080/data/local-files/?d=photos/a.png&x=1", "a.png"),
        ("/data/upload/1/8f3a2b1c-a.png", "a.png"),
        ("/data/upload/1/8f3a2b1c-a.png", "cam1/a.png"),
        ("/data/upload/12/a.png", "a.png"),
        ("upload/3/8f3a2b1c-a.png", "a.png"),
        ("images/8f3a2b1c-a.png", "cam1/a.png"),
        ("images\\8f3a2b1c-a.png", "a.png"),
        ("images/0a1b2c3d-8f3a2b1c-a.png", "8f3a2b1c-a.png"),
        ("images/0a1b2c3d-8f3a2b1c-a.png", "a.png"),
        ("8f3a2b1c-my_photo_1.png", "my photo (1).png"),
        ("8f3a2b1c-a%20b.png", "a b.png"),
        # Unicode
        (NFC, NFD),
        (NFD, NFC),
        (f"cam/{NFC}", f"x/cam/{NFD}"),
        (f"8f3a2b1c-{NFD}", NFC),
        ("o\u0308/Gr\u00f6\u00dfe.png", "\u00f6/Gro\u0308\u00dfe.png"),  # mixed forms
    ],
)
def test_a_name_means_the_file_that_a_tool_wrote_it_for(name: str, file: str):
    assert meant(name, file, "unrelated.png") == [file]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a%20b.png", "a%20b.png"),
        ("100%.png", "100%.png"),
        ("a?v=2.png", "a?v=2.png"),
        ("a\\b.png", "a\\b.png"),
        ("cam1\\b.png", "cam1\\b.png"),
        (" a.png", " a.png"),
        ("8f3a2b1c-a.png", "8f3a2b1c-a.png"),
        (NFD, NFD),
        (NFC, NFC),
        ("cam1/a.png", "cam1/a.png"),
    ],
)
def test_a_file_that_is_called_so_to_the_letter_comes_first(name: str, file: str):
    others = ["a b.png", "a.png", "cam1/b.png", "a/b.png", NFC, NFD, "cam2/cam1/a.png", file]
    assert meant(name, *dict.fromkeys(others)) == [file]


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cam2/1.png", ["cam1/1.png"]),
        ("cam2/1.png", ["1.png", "cam2/2.png"]),  # there is a cam2, and it is not in it
        ("/mnt/photos/cam2/1.png", ["1.png", "cam2/2.png"]),
        ("C:\\photos\\cam2\\1.png", ["cam1/1.png"]),
        ("monday/cam1/1.png", ["tuesday/cam1/1.png"]),
        ("/data/local-files/?d=cam2/1.png", ["cam1/1.png"]),
        ("cam2/8f3a2b1c-1.png", ["cam1/1.png"]),
        ("a.PNG", ["a.png"]),
        ("a.png", ["a.jpg"]),
        ("a.png", ["aa.png"]),
        ("8f3a2b1-a.png", ["a.png"]),  # seven signs
        ("8F3A2B1C-a.png", ["a.png"]),
        ("xyz12345-a.png", ["a.png"]),
        ("8f3a2b1c-", [""]),
        ("\ufb01le.png", ["file.png"]),  # a ligature looks like two letters and is not
        ("\u00b5.png", ["\u03bc.png"]),
        ("", ["a.png"]),
        ("..", ["a.png"]),
        ("C:\\", ["a.png"]),
        ("/", ["a.png"]),
        ("?d=", ["a.png"]),
    ],
)
def test_a_name_never_means_a_file_of_another_name_or_folder(name: str, files: list[str]):
    assert meant(name, *filter(None, files)) == []


@pytest.mark.parametrize(
    ("name", "files", "any_of"),
    [
        ("1.png", ["cam1/1.png", "cam2/1.png"], ["cam1/1.png", "cam2/1.png"]),
        ("x/cam1/1.png", ["cam1/1.png", "1.png"], ["cam1/1.png"]),  # more of it agrees
        ("8f3a2b1c-a.png", ["x/a.png", "y/a.png"], ["x/a.png", "y/a.png"]),
        ("8f3a2b1c-a_b.png", ["a b.png", "a_b.png"], ["a_b.png"]),
        ("8f3a2b1c-a_b.png", ["a b.png", "(a) b.png"], ["a b.png", "(a) b.png"]),
        (
            "\u1eb9\u0302.png",
            ["\u1ec7.png", "e\u0323\u0302.png"],
            ["\u1ec7.png", "e\u0323\u0302.png"],
        ),
    ],
)
def test_several_files_that_a_name_may_mean_are_all_told(
    name: str, files: list[str], any_of: list[str]
):
    assert sorted(meant(name, *files)) == sorted(any_of)
