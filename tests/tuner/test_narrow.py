"""The command that writes the next search space: from which trials, to which file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_search import trial

from tuner import narrow
from tuner.driver import preflight
from tuner.results.snapshot import Snapshot
from tuner.search import main as search
from tuner.space.spec import SearchSpec, read_spec
from tuner.study.trial import Trial

MakeSpec = Callable[..., SearchSpec]
SPACE: dict[str, Any] = {
    "name": "gp",
    "data": {"dataset": "eight_gaussians"},
    "training": {"critic_lr": {"low": 1e-5, "high": 1e-1, "log": True}},
    "asha": {"grace_generator_steps": 10, "max_generator_steps": 40, "reduction_factor": 2},
}


def with_lr(spec: SearchSpec, number: int, lr: float, *w1: float, **more: Any) -> Trial:
    return trial(spec, number, w1, values={"training.critic_lr": lr}, **more)


@pytest.fixture
def run(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, Path]]:
    """Narrow a made-up search, ``runs/gp`` of the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preflight, "num_cpus", lambda: 2)

    def narrowed(
        trials: Callable[[SearchSpec], list[Trial]], *options: str, **sections: Any
    ) -> tuple[int, Path]:
        spec = make_spec(**{**SPACE, **sections})
        snapshot = Snapshot(
            Path("runs", spec.name), spec, "id", tuple(trials(spec)), {}, None, 1.0, False
        )
        monkeypatch.setattr("tuner.results.read_snapshot", lambda _: snapshot)
        return narrow.main([f"runs/{spec.name}", *options]), tmp_path / "gp-narrowed.yaml"

    return narrowed


def few(spec: SearchSpec) -> list[Trial]:
    return [with_lr(spec, 0, 1e-3, 3, 2, 1, status="completed"), with_lr(spec, 1, 1e-2, 4)]


def test_the_best_quarter_are_the_trials_that_came_farthest_and_scored_lowest(
    make_spec: MakeSpec,
) -> None:
    """Of 16 that ended, in any order of their numbers and with any score at an earlier rung."""
    spec = make_spec(**SPACE)
    ended = [
        with_lr(spec, 9, 1e-3, 9.0, 5.0, 2.0, status="completed"),  # second
        with_lr(spec, 1, 1e-3, 0.1, status="stopped"),  # no later score
        with_lr(spec, 5, 1e-3, 8.0, 0.1, 3.0, status="completed", final=1.5),  # the best: the final
        with_lr(spec, 2, 1e-3, 7.0, 3.0, status="stopped"),  # fourth
        with_lr(spec, 0, 1e-3, 0.2, 0.1, status="diverged"),
        with_lr(spec, 7, 1e-3, 9.9, 2.5, status="stopped"),  # third
        with_lr(spec, 3, 1e-3, 0.01, 0.01, 0.01, status="failed"),
        *(with_lr(spec, number, 1e-3, 20.0, status="stopped") for number in range(20, 29)),
    ]
    running = [with_lr(spec, number, 1e-3, 0.0, status=None) for number in range(10, 20)]
    assert [t.number for t in narrow.best_quarter([*running, *ended])] == [5, 9, 7, 2]


def test_of_few_trials_three_are_the_best_quarter(make_spec: MakeSpec) -> None:
    spec = make_spec(**SPACE)
    trials = [with_lr(spec, i, 1e-3, float(9 - i), status="stopped") for i in range(5)]
    assert [t.number for t in narrow.best_quarter(trials)] == [4, 3, 2]
    assert [t.number for t in narrow.best_quarter(trials[:2])] == [1, 0]


