"""A trial's configuration as a search: the same trial, except for its steps and seed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_search
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.config import ObjectiveConfig, TrialConfig
from tuner.errors import BadInput
from tuner.retrain import origin as retrain
from tuner.retrain.origin import Origin
from tuner.space.spec import SearchSpec, read_spec, validate
from tuner.study.proposals import propose
from tuner.tracking.tracker import Tracker

MakeSpec = Callable[..., SearchSpec]
SPACES = Path(__file__).parents[3] / "search_spaces"


def origin_of(config: TrialConfig, **fields: Any) -> Origin:
    return Origin(Path("best.yaml"), "gp", config, {}, **fields)


def trials_of(origin: Origin, steps: int | None, seeds: int | None) -> list[TrialConfig]:
    search, faults = validate(retrain.search_document(origin, steps, seeds))
    assert search is not None, faults
    return [propose(search, number, [], None)[1] for number in range(search.num_trials or 0)]


def alike(config: TrialConfig) -> dict[str, Any]:
    """Return the configuration without the seed and the size of the final."""
    objective = config.objective.model_copy(update={"final_trials": 0})
    return {**dict(config), "objective": objective, "seed": None}


@pytest.mark.parametrize("name", ["mixed", "gan_vs_wgan", "architectures", "eight_gaussians"])
@settings(deadline=None, max_examples=10)
@given(number=st.integers(0, 999))
def test_it_is_the_same_trial_whatever_its_method(name: str, number: int) -> None:
    searched = read_spec(SPACES / f"{name}.yaml", ["search.sampler=random"])
    _, config = propose(searched, number, [], None)
    steps = config.max_generator_steps
    (longer,) = trials_of(origin_of(config), 3 * steps, None)
    assert alike(longer) == {**alike(config), "max_generator_steps": 3 * steps}
    assert longer.seed == config.seed
    retrained = trials_of(origin_of(config), None, 3)
    assert [alike(trial) for trial in retrained] == [alike(config)] * 3


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_fresh_seeds_differ_from_the_trials_own_and_a_larger_number_extends_them(seed: int) -> None:
    config = TrialConfig(seed=seed)
    ten = retrain.fresh_seeds(config, 10)
    assert len({*ten, seed}) == 11
    assert retrain.fresh_seeds(config, 4) == ten[:4]
    assert [trial.seed for trial in trials_of(origin_of(config), None, 4)] == ten[:4]


def test_without_a_number_of_steps_it_is_as_long_as_before_or_four_times_as_long() -> None:
    origin = origin_of(TrialConfig(max_generator_steps=600))
    assert retrain.search_document(origin, None, 5)["asha"]["max_generator_steps"] == 600
    assert retrain.search_document(origin, None, None)["asha"]["max_generator_steps"] == 2400


@pytest.mark.parametrize(("steps", "first"), [(2400, 600), (600, 150), (200, 150), (100, 50)])
def test_the_first_rung_is_where_the_search_last_scored_it(steps: int, first: int) -> None:
    origin = origin_of(
        TrialConfig(max_generator_steps=600), search_w1={150: 2.0, 600: 1.0}, ranked_at=600
    )
    asha = retrain.search_document(origin, steps, 2)["asha"]
    assert asha["grace_generator_steps"] == first


@pytest.mark.parametrize(("steps", "first"), [(2400, 150), (600, 150), (100, 50)])
def test_or_its_best_rung_if_it_got_worse_after_it(steps: int, first: int) -> None:
    scores = {150: 1.0, 300: 2.0, 600: 3.0}
    origin = origin_of(TrialConfig(max_generator_steps=600), search_w1=scores, ranked_at=150)
    asha = retrain.search_document(origin, steps, 2)["asha"]
    assert (asha["grace_generator_steps"], asha["max_generator_steps"]) == (first, steps)


def test_none_is_stopped_and_all_are_in_the_final() -> None:
    objective = ObjectiveConfig(final_seeds=5)
    config = TrialConfig(objective=objective)
    search, _ = validate(retrain.search_document(origin_of(config), None, 7))
    assert search is not None
    assert search.asha.rungs == (2000, 4000)
    assert (search.asha.reduction_factor, search.objective.final_trials) == (1, 7)
    assert search.objective.final_seeds == 1  # each of them is one seed


def test_the_name_says_what_it_is_and_fits() -> None:
    origin = origin_of(TrialConfig(max_generator_steps=600), trial_id="00014")
    names = [
        retrain.search_document(origin, steps, seeds)["name"]
        for steps, seeds in ((None, 5), (300, 5), (None, None))
    ]
    assert names == ["gp-00014-5-seeds", "gp-00014-5-seeds-300-steps", "gp-00014-longer-2400-steps"]
    long = retrain.search_document(replace(origin, name="n" * 100), None, 5)
    assert len(long["name"]) == 100
    assert validate(long)[1] == []


@pytest.fixture
def run_dir(make_spec: MakeSpec, uri: str, tmp_path: Path) -> Path:
    search = make_spec(
        search={"num_trials": 2, "sampler": "random", "max_concurrent_trials": 1},
        resources={"retries_per_trial": 7},
    )

    def follow(search_id: str) -> Any:
        return Tracker(search, tmp_path / "search", search_id, lambda text: None, uri)

    small_search.tell_search(search, tmp_path / "search", follow, finish=False)
    return tmp_path / "search"


def test_a_search_gives_its_best_and_how_it_was_trained(run_dir: Path) -> None:
    origin = retrain.find_origin(run_dir, None)
    assert (origin.trial_id, origin.search_w1) == ("00000", {250: 1.0, 1000: 1.0, 4000: 1.0})
    document = retrain.search_document(origin, None, 2)
    assert document["resources"]["retries_per_trial"] == 7
    assert document["search"]["max_concurrent_trials"] == 1
    assert retrain.find_origin(run_dir, "1").trial_id == "00001"


def test_a_best_yaml_alone_is_enough_and_in_its_folder_stands_for_the_search(
    run_dir: Path, tmp_path: Path
) -> None:
    config = retrain.find_origin(run_dir, None).config
    text = "# trial 00000: w1 1\n" + yaml.safe_dump(config.applied())
    (run_dir / "best.yaml").write_text(text)
    assert retrain.find_origin(run_dir / "best.yaml", None).run_dir == run_dir
    copied = tmp_path / "copied.yaml"
    copied.write_text(text)
    alone = retrain.find_origin(copied, None)
    assert (alone.config, alone.name, alone.trial_id) == (config, "copied", "00000")
    assert alone.run_dir is None
    with pytest.raises(BadInput, match="--trial: needs a search's folder"):
        retrain.find_origin(copied, "1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: gp", "name: no such key"),
        ("seed: 0", "has no data, networks, training: give a search's folder, or its best.yaml"),
        ("networks: {latent_dim: x}", "networks.latent_dim: must be a whole number, got 'x'"),
        ("training: {constraint: gradient_penalty}\nnetworks: {architecture: dcgan, "
         "critic_norm: batch}", "training: critic_norm must"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_best_yaml_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "best.yaml").write_text(content)
    with pytest.raises(BadInput, match=message):
        retrain.find_origin(tmp_path / "best.yaml", None)


def test_a_search_with_nothing_completed_is_refused(make_spec: MakeSpec, tmp_path: Path) -> None:
    from tuner.study.study import Study

    search = make_spec()
    (tmp_path / "spec.yaml").write_text(search.to_yaml())
    Study(tmp_path / "study.log", search)
    with pytest.raises(BadInput, match="has no completed trial yet: choose one with --trial"):
        retrain.find_origin(tmp_path, None)
    with pytest.raises(BadInput, match="has no trial '3': it has no trials yet"):
        retrain.find_origin(tmp_path, "3")
    with pytest.raises(BadInput, match="does not exist: give a search"):
        retrain.find_origin(tmp_path / "nowhere", None)
