"""The command that trains again: what it asks for, what it keeps, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_search

from tuner import train
from tuner.cli.status import ExitStatus
from tuner.driver import request
from tuner.errors import BadInput
from tuner.results import snapshot
from tuner.retrain import origin as retrain
from tuner.retrain.retrained import add_retrained, retrained_entry
from tuner.space.spec import SearchSpec
from tuner.tracking.tracker import Tracker

Tell = Callable[..., Path]


@pytest.fixture(autouse=True)
def _away_from_any_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def tell(make_spec: Callable[..., SearchSpec], uri: str, tmp_path: Path) -> Tell:
    def tell(name: str, **sections: Any) -> Path:
        data = {"dataset": "eight_gaussians"}
        search = {"num_trials": 2, "sampler": "random"}
        spec = make_spec(**{"name": name, "data": data, "search": search, **sections})

        def follow(search_id: str) -> Any:
            return Tracker(spec, tmp_path / name, search_id, lambda text: None, uri)

        small_search.tell_search(spec, tmp_path / name, follow, finish=True)
        return tmp_path / name

    return tell


def requested(*argv: str | Path) -> request.SearchRequest:
    args = train.parser().parse_args([str(argument) for argument in argv])
    return train.search_request(retrain.find_origin(args.source, args.trial), args)


def test_it_stands_beside_the_search_unless_told_otherwise(tell: Tell) -> None:
    run_dir = tell("gp")
    document = requested(run_dir, "--seeds", "3").document
    assert document["results"]["runs_dir"] == str(run_dir.parent)
    assert document["name"] == "gp-00000-3-seeds"
    told = requested(run_dir, "--trial", "1", "--runs-dir", "r", "--name", "n").document
    assert (told["results"]["runs_dir"], told["name"]) == ("r", "n")
    assert told["search"]["trial_seeds"] == [snapshot.read_snapshot(run_dir).trials[1].config.seed]


def test_the_command_of_the_search_s_end_is_not_run_unless_it_is_given_again(tell: Tell) -> None:
    """The search's folder may be another person's."""
    run_dir = tell("gp", results={"on_end": ["touch", "ran"]})
    assert not requested(run_dir, "--seeds", "3").confirms_on_end
    assert requested(run_dir, "--set", "results.on_end=[echo, done]").confirms_on_end


def test_only_where_and_how_it_is_trained_may_be_set(tell: Tell) -> None:
    run_dir = tell("gp")
    found = requested(
        run_dir, "--set", "resources.cpus_per_trial=2", "--set", "training.critic_lr=1",
        "--set", "search.max_concurrent_trials=1",
    )  # fmt: skip
    assert found.document["resources"]["cpus_per_trial"] == 2
    assert found.document["search"]["max_concurrent_trials"] == 1
    assert [fault.where for fault in found.faults] == ["--set"]
    assert "got 'training.critic_lr=1'" in found.faults[0].message


@pytest.mark.parametrize(
    ("option", "value"), [("--seeds", "0"), ("--seeds", "101"), ("--generator-steps", "1e3")]
)
def test_a_wrong_number_ends_with_status_2(
    capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        train.main(["runs/gp", option, value])
    assert "must be a whole number from" in capsys.readouterr().err


def test_a_custom_network_is_imported_from_no_folder_of_the_search(tell: Tell) -> None:
    run_dir = tell("own", networks={"generator": "gone_nets:Net", "latent_dim": 3})
    found = requested(run_dir, "--allow-code", "gone_nets", "--allow-code", "others")
    assert (found.code_dir, found.allow_code) == (None, ("gone_nets", "others"))
    assert requested(run_dir).allow_code == ()


def test_an_earlier_training_is_not_written_over(
    tell: Tell, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tell("gp")
    there = run_dir.parent / "gp-00000-2-seeds"
    there.mkdir()
    (there / "spec.yaml").write_text("name: gp-00000-2-seeds")
    assert train.main([str(run_dir), "--seeds", "2"]) == ExitStatus.BAD_INPUT
    assert "already holds a search: add --resume to resume it" in capsys.readouterr().err


def test_what_it_found_is_kept_beside_what_others_found(tell: Tell, tmp_path: Path) -> None:
    again = tell("again", search={"num_trials": 2, "sampler": "random", "trial_seeds": [7, 8]})
    origin = retrain.find_origin(tell("gp"), None)
    kept = retrained_entry(origin, snapshot.read_snapshot(again))
    assert kept == {
        **{"trial_id": "00000", "name": "again", "generator_steps": 4000, "seeds": [7, 8]},
        **{"w1": [1.0, 2.0], "w1_final": [1.5, 1.5], "not_completed": 0},
    }
    path = tmp_path / "retrained.json"
    for one in ({**kept, "name": "other"}, {**kept, "w1": [9.0, 9.0]}, kept):
        add_retrained(path, one)
    assert json.loads(path.read_text()) == [{**kept, "name": "other"}, kept]
    path.write_text("{")
    with pytest.raises(BadInput, match=r"retrained\.json: 1 fault\n  is damaged"):
        add_retrained(path, kept)
