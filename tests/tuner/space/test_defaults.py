"""The training section resolved: published defaults, and what cannot apply."""

from collections.abc import Callable

import pytest
from unpublished import OFF

from trainables.config import TrainingConfig
from tuner.errors import Fault
from tuner.space.domains import Choice, Range
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]
FaultsOf = Callable[..., list[Fault]]
PENALTIES = ("gradient_penalty", "one_sided_penalty")
GANS = ("minimax", "non_saturating")

# --- What the papers publish -------------------------------------------------------------------


@pytest.mark.parametrize("constraint", PENALTIES)
def test_a_penalty_gets_the_values_of_gulrajani_2017_algorithm_1(
    make_spec: MakeSpec, constraint: str
):
    training = make_spec(training={"constraint": constraint}).training
    assert (
        training.model_dump(exclude_none=True)
        == {
            "loss": "wasserstein",
            "constraint": constraint,
            "gp_weight": 10.0,
            "n_critic": 5,
            "batch_size": 64,
            "optimizer": "adam",
            "critic_lr": 1e-4,
            "generator_lr": 1e-4,
            "beta1": 0.0,
            "beta2": 0.9,
        }
        | OFF
    )


def test_clipping_gets_the_values_of_arjovsky_2017_algorithm_1(make_spec: MakeSpec):
    training = make_spec(training={"constraint": "clip"}).training
    assert (
        training.model_dump(exclude_none=True)
        == {
            "loss": "wasserstein",
            "constraint": "clip",
            "clip_value": 0.01,
            "n_critic": 5,
            "batch_size": 64,
            "optimizer": "rmsprop",
            "critic_lr": 5e-5,
            "generator_lr": 5e-5,
        }
        | OFF
    )


@pytest.mark.parametrize("loss", GANS)
def test_a_gan_gets_goodfellow_2014_algorithm_1_and_the_adam_of_radford_2016(
    make_spec: MakeSpec, loss: str
):
    training = make_spec(training={"loss": loss}).training
    assert (
        training.model_dump(exclude_none=True)
        == {
            "loss": loss,
            "label_smoothing": 0.0,
            "instance_noise": 0.0,
            "r1_weight": 0.0,
            "r2_weight": 0.0,
            "n_critic": 1,
            "batch_size": 64,
            "optimizer": "adam",
            "critic_lr": 2e-4,
            "generator_lr": 2e-4,
            "beta1": 0.5,
            "beta2": 0.999,
        }
        | OFF
    )


def test_without_a_loss_and_a_constraint_it_is_wgan_gp(make_spec: MakeSpec):
    wgan_gp = {"loss": "wasserstein", "constraint": "gradient_penalty"}
    for given in ({}, {"loss": "wasserstein"}, {"constraint": "gradient_penalty"}):
        assert make_spec(training=given) == make_spec(training=wgan_gp)


@pytest.mark.parametrize("given", [{"loss": loss} for loss in GANS] + [{"constraint": "clip"}, {}])
def test_a_search_of_one_method_resolves_as_a_trial_of_it_does(make_spec: MakeSpec, given: dict):
    resolved = make_spec(training=given).training.model_dump()
    assert resolved == TrainingConfig.model_validate(given).model_dump()


def test_what_is_given_wins_over_what_is_published(make_spec: MakeSpec):
    training = make_spec(
        training={"constraint": "clip", "optimizer": "adam", "critic_lr": 1, "beta1": 0.5}
    ).training
    assert (training.optimizer, training.critic_lr, training.generator_lr) == ("adam", 1.0, 5e-5)
    assert (training.beta1, training.beta2) == (0.5, 0.9)


def test_a_searched_optimizer_gets_adams_values_where_adam_is_drawn(make_spec: MakeSpec):
    search = make_spec(training={"optimizer": {"choice": ["rmsprop", "adam"]}})
    assert (search.training.beta1, search.training.beta2) == (0.0, 0.9)
    rmsprop, adam = (search.choose(lambda _, domain, i=i: domain.choice[i]) for i in (0, 1))
    assert rmsprop["training"].keys() & {"beta1", "beta2"} == set()
    assert (adam["training"]["beta1"], adam["training"]["beta2"]) == (0.0, 0.9)


