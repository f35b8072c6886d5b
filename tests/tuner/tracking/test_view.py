"""The page of MLflow that compares a search's trials, as MLflow's own button "Share" keeps one."""

import json
from collections.abc import Callable

import small_search
from small_search import SmallSearch

from tuner.space import SearchSpec
from tuner.tracking.places import read_run_links
from tuner.tracking.store import open_client
from tuner.tracking.values import MAX_TAG_CHARS
from tuner.tracking.view import shared_view, view_columns


def test_its_trials_are_shown_with_what_was_searched_and_the_best_first(
    search: SmallSearch, uri: str
) -> None:
    tracker = search.start(uri)
    search.run()
    assert search.finish(tracker) is None
    parent = small_search.read_runs(uri)[None].info.run_id
    experiment = open_client(uri).get_experiment_by_name("wgan")
    assert "`w1` ranks the trials" in experiment.tags["mlflow.note.content"]
    places = {"ui": "http://h:1", **tracker._runs.places()}
    (search.run_dir / "mlflow.json").write_text(json.dumps(places))
    link = read_run_links(search.run_dir).comparison
    assert link is not None
    page, _, key = link.partition("?viewStateShareKey=")
    assert page == f"http://h:1/#/experiments/{experiment.experiment_id}/runs"
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    assert view["selectedColumns"] == [
        *("metrics.`w1`", "metrics.`w1_stderr`", "metrics.`w1_final`"),
        *("params.`critic_lr`", "tags.`status`"),
    ]
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`w1`", True)
    found = open_client(uri).search_runs(
        [experiment.experiment_id], view["searchFilter"], order_by=["metrics.`w1` ASC"]
    )
    assert {run.data.tags["mlflow.parentRunId"] for run in found} == {parent}
    assert [run.data.tags["tuner.trial_id"] for run in found] == ["00000", "00001"]
    assert set(found[0].data.params) == {"critic_lr"}  # as the column names it


def test_a_view_that_mlflow_would_refuse_is_none(make_spec: Callable[..., SearchSpec]) -> None:
    columns = view_columns(make_spec())
    assert shared_view("run", columns) is not None
    assert shared_view("run", columns * (MAX_TAG_CHARS // 20)) is None
