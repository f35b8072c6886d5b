import io
import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from trainables.config import Constraint, TrialConfig
from trainables.training import (
    EXPLODED_SAMPLE,
    Measurement,
    TrainState,
    critic_step,
    generator_step,
    train,
)

CONSTRAINTS = get_args(Constraint)
SMALL = {"latent_dim": 3, "generator_width": 8, "critic_width": 8}
REAL = torch.linspace(-1, 1, 40).view(20, 2)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """On a busy machine, threads that wait for each other make networks this small 100x slower."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def trial(constraint: str = "gradient_penalty", *, seed: int = 0, **training) -> TrialConfig:
    training = {"constraint": constraint, "n_critic": 2, "batch_size": 4} | training
    return TrialConfig(networks=SMALL, training=training, seed=seed)


def create(config: TrialConfig) -> TrainState:
    return TrainState.create(config, (2,), "cpu")


def run(config: TrialConfig, report_at, state: TrainState | None = None) -> list[Measurement]:
    return list(train(state or create(config), config.training, REAL, report_at))


def numbers(measurement: Measurement) -> dict[str, float]:
    """What a measurement says apart from how long it took."""
    timings = ("generator_steps_per_s", "training_seconds", "training_cpu_seconds")
    return {key: x for key, x in measurement.as_floats().items() if key not in timings}


def tensors(saved) -> list:
    """Every leaf of a state dict but the clock, in order."""
    if isinstance(saved, dict):
        kept = [key for key in saved if not str(key).endswith("seconds")]
        return [leaf for key in kept for leaf in tensors(saved[key])]
    if isinstance(saved, (list, tuple)):
        return [leaf for item in saved for leaf in tensors(item)]
    return [saved]


def identical(one: TrainState | dict, other: TrainState | dict) -> bool:
    pair = [tensors(x.state_dict() if isinstance(x, TrainState) else x) for x in (one, other)]
    return len(pair[0]) == len(pair[1]) and all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(*pair, strict=True)
    )


def weights_of(network: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(network.parameters()).detach().clone()


class Point(nn.Module):
    """G(z) = place, whatever z: a generator of one parameter."""

    def __init__(self, place: float) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor(place))

    def forward(self, latents: Tensor) -> Tensor:
        return self.place * torch.ones(len(latents), 1)


class Slope(nn.Module):
    """f(x) = slope * x: a critic of one parameter."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, samples: Tensor) -> Tensor:
        return self.slope * samples[:, 0]


def by_hand(
    place: float, slope: float, *, lr: float = 0.1, optimizer: type = torch.optim.SGD
) -> TrainState:
    generator, critic = Point(place), Slope(slope)
    optimizers = [optimizer(player.parameters(), lr) for player in (generator, critic)]
    return TrainState(generator, critic, *optimizers, torch.Generator().manual_seed(0), 1)


# --- one step of each player, worked by hand: real at 2, fake at 0, so the estimate is 2 * slope


@pytest.mark.parametrize(
    ("constraint", "slope", "loss", "gradient"),
    [
        # loss = -2 k + 10 (k - 1)^2, derivative -2 + 20 (k - 1)
        ("gradient_penalty", 0.5, -1 + 2.5, -12),
        ("gradient_penalty", 1.5, -3 + 2.5, 8),
        # the one-sided penalty lets a slope below 1 grow freely
        ("one_sided_penalty", 0.5, -1, -2),
        ("one_sided_penalty", 1.5, -3 + 2.5, 8),
        ("clip", 0.5, -1, -2),
    ],
)
def test_critic_step_worked_by_hand(constraint, slope, loss, gradient) -> None:
    state = by_hand(place=0.0, slope=slope)
    config = trial(constraint, **({"clip_value": 5} if constraint == "clip" else {})).training
    estimate, critic_loss = critic_step(state, config, torch.full((4, 1), 2.0), torch.zeros(4, 1))
    assert estimate.item() == pytest.approx(2 * slope)
    assert critic_loss.item() == pytest.approx(loss, abs=1e-5)
    assert state.critic.slope.item() == pytest.approx(slope - 0.1 * gradient, abs=1e-5)


