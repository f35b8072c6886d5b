"""The table of trials, and the sample grids."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from made_search import draw_samples, facts, trial

from tuner.page.pictures import embedded, samples
from tuner.page.table import table
from tuner.space.spec import SearchSpec
from tuner.tracking.places import RunLinks

MakeSpec = Callable[..., SearchSpec]


def test_a_row_has_the_values_of_its_trial(make_spec: MakeSpec) -> None:
    spec = make_spec()
    trials = [trial(spec, 0, [3.0]), trial(spec, 1, [4.0, 2.0, 1.5], "completed", final=1.25)]
    links = RunLinks("http://h:1", None, {"00001": "http://h:1/r"}, "http://h:1/all")
    found = table(facts(spec, trials), links)
    names = ["place", "trial", "w1 final", "w1", "critic_lr", "± 95%", "at rung", "status", "steps",
             "own critic", "training s", "MLflow"]  # fmt: skip
    assert found["columns"] == names
    assert found["mlflow_comparison"] == "http://h:1/all"
    best, other = ([cell.text for cell in row["cells"]] for row in found["rows"])
    assert best == ["1", "00001", "1.25", "1.5", "1e-5", "0.02", "4,000", "completed", "4,000",
                    "-1.5", "400.0", "run"]  # fmt: skip
    assert (other[:3], other[7]) == (["2", "00000", ""], "stopped at 250")
    assert other[-1] == "-"
    assert [row["is_best"] for row in found["rows"]] == [True, False]
    numeric = {names[index] for index in found["numeric"]}
    assert set(names) - numeric == {"status", "MLflow"}
    # What a browser sorts by: the text itself, unless it is not the number.
    assert [cell.sort_value for cell in found["rows"][0]["cells"]] == [
        None, None, None, None, None, 0.0196, 4000, None, 4000, None, None, None
    ]  # fmt: skip


def test_custom_metrics_of_the_final_have_columns(make_spec: MakeSpec) -> None:
    spec = make_spec()
    trials = [trial(spec, n, [4.0, 2.0, 1.5], "completed", final=1.25 + n) for n in range(2)]
    trials[1] = replace(trials[1], final={**(trials[1].final or {}), "metrics/fid": 31.25})
    found = table(facts(spec, trials), RunLinks())
    at = found["columns"].index("fid (final)")
    assert [row["cells"][at].text for row in found["rows"]] == ["", "31.25"]
    assert at in found["numeric"]


def test_the_trials_that_ran_out_of_budget_are_filtered_by_that(make_spec: MakeSpec) -> None:
    spec = make_spec()
    cut = trial(spec, 0, [3.0]).with_metrics({"generator_steps": 700.0})
    found = table(facts(spec, [cut, trial(spec, 1, [4.0])]), RunLinks())
    assert found["statuses"] == ["out of budget", "stopped"]
    assert {row["status"] for row in found["rows"]} == set(found["statuses"])


def test_w1_is_that_of_the_best_rung_with_its_step(make_spec: MakeSpec) -> None:
    spec = make_spec()
    risen = replace(trial(spec, 0, [3.0, 0.5, 1.5], "completed"), generators={1000: "a", 4000: "b"})
    (row,) = table(facts(spec, [risen]), RunLinks())["rows"]
    assert [cell.text for cell in row["cells"]][2:8] == [
        "0.5",
        "1e-5",
        "0.02",
        "1,000",
        "completed",
        "4,000",
    ]


def test_columns_that_no_trial_fills_are_left_out(make_spec: MakeSpec) -> None:
    spec = make_spec()
    diverged = trial(spec, 0, [], "diverged", message="it is not finite")
    columns = table(facts(spec, [diverged]), RunLinks())["columns"]
    assert "message" in columns
    assert not {"w1 final", "MLflow"} & set(columns)


def test_samples_are_of_the_best_and_of_its_rungs(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec()
    trials = [trial(spec, n, [4.0, 2.0, 1.0 + n], "completed") for n in range(2)]
    draw_samples(tmp_path, trials)
    found = samples(facts(spec, trials, tmp_path))
    assert [caption for _, caption in found["top_pictures"]] == [
        "1. trial 00000: 1 at its last rung",
        "2. trial 00001: 2 at its last rung",
    ]
    rungs = ["step 250: w1 4", "step 1,000: w1 2", "step 4,000: w1 1"]
    assert [caption for _, caption in found["rung_pictures"]] == rungs
    assert found["best_picture"].startswith("data:image/png;base64,")


def test_a_damaged_picture_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n")
    assert embedded(tmp_path / "cut.png") is None
    assert embedded(tmp_path / "none.png") is None
