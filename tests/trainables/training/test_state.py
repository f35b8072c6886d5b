"""A trial's state: it follows from the seed, and a resumed trial is bitwise equal."""

import io
from pathlib import Path

import pytest
import torch
from small_trials import (
    GANS,
    METHODS,
    REAL,
    SMALL,
    create,
    identical,
    numbers,
    random_trial,
    run,
    trial,
    weights_of,
)

from trainables.config import TrialConfig
from trainables.training.loop import train
from trainables.training.state import TrainState


@pytest.mark.parametrize(
    ("training", "kind", "settings"),
    [
        ({"beta1": 0.3, "beta2": 0.7}, torch.optim.Adam, {"betas": (0.3, 0.7)}),
        ({"constraint": "clip"}, torch.optim.RMSprop, {"alpha": 0.99}),
        (
            {"optimizer": "adamw", "beta1": 0.3, "beta2": 0.7, "weight_decay": 0.2},
            torch.optim.AdamW,
            {"betas": (0.3, 0.7), "weight_decay": 0.2},
        ),
    ],
)
def test_each_optimiser_gets_its_own_settings(training, kind, settings) -> None:
    state = create(TrialConfig(networks=SMALL, training=training))
    for optimizer in (state.critic_optimizer, state.generator_optimizer):
        assert type(optimizer).__base__ is kind
        assert settings.items() <= optimizer.defaults.items()


def test_weight_decay_shrinks_each_weight_by_its_share() -> None:
    """AdamW: w (1 - lr * decay) (Loshchilov & Hutter 2019), where there is no gradient."""
    config = trial(optimizer="adamw", weight_decay=0.5, critic_lr=0.1)
    state = create(config)
    before = weights_of(state.critic)
    for parameter in state.critic.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state.critic_optimizer.step()
    torch.testing.assert_close(weights_of(state.critic), before * (1 - 0.1 * 0.5))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "adamw"])
def test_a_resumed_trial_equals_an_unbroken_one_bit_for_bit(method, optimizer, tmp_path) -> None:
    noise = {"instance_noise": 0.1} if method in GANS else {}  # it draws from the RNG too
    config = trial(method, optimizer=optimizer, **noise)
    unbroken = create(config)
    expected = run(config, [3, 5, 8], unbroken)

    stopped = create(config)
    first = next(train(stopped, config.training, REAL, [3, 5, 8]))
    stopped.scoring_seconds = 2.5
    resumed = round_trip(stopped, config, tmp_path / "checkpoint.pt")
    assert resumed.scoring_seconds == 2.5
    assert resumed.training_seconds == first.training_seconds
    resumed.scoring_seconds = 0.0
    measured = [first, *run(config, [3, 5, 8], resumed)]

    assert [numbers(m) for m in measured] == [numbers(m) for m in expected]
    assert identical(resumed, unbroken)


def round_trip(state: TrainState, config: TrialConfig, path: Path) -> TrainState:
    """Save to a file and load it into a state that has already trained."""
    torch.save(state.state_dict(), path)
    resumed = create(config)
    run(config, [2], resumed)
    resumed.load_state_dict(torch.load(path, weights_only=True))
    return resumed


def test_further_training_changes_neither_a_snapshot_nor_a_state_loaded_from_it() -> None:
    config = trial()
    state, twin = create(config), create(config)
    run(config, [2], state)
    snapshot = state.state_dict()
    buffer = io.BytesIO()
    torch.save(snapshot, buffer)
    twin.load_state_dict(snapshot)
    run(config, [4], twin)
    run(config, [6], state)
    buffer.seek(0)
    assert identical(snapshot, torch.load(buffer, weights_only=True))
    run(config, [6], twin)
    assert identical(state, twin)


def test_loading_a_trial_of_another_architecture_is_refused() -> None:
    other = TrialConfig(networks=SMALL | {"generator_width": 9})
    with pytest.raises(RuntimeError, match="size mismatch"):
        create(trial()).load_state_dict(create(other).state_dict())


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(method) -> None:
    first, again, other = (run(trial(method, seed=seed), [2, 4]) for seed in (7, 7, 8))
    assert [numbers(m) for m in first] == [numbers(m) for m in again]
    for mine, others in zip(first, other, strict=True):
        assert mine.generator_loss != others.generator_loss


def resumed_and_unbroken(config: TrialConfig, checkpoint: Path) -> tuple[TrainState, TrainState]:
    """Train for 8 steps, once in two parts with a checkpoint between them, once in one."""
    unbroken, stopped = create(config), create(config)
    run(config, [8], unbroken)
    run(config, [3], stopped)
    resumed = round_trip(stopped, config, checkpoint)
    run(config, [8], resumed)
    return resumed, unbroken