def test_diverged_trials_do_not_hold_a_range_wide(run: Callable[..., tuple[int, Path]]) -> None:
    """The trials with high learning rates diverged, and the best are around 1e-3."""

    def trials(spec: SearchSpec) -> list[Trial]:
        good = [with_lr(spec, i, 1e-3 * 1.2**i, 9, 8, 1 + i, status="completed") for i in range(3)]
        bad = [with_lr(spec, 3 + i, 0.09, 0.5, status="diverged") for i in range(9)]
        return [*bad, *good]

    status, path = run(trials)
    assert status == 0
    written = yaml.safe_load(path.read_text())
    assert written["training"]["critic_lr"] == {"low": 3.7e-4, "high": 3.8e-3, "log": True}


def test_the_file_says_what_changed_and_passes_a_dry_run(
    run: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    status, path = run(few)
    assert status == 0
    first, second, empty, *table = path.read_text().split("\n\n")[0].splitlines()
    assert first.startswith("# The search space after runs/gp, by python -m tuner.narrow: around ")
    assert first.endswith("the best 2 of 2 trials.")
    assert second.startswith("# First trial: the values of trial 00000, w1 1")
    assert (empty, table) == (
        "#", ["#   training.critic_lr  1e-05 to 0.1 (log)  ->  0.00039 to 0.026 (log)"]
    )  # fmt: skip
    out = capsys.readouterr().out
    assert out.endswith("check it with: python -m tuner.search gp-narrowed.yaml --dry-run\n")
    spec = read_spec(path)
    assert (spec.name, spec.results.runs_dir) == ("gp-narrowed", "runs")
    assert spec.first_points == [{"training.critic_lr": 1e-3}]
    assert search([str(path), "--dry-run", "--for-cluster"]) == 0


def test_a_file_that_there_is_is_replaced_on_request_alone(
    run: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, path = run(few)
    path.write_text("mine")
    assert run(few)[0] == 2
    assert "exists already: give another file by --out" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert run(few, "--out", path.name)[0] == 0
    assert "critic_lr" in path.read_text()


@pytest.mark.parametrize(
    ("name", "following"),
    [
        ("gp", "gp-narrowed"),
        ("gp-narrowed", "gp-narrowed-2"),
        ("gp-narrowed-9", "gp-narrowed-10"),
        ("gp-narrowed-well", "gp-narrowed-well-narrowed"),
        ("x" * 100, "x" * 91 + "-narrowed"),
    ],
)
def test_the_next_search_has_the_next_name(name: str, following: str) -> None:
    assert narrow._next_name(name) == following


def test_nothing_of_another_person_is_trusted_by_the_next_search(
    run: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its file is the user's own, which imports modules and sends passwords without a question."""
    mlflow = {"tracking_uri": "http://mlflow.example.com:5000", "experiment": "theirs"}
    networks = {"generator": "poison:Net", "latent_dim": 5}
    sections = {"mlflow": mlflow, "networks": networks, "search": {"trial_seeds": [1, 2]}}
    sections["search"]["num_trials"] = 2
    assert run(few, **sections)[0] == 2
    assert "names poison:Net, whose module poison would be imported" in capsys.readouterr().err
    status, path = run(few, "--allow-code", "poison", **sections)
    assert status == 0
    written = yaml.safe_load(path.read_text())
    assert written["mlflow"] == {"experiment": "theirs"}
    assert written["search"]["num_trials"] == 2
    assert "trial_seeds" not in written["search"]
    left_out = "# Left out: mlflow.tracking_uri, which was http://mlflow.example.com:5000: give it"
    assert left_out in path.read_text()


@pytest.mark.parametrize(
    ("trials", "sections", "message"),
    [
        (lambda spec: few(spec)[1:], {}, "has no completed trial yet: wait for the search"),
        (lambda _: [], {}, "has no completed trial yet"),
        (lambda _: [], {"training": {"critic_lr": 1e-3}}, "searches nothing: give the folder"),
    ],
)
def test_a_search_without_an_answer_is_refused(
    run: Callable[..., tuple[int, Path]],
    capsys: pytest.CaptureFixture[str],
    trials: Any,
    sections: Any,
    message: str,
) -> None:
    status, path = run(trials, **sections)
    assert status == 2
    assert message in capsys.readouterr().err
    assert not path.exists()
