"""The last lines of a search: how to compare its trials."""

import json
from pathlib import Path

import pytest

from tuner import cli
from tuner.driver import Outcome


@pytest.mark.parametrize("mlflow", ["python -m mlflow ui", "https://host"])
def test_the_last_line_has_the_address_of_the_comparison(
    mlflow: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = Outcome(False, None, None, "", (), mlflow)
    cli.status_of(outcome, tmp_path, [], cli.console())
    assert capsys.readouterr().out == f"compare the trials in MLflow: {mlflow}\n"

    places = {"ui": "https://host", "experiment_id": "1", "parent": "p", "runs": {}}
    (tmp_path / "mlflow.json").write_text(json.dumps(places))
    cli.status_of(outcome, tmp_path, [], cli.console())
    *first, last = capsys.readouterr().out.splitlines()
    assert "https://host/#/experiments/1/runs?compareRunsMode=CHART" in last
    assert first == (
        [] if mlflow == "https://host" else [f"compare the trials in MLflow: {mlflow}"]
    )