def test_generator_step_moves_the_samples_up_the_critic() -> None:
    """loss = -slope * place, so the place gains lr * slope; the batch is from before the step."""
    state = by_hand(place=0.25, slope=3.0)
    loss, samples = generator_step(state, 4)
    assert loss.item() == pytest.approx(-0.75)
    assert samples.tolist() == [[0.25]] * 4
    assert state.generator.place.item() == pytest.approx(0.25 + 0.1 * 3)
    assert state.generator_steps == 1


def test_clipping_follows_the_step_so_that_it_bounds_what_the_generator_sees() -> None:
    """0.3 + 0.1 * 2 = 0.5 leaves the box of 0.4; clamped before the step it would stay outside."""
    state = by_hand(place=0.0, slope=0.3)
    config = trial("clip", clip_value=0.4).training
    critic_step(state, config, torch.full((4, 1), 2.0), torch.zeros(4, 1))
    assert state.critic.slope.item() == pytest.approx(0.4)


def test_an_iteration_of_algorithm_1_worked_by_hand_with_rmsprop() -> None:
    """RMSprop's first step is lr * g / sqrt(0.01 g^2) = 10 lr whatever g; the next ones follow v.

    Real at 2, fake at 0: each critic gradient is -2, so v_n = 4 (1 - 0.99^n), and step n moves
    lr / sqrt(1 - 0.99^n). After n_critic = 2 of them the generator takes its own first step.
    """
    lr = 1e-3
    state = by_hand(place=0.0, slope=0.5, lr=lr, optimizer=torch.optim.RMSprop)
    config = trial("clip", clip_value=5, n_critic=2).training
    (measured,) = train(state, config, torch.full((5, 1), 2.0), [1])
    after_one = 0.5 + 10 * lr
    after_two = after_one + lr / math.sqrt(1 - 0.99**2)
    assert measured.critic_estimate == pytest.approx(2 * after_one, rel=1e-5)
    assert measured.critic_loss == pytest.approx(-2 * after_one, rel=1e-5)
    assert measured.critic_gradient_norm == pytest.approx(after_two, rel=1e-5)
    assert measured.generator_loss == 0
    assert state.critic.slope.item() == pytest.approx(after_two, rel=1e-5)
    assert state.generator.place.item() == pytest.approx(10 * lr, rel=1e-5)


# --- each player


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_a_step_changes_the_weights_of_its_own_player_alone(constraint) -> None:
    config = trial(constraint)
    state = create(config)
    generator, critic = weights_of(state.generator), weights_of(state.critic)
    critic_step(state, config.training, REAL[:4], state.sample(4))
    assert torch.equal(weights_of(state.generator), generator)
    assert not torch.equal(weights_of(state.critic), critic)
    critic = weights_of(state.critic)
    generator_step(state, 4)
    assert not torch.equal(weights_of(state.generator), generator)
    assert torch.equal(weights_of(state.critic), critic)


def test_each_player_has_its_own_learning_rate() -> None:
    """Adam's first step moves a weight by lr times the sign of its gradient, so by lr at most."""
    config = trial(critic_lr=1e-3, generator_lr=1e-2)
    state = create(config)
    generator, critic = weights_of(state.generator), weights_of(state.critic)
    critic_step(state, config.training, REAL[:4], state.sample(4).detach())
    generator_step(state, 4)
    moved = (weights_of(state.critic) - critic).abs().max().item()
    assert moved == pytest.approx(1e-3, rel=0.01)
    moved = (weights_of(state.generator) - generator).abs().max().item()
    assert moved == pytest.approx(1e-2, rel=0.01)


