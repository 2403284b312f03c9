"""Commands work in containers and locales that lack what a desktop has."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluator.data.dataset import open_splits
from shared.errors import DatasetError
from tests.conftest import REPO_ROOT

BEGIN = (
    "from core.user_account import ensure_user_and_home; ensure_user_and_home(); "
    "from shared.process_environment import prepare_process; prepare_process(); "
)
SHOW = BEGIN + r'import sys; print("Gr\xf6\xdfe \u88c2", sys.getfilesystemencoding())'
NO_USER = "import os, pwd; pwd.getpwuid = {}.__getitem__; os.environ.clear(); "


def run(code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPO_ROOT,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"LC_ALL": "C.UTF-8"}, "Gr\xf6\xdfe \u88c2 utf-8".encode()),
        (
            {"PYTHONIOENCODING": "latin-1"},
            b"Gr\xf6\xdfe \\u88c2 utf-8",
        ),
        ({"PYTHONIOENCODING": "ascii"}, rb"Gr\xf6\xdfe \u88c2 utf-8"),
        (
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            rb"Gr\xf6\xdfe \u88c2 utf-8",
        ),
    ],
)
def test_prepare_process_shows_any_text_and_reads_any_file_name(
    environment: dict[str, str], shown: bytes
) -> None:
    done = run(SHOW, **environment)
    assert (done.stdout.strip(), done.returncode) == (shown, 0), done.stderr


def test_ensure_user_and_home_names_a_user_without_an_entry() -> None:
    done = run(
        f"{NO_USER}from core.user_account import ensure_user_and_home\n"
        "ensure_user_and_home(); import getpass, pathlib\n"
        "print(getpass.getuser() == f'uid-{os.getuid()}', pathlib.Path.home())"
    )
    assert done.stdout.split() == [b"True", b"/"], done.stderr


def test_ensure_user_and_home_lets_torch_make_an_optimiser() -> None:
    done = run(
        f"{NO_USER}import run, torch; run.ZEWDPCRun('random'); "
        "torch.optim.AdamW([torch.zeros(1, requires_grad=True)]); print('made')"
    )
    assert done.stdout.split() == [b"made"], done.stderr


def test_prepare_process_ends_where_nothing_temporary_can_be_written() -> None:
    done = run(f"import tempfile; tempfile._candidate_tempdir_list = lambda: []; {BEGIN}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == b"see docs/troubleshooting.md#no-temporary-folder"


@pytest.mark.parametrize(("temporary", "code"), [(True, None), (False, "no-cache-folder")])
def test_decoded_images_are_kept_among_temporary_files_where_nothing_else_is_left(
    temporary: bool,
    code: str | None,
    make_data: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("evaluator.data.cache.FOLDER", "training/labels.csv")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path) if temporary else "/dev/null")
    root = make_data()
    if code:
        with pytest.raises(DatasetError) as caught:
            open_splits(root, progress=False)
        assert caught.value.code == code
    else:
        files = open_splits(root, progress=False).image_files.values()
        assert all(file.is_relative_to(tmp_path) for file in files)
        assert "which may be cleared any time" in caplog.text
