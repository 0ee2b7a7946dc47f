"""Variables for a job: read as usual, refused line by line, and never told in an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.jobs.env_file import left_behind, read_env_file
from pipeline.errors import InputError, InputErrors


def written(folder: Path, text: str) -> Path:
    file = folder / "job.env"
    file.write_text(text)
    return file


def test_the_usual_forms(tmp_path: Path) -> None:
    text = "# tokens\nexport A=1\nB='two words'\n\nC=\"x\\ny\"\nHERE\nEMPTY=\nPATH_LIKE=$HOME/x\n"
    found = read_env_file(written(tmp_path, text), {"HERE": "from here"})
    expected = {"A": "1", "B": "two words", "C": "x\ny", "HERE": "from here", "EMPTY": "", "PATH_LIKE": "$HOME/x"}
    assert found == expected


def test_every_bad_line_is_told_and_no_value(tmp_path: Path) -> None:
    text = "GOOD=1\nnot a variable = hunter2\nGONE\nRAY_ADDRESS=http://elsewhere\n"
    with pytest.raises(InputErrors) as caught:
        read_env_file(written(tmp_path, text), {})
    places = [str(problem.where).rpartition(":")[2] for problem in caught.value.problems]
    assert places == ["2", "3", "4"]
    assert "hunter2" not in str(caught.value) and "GONE" in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--env-file"):
        read_env_file(tmp_path / "none", {})


def test_credentials_that_do_not_travel_are_told_where_they_may_be_asked_for() -> None:
    env = {"MLFLOW_TRACKING_TOKEN": "t", "AWS_ACCESS_KEY_ID": "a", "HF_TOKEN": "h"}
    assert left_behind(["http://mlflow:5000"], env, {}) == ["MLFLOW_TRACKING_TOKEN"]
    assert left_behind(["http://mlflow:5000"], env, {"MLFLOW_TRACKING_TOKEN": "t"}) == []
    assert left_behind(["sqlite:////shared/mlflow.db", "s3://b/x", "hub"], env, {}) == ["AWS_ACCESS_KEY_ID", "HF_TOKEN"]
    assert left_behind(["sqlite:////shared/mlflow.db", "/shared/data"], env, {}) == []