def test_adam_gets_the_configured_betas_and_clipping_rmsprop() -> None:
    for optimizer in (
        (state := create(trial(beta1=0.3, beta2=0.7))).critic_optimizer,
        state.generator_optimizer,
    ):
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["betas"] == (0.3, 0.7)
    assert isinstance(create(trial("clip")).critic_optimizer, torch.optim.RMSprop)


def test_no_weight_leaves_the_box_whatever_the_learning_rate() -> None:
    config = trial("clip", clip_value=0.05, critic_lr=10.0)
    state = create(config)
    run(config, [3], state)
    assert weights_of(state.critic).abs().max().item() == pytest.approx(0.05)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_training_brings_the_generated_mean_nearer_to_the_real_one(constraint) -> None:
    """A flipped sign in either player drives it away instead (0.03 to 0.44 of it over 8 seeds)."""
    lr = {"critic_lr": 1e-2, "generator_lr": 2e-3}
    clip = {"clip_value": 0.5, "optimizer": "rmsprop"} if constraint == "clip" else {}
    config = trial(constraint, n_critic=5, batch_size=16, **lr, **clip)
    state = create(config)
    real = torch.tensor([1.5, -1.0]) + 0.1 * torch.randn(200, 2, generator=state.rng)

    def distance() -> float:
        with torch.no_grad():
            return (state.sample(500).mean(0) - real.mean(0)).norm().item()

    before = distance()
    list(train(state, config.training, real, [100]))
    assert distance() < 0.7 * before


# --- reports


@pytest.mark.parametrize(
    ("report_at", "reported"),
    [
        ([1, 3, 7], [1, 3, 7]),
        ([7, 3, 3, -1, 0, 1], [1, 3, 7]),
        (range(2, 7, 2), [2, 4, 6]),
        ([], []),
    ],
)
def test_reports_come_at_exactly_the_steps_asked_for(report_at, reported) -> None:
    config = trial()
    state = create(config)
    steps = [m.generator_steps for m in train(state, config.training, REAL, report_at)]
    assert steps == reported
    assert state.generator_steps == max(reported, default=0)


def test_steps_already_trained_are_not_reported_again() -> None:
    config = trial()
    state = create(config)
    run(config, [3], state)
    assert [m.generator_steps for m in run(config, [1, 3, 5], state)] == [5]


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_where_the_reports_are_changes_nothing_in_the_training(constraint) -> None:
    config = trial(constraint)
    often, once = create(config), create(config)
    run(config, range(1, 7), often)
    run(config, [6], once)
    assert identical(often, once)


def test_a_measurement_is_the_mean_over_the_generator_steps_since_the_last_one() -> None:
    config = trial()
    each, (_, last) = run(config, [1, 2, 3, 4, 5]), run(config, [2, 5])
    for name in ("critic_estimate", "critic_loss", "generator_loss"):
        mean = sum(getattr(m, name) for m in each[2:]) / 3
        assert getattr(last, name) == pytest.approx(mean, rel=1e-4)
    assert last.critic_gradient_norm == each[-1].critic_gradient_norm


def test_time_spent_at_a_yield_or_between_runs_is_not_training_time(monkeypatch) -> None:
    """On a clock that ticks 1 s a reading, an interval costs 1 s, however long the caller takes."""
    clock = itertools.count()
    cpu = itertools.count(step=10)
    fake_time = SimpleNamespace(
        perf_counter=lambda: float(next(clock)), thread_time=lambda: float(next(cpu))
    )
    monkeypatch.setattr("trainables.training.time", fake_time)
    config = trial()
    state = create(config)
    measured = []
    for measurement in train(state, config.training, REAL, [2, 5]):
        measured.append(measurement)
        list(itertools.islice(clock, 1000))
    resumed = create(config)
    resumed.load_state_dict(state.state_dict())
    measured += run(config, [9], resumed)
    assert [m.training_seconds for m in measured] == [1, 2, 3]
    assert [m.training_cpu_seconds for m in measured] == [10, 20, 30]
    assert [m.generator_steps_per_s for m in measured] == [2, 3, 4]