OPTIONS = [
    {"critic_dropout": 0.5, "consistency_weight": 2.0},
    {"historical_averaging_weight": 2.0},
    {"feature_matching_weight": 2.0},
    {"lr_decay": "linear"},
    {"ema_decay": 0.9},
    {"precision": "bfloat16"},
    {"lr_decay": "linear", "ema_decay": 0.5, "optimizer": "adamw", "precision": "bfloat16"},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("method", ["clip", "gradient_penalty", "spectral_norm"])
def test_a_resumed_trial_with_options_equals_an_unbroken_one(method, options, tmp_path) -> None:
    """The learning rates too: they follow from how far the trial has come."""
    if method == "spectral_norm" and "critic_dropout" in options:
        method = "relativistic"
    config = trial(method, **options).model_copy(update={"max_generator_steps": 8})
    assert identical(*resumed_and_unbroken(config, tmp_path / "checkpoint.pt"))


def test_an_averaged_generators_buffers_are_copies_of_the_generators() -> None:
    """Running statistics are not averaged twice."""
    networks = {"architecture": "dcgan", "generator_width": 4, "critic_width": 4, "latent_dim": 3}
    config = TrialConfig(
        networks=networks, training={"ema_decay": 0.9, "n_critic": 2, "batch_size": 4}
    )
    state = TrainState.create(config, (1, 8, 8))
    real = torch.linspace(-1, 1, 20 * 64).view(20, 1, 8, 8)
    list(train(state, config.training, real, [3]))
    buffers, averaged = (dict(net.named_buffers()) for net in (state.generator, state.scored))
    assert buffers.keys() == averaged.keys()
    assert len(buffers) > 0
    assert all(torch.equal(buffers[name], averaged[name]) for name in buffers)


def test_loading_an_average_that_was_not_saved_is_refused() -> None:
    with pytest.raises(KeyError, match="averaged"):
        create(trial(ema_decay=0.9)).load_state_dict(create(trial()).state_dict())


def test_the_initial_generator_does_not_depend_on_the_critic() -> None:
    """So a search over critics compares trials with common random numbers."""
    wide = TrialConfig(networks=SMALL | {"critic_width": 32, "critic_depth": 4})
    generators = [weights_of(create(config).generator) for config in (trial(), wide)]
    assert torch.equal(*generators)


@pytest.mark.parametrize("method", METHODS)
def test_the_global_rng_is_neither_used_nor_changed(method) -> None:
    config = trial(method)
    with torch.random.fork_rng():
        states = []
        for global_seed in (1, 2):
            torch.manual_seed(global_seed)
            before = torch.get_rng_state()
            state = create(config)
            run(config, [3], state)
            assert torch.equal(torch.get_rng_state(), before)
            states.append(state)
    assert identical(*states)


def in_another_process(seed: int, config: TrialConfig, report_at: list[int]) -> TrainState:
    """Train where the global generator has another state."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        state = create(config)
        run(config, report_at, state)
        assert torch.equal(torch.get_rng_state(), before)
    return state


def test_networks_that_draw_random_numbers_give_the_same_ones_in_every_process() -> None:
    config = random_trial()
    assert identical(*(in_another_process(seed, config, [4]) for seed in (1, 2)))


def test_where_the_reports_are_changes_nothing_in_networks_that_draw_random_numbers() -> None:
    config = random_trial()
    assert identical(in_another_process(1, config, [6]), in_another_process(1, config, [1, 2, 6]))


def test_two_steps_of_networks_that_draw_random_numbers_do_not_draw_the_same() -> None:
    """The states advance: with the same mask at every step dropout would train half a network."""
    config = random_trial()
    states = [create(config) for _ in range(2)]
    run(config, [1], states[0])
    run(config, [2], states[1])
    first, second = (state.state_dict()["global_rng"]["cpu"] for state in states)
    assert not torch.equal(first, second)


def test_a_resumed_trial_whose_networks_draw_random_numbers_equals_an_unbroken_one(
    tmp_path,
) -> None:
    assert identical(*resumed_and_unbroken(random_trial(), tmp_path / "checkpoint.pt"))


def test_a_checkpoint_without_the_global_generators_still_loads() -> None:
    config = trial()
    stopped, resumed, unbroken = create(config), create(config), create(config)
    run(config, [3], stopped)
    saved = stopped.state_dict()
    del saved["global_rng"]
    resumed.load_state_dict(saved)
    for state in (resumed, unbroken):
        run(config, [8], state)
    assert identical(resumed, unbroken)
