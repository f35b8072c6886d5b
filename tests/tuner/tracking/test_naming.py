"""Runs are named and given params so that what differs between the trials is what is seen."""

from collections.abc import Callable

from tuner.results.table import hyperparameters
from tuner.space.spec import SearchSpec
from tuner.study.study import Study
from tuner.tracking.naming import naming_of

MIXED = {
    "networks": {"architecture": {"choice": ["mlp", "dcgan"]}},
    "training": {
        "constraint": {"choice": ["clip", "gradient_penalty"]},
        "critic_lr": {"low": 1e-5, "high": 1e-2, "log": True},
        "generator_lr": 1e-4,
        "optimizer": "adam",
        "beta1": 0,
        "n_critic": 5,
    },
}


def children(search: SearchSpec, tmp_path):
    study, naming = Study(tmp_path / "study.log", search), naming_of(search)
    trials = [trial for _ in range(4) if (trial := study.ask()) is not None]
    for trial in trials:
        yield trial, naming.child(trial.trial_id, hyperparameters(trial))


def test_parent_and_child_have_every_value_once(
    make_spec: Callable[..., SearchSpec], tmp_path
) -> None:
    search = make_spec(**MIXED)
    parent = naming_of(search).parent()
    for trial, child in children(search, tmp_path):
        applied = hyperparameters(trial)
        assert not child.params.keys() & parent.params.keys()
        both = {**parent.params, **child.params}
        assert {key: both[key] for key in applied if key != "seed"} == {
            key: value for key, value in applied.items() if key != "seed"
        }
        assert child.tags["seed"] == str(trial.config.seed)


def test_a_child_has_what_is_searched_and_what_hangs_on_it(
    make_spec: Callable[..., SearchSpec], tmp_path
) -> None:
    for trial, child in children(make_spec(**MIXED), tmp_path):
        assert {"constraint", "architecture", "critic_lr", "latent_dim"} <= child.params.keys()
        assert not {"generator_lr", "batch_size", "seed"} & child.params.keys()
        training, networks = trial.config.training, trial.config.networks
        told = (training.constraint, networks.architecture)
        assert child.name == f"search {trial.trial_id} {told[0]} {told[1]}"
        assert (child.tags["method"], child.tags["architecture"]) == told


def test_names_are_short_where_method_and_architecture_are_the_same(
    make_spec: Callable[..., SearchSpec], tmp_path
) -> None:
    search = make_spec()
    (_, child), *_ = children(search, tmp_path)
    assert child.name == "search 00000"
    assert child.params.keys() == {"critic_lr"}
    everywhere = {
        "search": "search",
        "data": "digits",
        "objective": "independent_critic",
        "ground": "energies",
        "method": "gradient_penalty",
        "architecture": "mlp",
    }
    assert naming_of(search).parent().tags == everywhere
    assert everywhere.items() <= child.tags.items()


def test_the_method_under_a_gan_loss_is_the_loss(make_spec: Callable[..., SearchSpec]) -> None:
    search = make_spec(training={"loss": "non_saturating"})
    assert naming_of(search).parent().tags["method"] == "non_saturating"