# --- Keys without a single default ----------------------------------------------------------------


def test_a_searched_constraint_asks_for_every_value_that_it_decides(faults_of: FaultsOf):
    both = {"choice": ["clip", "gradient_penalty"]}
    rule = "has no single default while constraint is searched"
    assert faults_of(training={"constraint": both, "beta1": 0.5}) == [
        Fault(
            "training.optimizer",
            f"{rule} (rmsprop under clip, adam under gradient_penalty): give a value",
        ),
        Fault(
            "training.critic_lr",
            f"{rule} (5e-05 under clip, 0.0001 under gradient_penalty): give a value",
        ),
        Fault(
            "training.generator_lr",
            f"{rule} (5e-05 under clip, 0.0001 under gradient_penalty): give a value",
        ),
    ]
    given = {"optimizer": "adam", "critic_lr": 1e-4, "generator_lr": 1e-4}
    assert faults_of(training={"constraint": both, **given}) == []


def test_searched_constraints_of_one_paper_have_one_default(make_spec: MakeSpec):
    training = make_spec(training={"constraint": {"choice": list(PENALTIES)}}).training
    assert (training.optimizer, training.critic_lr) == ("adam", 1e-4)


def test_so_have_searched_losses_of_one_paper(make_spec: MakeSpec):
    training = make_spec(training={"loss": {"choice": list(GANS)}}).training
    assert (training.n_critic, training.critic_lr, training.beta1) == (1, 2e-4, 0.5)
    assert training.constraint is training.gp_weight is None


def test_a_gan_searched_beside_a_wgan_asks_for_every_value_that_they_publish_apart(
    faults_of: FaultsOf, make_spec: MakeSpec
):
    both = {"choice": ["wasserstein", "minimax"]}
    rule = "has no single default while loss is searched"
    faults = faults_of(training={"loss": both})
    assert faults[0] == Fault(
        "training.n_critic", f"{rule} (5 under gradient_penalty, 1 under minimax): give a value"
    )
    apart = {"n_critic": 2, "critic_lr": 1e-4, "generator_lr": 1e-4, "beta1": 0.5, "beta2": 0.9}
    assert [fault.where for fault in faults] == [f"training.{key}" for key in apart]
    training = make_spec(training={"loss": both, **apart}).training
    assert (training.constraint, training.gp_weight) == ("gradient_penalty", 10.0)
    assert (training.clip_value, training.instance_noise) == (None, 0.0)


def test_adams_values_are_not_asked_for_where_adam_is_not_used(faults_of: FaultsOf):
    """Nor while the optimizer itself has still to be given."""
    both = {"loss": {"choice": ["wasserstein", "minimax"]}, "constraint": "clip"}
    where = ["training.n_critic", "training.critic_lr", "training.generator_lr"]
    faults = faults_of(training={**both, "optimizer": "rmsprop"})
    assert [fault.where for fault in faults] == where
    faults = faults_of(training=both)
    assert [fault.where for fault in faults] == [where[0], "training.optimizer", *where[1:]]


def test_a_searched_loss_and_a_searched_constraint_are_both_named(faults_of: FaultsOf):
    training = {
        "loss": {"choice": ["wasserstein", "minimax"]},
        "constraint": {"choice": ["clip", "gradient_penalty"]},
    }
    assert faults_of(training=training)[0].message == (
        "has no single default while loss and constraint are searched (5 under clip, 5 under "
        "gradient_penalty, 1 under minimax): give a value"
    )


# --- What is asked for ----------------------------------------------------------------------------


