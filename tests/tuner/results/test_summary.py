"""The summary of a search agrees with its snapshot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_search

from tuner.results import ranking as results
from tuner.results import snapshot
from tuner.results.summary import Summary, find_searches, summarize
from tuner.results.table import write_trials
from tuner.space.spec import SearchSpec
from tuner.storage import lock as folder
from tuner.study.study import Study
from tuner.tracking.tracker import Tracker

MakeSpec = Callable[..., SearchSpec]


@pytest.fixture
def tell(make_spec: MakeSpec, uri: str, tmp_path: Path) -> Callable[..., Path]:
    """Write a search of two trials, of which the second may be left under way."""

    def tell(name: str, *, finish: bool, **sections: Any) -> Path:
        search = make_spec(
            **{"name": name, "search": {"num_trials": 2, "sampler": "random"}, **sections}
        )
        run_dir = tmp_path / "runs" / name
        run_dir.parent.mkdir(exist_ok=True)

        def follow(search_id: str) -> Any:
            return Tracker(search, run_dir, search_id, lambda text: None, uri)

        small_search.tell_search(search, run_dir, follow, finish=finish)
        return run_dir

    return tell


def assert_agrees(found: Summary) -> None:
    full = snapshot.read_snapshot(found.run_dir)
    assert (found.name, found.state) == (full.spec.name, full.state)
    assert (found.data, found.num_trials) == (full.spec.data.dataset, full.spec.num_trials)
    assert found.best is not None
    assert full.best is not None
    final = full.best.final or {}
    assert found.best.trial_id == full.best.trial_id
    assert (found.best.w1, found.best.w1_final) == (full.best.score, final.get("w1_final"))
    counts: dict[str, int] = {}
    for trial in full.trials:
        status = trial.status or "running"
        counts[status] = counts.get(status, 0) + 1
    assert found.trials == counts


def test_it_agrees_with_the_snapshot_of_a_finished_and_of_an_unfinished_search(
    tell: Callable[..., Path],
) -> None:
    done, open_ = tell("done", finish=True), tell("open", finish=False)
    assert_agrees(summarize(done))
    assert_agrees(summarize(open_))
    assert [summarize(path).state for path in (done, open_)] == ["finished", "interrupted"]
    with folder.own_folder(open_):
        assert_agrees(summarize(open_))
        assert summarize(open_).state == "running"


def test_a_grid_is_asked_for_as_many_trials_as_it_has_points(tell: Callable[..., Path]) -> None:
    grid = {"search": {"sampler": "grid"}, "training": {"critic_lr": {"choice": [1e-3, 1e-4]}}}
    found = summarize(tell("grid", finish=True, **grid))
    assert_agrees(found)
    assert (found.state, found.num_trials) == ("finished", 2)


def test_a_grid_that_cannot_be_counted_says_why(tell: Callable[..., Path]) -> None:
    grid = {"search": {"sampler": "grid"}, "training": {"critic_lr": {"choice": [1e-3, 1e-4]}}}
    run_dir = tell("grid", finish=True, **grid)
    text = (run_dir / "spec.yaml").read_text()
    (run_dir / "spec.yaml").write_text(text.replace("n_critic:", "n_critics:"))
    found = summarize(run_dir)
    assert found.state == "broken"
    assert found.trouble == "spec.yaml: training.n_critics: no such key; did you mean n_critic?"


def test_a_search_is_finished_too_when_its_time_is_used_up(tell: Callable[..., Path]) -> None:
    states = []
    for name, budget_s in (("short", 5.0), ("long", 5000.0)):
        search = {"num_trials": 9, "sampler": "random", "time_budget_s": budget_s}
        run_dir = tell(name, finish=False, search=search)
        study = Study(run_dir / "study.log", snapshot.read_snapshot(run_dir).spec)
        study.end(1, "stopped", {"generator_steps": 100.0}, None)
        study.set_elapsed(6.0)
        for trial in results.ranked(study.trials()):
            study.set_final(trial.number, {"w1_final": 1.0, "w1_final_stderr": 0.1}, {})
        write_trials(run_dir / "trials.csv", study.trials())
        assert_agrees(summarize(run_dir))
        states.append(summarize(run_dir).state)
    assert states == ["finished", "interrupted"]


@pytest.mark.parametrize(
    ("budget", "state"),
    [
        ({"generator_steps": 4100}, "finished"),
        ({"generator_steps": 4101}, "interrupted"),
        ({"gpu_hours": 2.0}, "finished"),
        ({"gpu_hours": 2.1}, "interrupted"),
    ],
)
def test_a_search_is_finished_too_when_its_steps_or_gpu_hours_are_used_up(
    tell: Callable[..., Path], budget: dict[str, float], state: str
) -> None:
    search = {"num_trials": 9, "sampler": "random", **budget}
    run_dir = tell("short", finish=False, search=search, resources={"gpus_per_trial": "auto"})
    study = Study(run_dir / "study.log", snapshot.read_snapshot(run_dir).spec)
    seconds = {"training_seconds": 7000.0, "scoring_seconds": 200.0}
    study.end(1, "stopped", {"generator_steps": 100.0, **seconds}, None)
    for trial in results.ranked(study.trials()):
        study.set_final(trial.number, {"w1_final": 1.0, "w1_final_stderr": 0.1}, {})
    write_trials(run_dir / "trials.csv", study.trials())
    assert_agrees(summarize(run_dir))
    assert summarize(run_dir).state == state


def test_a_broken_folder_says_what_is_wrong_and_changes_nothing(
    tell: Callable[..., Path],
) -> None:
    run_dir = tell("done", finish=True)
    for name, content, trouble in (
        ("spec.yaml", "a: [", "spec.yaml is not YAML"),
        ("spec.yaml", "- 1", "not the files of a search (list indices must be integers"),
        (
            "trials.csv",
            "nonsense\n1\n",
            "not the files of a search (trials.csv: it has no column trial_id, status",
        ),
    ):
        kept = (run_dir / name).read_text()
        (run_dir / name).write_text(content)
        assert (summarize(run_dir).trouble or "").startswith(trouble)
        (run_dir / name).write_text(kept)
    (run_dir / "study.log").unlink()
    found = summarize(run_dir)
    assert (found.state, found.name) == ("broken", "done")
    assert found.trouble == "study.log: No such file or directory"


def test_other_folders_are_none_of_searches(tell: Callable[..., Path]) -> None:
    done = tell("done", finish=True)
    for name in ("mlflow-artifacts", "data-cache"):
        (done.parent / name).mkdir(exist_ok=True)
    assert find_searches(done.parent) == [done]
    assert find_searches(done) == [done]
    (done / "study.log").unlink()
    assert find_searches(done.parent) == [done]
