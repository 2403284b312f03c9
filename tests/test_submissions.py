"""Several submissions in one table: their names, the code of a commit, and the report of both."""

import json
from pathlib import Path

import pytest

from evaluator.analysis.loading import load_results, read_results
from evaluator.cli import main
from evaluator.experiment.submissions import find_submissions, name_submissions
from evaluator.records.journal import read_records
from evaluator.records.trial import row_label
from shared.errors import ConfigurationError
from tests.repositories import git
from tests.submissions import write_submission

NAMES = {
    # case: (paths, names)
    "one": (["a/run.py"], [""]),
    "the same twice": (["a/run.py", "a/../a/run.py"], [""]),
    "folders": (["a/run.py", "b/run.py"], ["a", "b"]),
    "files": (["a/first.py", "a/last.py"], ["first", "last"]),
    "a folder and a file": (["a/run.py", "b/badge.py"], ["a", "badge"]),
    "folders named alike": (["x/a/run.py", "y/a/run.py", "z/run.py"], ["x/a", "y/a", "{}/z"]),
}


@pytest.mark.parametrize("case", NAMES)
def test_name_submissions(case: str, tmp_path: Path) -> None:
    paths, names = NAMES[case]
    named = name_submissions([tmp_path / path for path in paths])
    assert [one.name for one in named] == [name.format(tmp_path.name) for name in names]


@pytest.mark.parametrize(
    ("strategy", "submission", "label"),
    [
        ("entropy", "", "entropy"),
        (None, "", "default"),
        ("entropy", "mine", "mine/entropy"),
        (None, "mine", "mine"),
    ],
)
def test_row_label(strategy: str | None, submission: str, label: str) -> None:
    assert row_label(strategy, submission) == label


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits of a submission: the first buys the first images, the second the last ones."""
    folder = tmp_path / "kit"
    write_submission(folder)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "yesterday")
    write_submission(
        folder,
        purchase="""
            for i in range(40 - budget, 40):
                bought[i] = unlabelled_dataset.purchase_label(i)
            budget = 0
        """,
    )
    return folder / "run.py"


def test_find_submissions_of_a_commit(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    today, yesterday = find_submissions([str(repository), f"{repository}@HEAD"])
    assert "range(40 - budget" in today.path.read_text()
    assert "range(40 - budget" not in yesterday.path.read_text()
    assert today.code != yesterday.code
    assert yesterday.path.is_relative_to("build/submissions")
    assert find_submissions([f"{repository}@HEAD"])[0].code == yesterday.code


@pytest.mark.parametrize("word", ["{}@no-such-tag", "{}@--help", "/no/run.py@HEAD"])
def test_find_submissions_without_such_a_commit(word: str, repository: Path) -> None:
    with pytest.raises(ConfigurationError, match="git has no such commit") as refused:
        find_submissions([word.format(repository)])
    assert refused.value.code == "no-revision"


def test_yesterdays_and_todays_code_in_one_table(
    squares: Path,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    rest = ["--data", str(squares), "--round", "1", "--pairs", "5:1", "--out", str(out), "--json"]
    both = ["--submission", str(repository), f"{repository}@HEAD"]
    assert main([*both, *rest]) == 0
    rows = json.loads(capsys.readouterr().out)
    commit = find_submissions([f"{repository}@HEAD"])[0].path.parent.name
    assert {row["strategy"] for row in rows} == {"kit", commit}
    purchases = read_records(out / "purchases.jsonl")
    assert [(one["strategy"], one["submission"]) for one in purchases] == [
        (None, "kit"),
        (None, commit),
    ]
    assert [one["purchased"] for one in purchases] == [[35, 36, 37, 38, 39], [0, 1, 2, 3, 4]]
    assert read_results([out]).strategies == ("kit", commit)
    table = load_results(out)
    assert table["submission"].tolist() == ["kit", commit]
    assert table["code"].tolist() == [one["code"] for one in purchases]

    assert main(["--submission", str(repository), *rest]) == 0
    assert [row["strategy"] for row in json.loads(capsys.readouterr().out)] == ["default"]
    assert len(read_records(out / "purchases.jsonl")) == 2  # the same code is the same trial
    assert read_results([out]).strategies[0] == "default"