def test_only_what_applies_to_the_loss_drawn_is_asked_for(make_spec: MakeSpec):
    search = make_spec(
        training={
            "loss": {"choice": ["wasserstein", "minimax"]},
            "constraint": {"choice": ["clip", "gradient_penalty"]},
            "clip_value": {"low": 0.01, "high": 1},
            "gp_weight": {"low": 1, "high": 10},
            "instance_noise": {"low": 0, "high": 1},
            "optimizer": "rmsprop",
            **{"n_critic": 1, "critic_lr": 1e-4, "generator_lr": 1e-4},
        }
    )

    def asked(*answers: str) -> list[str]:
        keys, left = [], list(answers)

        def pick(key: str, domain: Range | Choice) -> object:
            keys.append(key.removeprefix("training."))
            return left.pop(0) if isinstance(domain, Choice) else domain.low

        search.trial_config(search.choose(pick), seed=0)
        return keys

    assert asked("wasserstein", "clip") == ["loss", "constraint", "clip_value"]
    assert asked("wasserstein", "gradient_penalty") == ["loss", "constraint", "gp_weight"]
    assert asked("minimax") == ["loss", "instance_noise"]


# --- What cannot apply ----------------------------------------------------------------------------

NO_EFFECT = [
    (
        {"clip_value": 0.01},
        "clip_value",
        "has no effect when constraint is gradient_penalty: leave clip_value out, or set "
        "constraint to clip",
    ),
    (
        {"constraint": "clip", "gp_weight": {"low": 1, "high": 10}},
        "gp_weight",
        "has no effect when constraint is clip: leave gp_weight out, or set constraint to "
        "gradient_penalty or one_sided_penalty",
    ),
    (
        {"constraint": "clip", "beta1": 0.5},
        "beta1",
        "has no effect when optimizer is rmsprop: leave beta1 out, or set optimizer to adam or "
        "adamw",
    ),
    (
        {"loss": "minimax", "constraint": "gradient_penalty"},
        "constraint",
        "has no effect when loss is minimax: leave constraint out, or set loss to wasserstein",
    ),
    (
        {"loss": {"choice": list(GANS)}, "constraint": {"choice": ["clip"]}},
        "constraint",
        "has no effect when loss is minimax or non_saturating: leave constraint out, or set loss "
        "to wasserstein",
    ),
    (
        {"loss": "minimax", "clip_value": 0.01},
        "clip_value",
        "has no effect when loss is minimax: leave clip_value out, or set loss to wasserstein and "
        "constraint to clip",
    ),
    (
        {"instance_noise": 0.1},
        "instance_noise",
        "has no effect when loss is wasserstein: leave instance_noise out, or set loss to minimax "
        "or non_saturating or relativistic or f_gan",
    ),
]


@pytest.mark.parametrize(("training", "where", "what"), NO_EFFECT)
def test_what_cannot_apply_is_refused_with_the_way_out(
    faults_of: FaultsOf, training: dict, where: str, what: str
):
    assert faults_of(training=training) == [Fault(f"training.{where}", what)]


def test_nothing_is_concluded_from_a_value_that_is_itself_at_fault(faults_of: FaultsOf):
    """``clip_value`` may well be right: it is the constraint that is misspelt."""
    (fault,) = faults_of(training={"constraint": "clipp", "clip_value": 0.02})
    assert fault.where == "training.constraint"
    (fault,) = faults_of(training={"constraint": "clip", "optimizer": "adm", "beta1": 0.5})
    assert fault.where == "training.optimizer"
    for given in ({"constraint": "clip", "clip_value": 0.1}, {"instance_noise": 0.1}):
        (fault,) = faults_of(training={"loss": "minmax", **given})
        assert fault.where == "training.loss"
        assert fault.message.endswith("did you mean minimax?")


def test_a_broken_section_still_tells_what_does_not_apply(faults_of: FaultsOf):
    faults = faults_of(training={"n_critic": 0, "clip_value": 0.02})
    assert [fault.where for fault in faults] == ["training.n_critic", "training.clip_value"]