def test_as_floats_has_every_field_as_a_plain_float() -> None:
    floats = Measurement(3, 0.5, 0.25, -1.0, 1.5, 20.0, 0.15, 0.1, True).as_floats()
    assert all(type(value) is float for value in floats.values())
    assert floats == {
        "generator_steps": 3.0,
        "critic_estimate": 0.5,
        "critic_loss": 0.25,
        "generator_loss": -1.0,
        "critic_gradient_norm": 1.5,
        "generator_steps_per_s": 20.0,
        "training_seconds": 0.15,
        "training_cpu_seconds": 0.1,
        "diverged": 1.0,
    }


# --- divergence


@pytest.mark.parametrize(
    ("place", "diverged"),
    [(-100.0, False), (0.9 * EXPLODED_SAMPLE, False), (-2 * EXPLODED_SAMPLE, True)],
)
def test_only_a_generator_beyond_the_limit_has_exploded(place, diverged) -> None:
    """At -100 the trial is bad, with a W1 of 100, and yet worth a number."""
    config = trial("clip").training
    state = by_hand(place=place, slope=0.01, lr=1e-12)
    (measured,) = train(state, config, torch.zeros(5, 1), [2])
    assert measured.diverged == diverged
    assert measured.critic_estimate == pytest.approx(-0.01 * place, rel=0.1)


@pytest.mark.parametrize("player", ["generator_lr", "critic_lr"])
def test_training_ends_at_the_report_that_finds_it_diverged(player) -> None:
    measured = run(trial(**{player: 1e30}), [2, 4, 6])
    assert [m.generator_steps for m in measured] == [2]
    assert measured[0].diverged
    assert not math.isfinite(measured[0].critic_loss)


@pytest.mark.parametrize("player", ["generator", "critic"])
def test_weights_lost_in_the_very_last_step_count_as_diverged(player) -> None:
    """All losses are from before the step that breaks the weights, hence finite."""
    config = trial("clip").training
    state = by_hand(place=0.0, slope=0.005, lr=1e-6)
    unused = torch.nn.Parameter(torch.tensor(math.nan))
    getattr(state, player).register_parameter("unused", unused)
    state_losses = next(train(state, config, torch.ones(5, 1), [1]))
    assert math.isfinite(state_losses.critic_loss + state_losses.generator_loss)
    assert state_losses.diverged


# --- saving, seeds, and the global RNG


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_resumed_trial_equals_an_unbroken_one_bit_for_bit(
    constraint, optimizer, tmp_path
) -> None:
    config = trial(constraint, optimizer=optimizer)
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
    """Save to a file and load it into a new state whose own numbers have all moved on."""
    torch.save(state.state_dict(), path)
    resumed = create(config)
    run(config, [2], resumed)
    resumed.load_state_dict(torch.load(path, weights_only=True))
    return resumed


def test_a_snapshot_and_a_state_loaded_from_it_stand_apart_from_further_training() -> None:
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


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(constraint) -> None:
    first, again, other = (run(trial(constraint, seed=seed), [2, 4]) for seed in (7, 7, 8))
    assert [numbers(m) for m in first] == [numbers(m) for m in again]
    for mine, others in zip(first, other, strict=True):
        assert mine.critic_estimate != others.critic_estimate


def test_the_generator_starts_alike_beside_any_critic() -> None:
    """So a search over critics compares trials with common random numbers."""
    wide = TrialConfig(networks=SMALL | {"critic_width": 32, "critic_depth": 4})
    generators = [weights_of(create(config).generator) for config in (trial(), wide)]
    assert torch.equal(*generators)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_global_rng_is_neither_read_nor_moved(constraint) -> None:
    config = trial(constraint)
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
