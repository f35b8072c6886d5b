"""The files that other commands leave in a search's folder; damaged ones are skipped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_search import trial

from tuner.retrain.retrained import Retrained, read_retrained
from tuner.space.spec import SearchSpec
from tuner.tracking.places import RunLinks, read_run_links


def test_the_scores_by_seed_are_read(tmp_path: Path) -> None:
    entry = {"trial_id": "00014", "name": "a", "generator_steps": 400, "seeds": [1, 2, 3]}
    text = json.dumps([{**entry, "w1": [1.0, 2.0, 3.0], "w1_final": [None, 1, 1]}])
    (tmp_path / "retrained.json").write_text(text)
    assert read_retrained(tmp_path) == [Retrained("00014", 400, (1.0, 2.0, 3.0))]


@pytest.mark.parametrize("text", ["", "{", "{}", '[{"w1": 3}]', '[{"trial_id": "0"}]', "[3]"])
def test_entries_that_cannot_be_read_are_skipped(tmp_path: Path, text: str) -> None:
    assert read_retrained(tmp_path) == []
    (tmp_path / "retrained.json").write_text(text)
    assert read_retrained(tmp_path) == []


def test_a_trial_leads_to_its_run(make_spec: Callable[..., SearchSpec], tmp_path: Path) -> None:
    links = {"ui": "http://host:5000/", "experiment_id": "1", "parent": "p", "runs": {"00000": "r"}}
    (tmp_path / "mlflow.json").write_text(json.dumps(links))
    run_links, spec = read_run_links(tmp_path), make_spec()
    assert run_links.of(trial(spec, 0, [])) == "http://host:5000/#/experiments/1/runs/r"
    assert run_links.of(trial(spec, 1, [])) is None
    assert run_links.comparison == (
        "http://host:5000/#/experiments/1/runs?compareRunsMode=CHART"
        "&searchFilter=tags.%60mlflow.parentRunId%60%20%3D%20%27p%27"
        "&orderByKey=metrics.%60w1%60&orderByAsc=true"
    )


@pytest.mark.parametrize(
    "content", [[], {}, {"ui": "javascript:alert(1)", "runs": {"0": "r"}}, {"ui": 3, "runs": 4}]
)
def test_invalid_links_are_ignored(tmp_path: Path, content: Any) -> None:
    assert read_run_links(tmp_path) == RunLinks()
    (tmp_path / "mlflow.json").write_text(json.dumps(content))
    assert read_run_links(tmp_path) == RunLinks()
