import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from custom_networks import Scaling
from small_trials import (
    GANS,
    METHODS,
    REAL,
    WITH_CRITIC,
    Point,
    Slope,
    create,
    identical,
    run,
    trial,
    weights_of,
)
from torch import Tensor, nn

from trainables.config import Loss
from trainables.networks import Autoencoder
from trainables.training.loop import (
    MAX_SAMPLE_VALUE,
    Measurement,
    critic_step,
    generator_step,
    train,
)
from trainables.training.state import TrainState


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
    loss, samples = generator_step(state, trial().training)
    assert loss.item() == pytest.approx(-0.75)
    assert samples.tolist() == [[0.25]] * 4
    assert state.generator.place.item() == pytest.approx(0.25 + 0.1 * 3)


SIGMOID_OF_1 = 1 / (1 + math.exp(-1))


@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])
def test_a_gans_critic_step_worked_by_hand(loss) -> None:
    """Logits 2k at 2 and 0 at 0, k = 0.5: loss softplus(-1) + log 2, its slope 2 (D(1) - 1)."""
    state = by_hand(place=0.0, slope=0.5)
    step = critic_step(state, trial(loss).training, torch.full((4, 1), 2.0), torch.zeros(4, 1))
    expected = -math.log(SIGMOID_OF_1) + math.log(2)
    estimate, critic_loss = (number.item() for number in step)
    assert critic_loss == pytest.approx(expected)
    assert estimate == pytest.approx(math.log(2) - expected / 2)
    moved = 0.1 * 2 * (1 - SIGMOID_OF_1)
    assert state.critic.slope.item() == pytest.approx(0.5 + moved)


@pytest.mark.parametrize(
    ("loss", "value", "gradient"),
    [
        ("minimax", math.log(1 - SIGMOID_OF_1), -SIGMOID_OF_1),
        ("non_saturating", -math.log(SIGMOID_OF_1), SIGMOID_OF_1 - 1),
    ],
)
def test_a_gans_generator_step_worked_by_hand(loss, value, gradient) -> None:
    """A logit of slope * place = 1, so the place moves by the slope times the known derivative."""
    state = by_hand(place=0.5, slope=2.0)
    lost, samples = generator_step(state, trial(loss).training)
    assert lost.item() == pytest.approx(value)
    assert samples.tolist() == [[0.5]] * 4
    assert state.generator.place.item() == pytest.approx(0.5 - 0.1 * 2 * gradient)


def test_a_relativistic_step_of_each_player_worked_by_hand() -> None:
    """k = 0.5, real at 2, fake at 0: scores 1 and 0, so both losses compare 1 with 0."""
    state = by_hand(place=0.0, slope=0.5)
    config = trial("relativistic", r1_weight=0, r2_weight=0).training
    real, fake = torch.full((4, 1), 2.0), torch.zeros(4, 1)
    estimate, critic_loss = (number.item() for number in critic_step(state, config, real, fake))
    assert critic_loss == pytest.approx(-math.log(SIGMOID_OF_1))
    assert estimate == pytest.approx(math.log(2) - critic_loss)
    moved = 0.5 + 0.1 * 2 * (1 - SIGMOID_OF_1)
    assert state.critic.slope.item() == pytest.approx(moved)
    lost, _ = generator_step(state, config, real)
    sigmoid = 1 / (1 + math.exp(-2 * moved))
    assert lost.item() == pytest.approx(-math.log(1 - sigmoid), rel=1e-5)
    assert state.generator.place.item() == pytest.approx(0.1 * moved * sigmoid, rel=1e-5)


@pytest.mark.parametrize("loss", GANS)
@pytest.mark.parametrize(("r1", "r2"), [(3.0, 0.0), (0.0, 4.0), (3.0, 4.0)])
def test_zero_centred_penalties_add_half_their_weight_times_the_squared_slope(loss, r1, r2) -> None:
    """R1 and R2 of f = k x are k^2, so the loss has (r1 + r2) / 2 k^2 more, its slope (r1 + r2) k.

    Codes that leave out the paper's factor 1/2 fail here.
    """
    steps = []
    for weights in ({"r1_weight": 0, "r2_weight": 0}, {"r1_weight": r1, "r2_weight": r2}):
        state = by_hand(place=0.0, slope=0.5)
        config = trial(loss, **weights).training
        numbers = critic_step(state, config, torch.full((4, 1), 2.0), torch.zeros(4, 1))
        steps.append([*(n.item() for n in numbers), state.critic.slope.item()])
    (estimate, lost, slope), (penalised_estimate, penalised, penalised_slope) = steps
    assert penalised - lost == pytest.approx((r1 + r2) / 2 * 0.25, rel=1e-5)
    assert penalised_slope - slope == pytest.approx(-0.1 * (r1 + r2) * 0.5, rel=1e-5)
    assert penalised_estimate == estimate


def test_a_step_of_wgan_div_worked_by_hand() -> None:
    """loss = -2 k + 2 k^6 at k = 0.5, derivative -2 + 12 k^5; the estimate is 2 k."""
    state = by_hand(place=0.0, slope=0.5)
    config = trial("wgan_div").training
    step = critic_step(state, config, torch.full((4, 1), 2.0), torch.zeros(4, 1))
    assert [number.item() for number in step] == pytest.approx([1, -1 + 2 * 0.5**6])
    assert state.critic.slope.item() == pytest.approx(0.5 - 0.1 * (-2 + 12 * 0.5**5))


def with_autoencoder(share: float, loss: Loss, place: float = 0.0) -> TrainState:
    state = by_hand(place=place, slope=0.0)
    state.critic = Autoencoder(Scaling(share), loss)
    state.critic_optimizer = torch.optim.SGD(state.critic.parameters(), 0.1)
    return state


@pytest.mark.parametrize(("margin", "loss", "gradient"), [(10, 1 + 8, -2 + 4), (1.5, 1, -2)])
def test_ebgans_critic_step_worked_by_hand(margin, loss, gradient) -> None:
    """D(x) = (1 - a) |x|: 1 at the real 2 and 2 at the fake 4, with the slopes -2 and -4."""
    state = with_autoencoder(0.5, "ebgan")
    config = trial("ebgan", margin=margin).training
    step = critic_step(state, config, torch.full((4, 1), 2.0), torch.full((4, 1), 4.0))
    expected = [1 - loss / margin, loss]
    assert [number.item() for number in step] == pytest.approx(expected)
    (share,) = state.critic.parameters()
    assert share.item() == pytest.approx(0.5 - 0.1 * gradient)


def test_ebgans_generator_step_lowers_the_error_and_pays_for_equal_codes() -> None:
    """Four samples at 4, whose codes have one direction: D = 2, and the pulling-away term is 1."""
    state = with_autoencoder(0.5, "ebgan", place=4.0)
    lost, _ = generator_step(state, trial("ebgan", pulling_away_weight=0.3).training)
    assert lost.item() == pytest.approx(2 + 0.3)
    assert state.generator.place.item() == pytest.approx(4 - 0.1 * 0.5)


def test_ebgan_logs_the_pulling_away_term_by_its_name() -> None:
    (measured,) = run(trial("ebgan", pulling_away_weight=0), [3])
    assert 0 < measured.as_floats()["pulling_away"] <= 1
    assert "pulling_away" not in run(trial("minimax"), [3])[0].as_floats()


@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])
def test_smoothing_moves_the_target_of_real_samples_alone(loss) -> None:
    """Logits 1 at real and 0 at fake: 0.9 softplus(-1) + 0.1 softplus(1) + log 2.

    Smoothing the fakes, too, as some codes do, would shift the optimum (Salimans 2016, 3.4). The
    estimate stays that of the Jensen-Shannon divergence.
    """
    state = by_hand(place=0.0, slope=0.5)
    config = trial(loss, label_smoothing=0.1).training
    step = critic_step(state, config, torch.full((4, 1), 2.0), torch.zeros(4, 1))
    real = -0.9 * math.log(SIGMOID_OF_1) - 0.1 * math.log(1 - SIGMOID_OF_1)
    plain = -math.log(SIGMOID_OF_1) + math.log(2)
    expected = [math.log(2) - plain / 2, real + math.log(2)]
    assert [number.item() for number in step] == pytest.approx(expected)
    moved = 0.1 * 2 * (0.9 - SIGMOID_OF_1)
    assert state.critic.slope.item() == pytest.approx(0.5 + moved)


class Square(Slope):
    """f(x) = slope * x^2, whose gradient is known at every point."""

    def forward(self, samples: Tensor) -> Tensor:
        return self.slope * samples[:, 0] ** 2


@pytest.mark.parametrize(("weights", "expected"), [((1, 0), 8 * 0.25), ((0, 1), 18 * 0.25)])
def test_r1_is_at_real_samples_and_r2_at_generated_ones(weights, expected) -> None:
    """(2 k x)^2 / 2 at 2 is 8 k^2, and at 3 it is 18 k^2."""
    losses = []
    for r1, r2 in ((0, 0), weights):
        state = by_hand(place=0.0, slope=0.5)
        state.critic = Square(0.5)
        state.critic_optimizer = torch.optim.SGD(state.critic.parameters(), 0.1)
        config = trial("non_saturating", r1_weight=r1, r2_weight=r2).training
        losses.append(critic_step(state, config, torch.full((4, 1), 2.0), torch.full((4, 1), 3.0)))
    assert losses[1][1] - losses[0][1] == pytest.approx(expected, rel=1e-5)


def test_clipping_follows_the_step_so_that_it_bounds_the_generators_critic() -> None:
    """0.3 + 0.1 * 2 = 0.5 is above 0.4; a clamp before the step would leave it there."""
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
    assert measured.critic_lipschitz == pytest.approx(after_two, rel=1e-5)
    assert measured.generator_loss == 0
    assert state.critic.slope.item() == pytest.approx(after_two, rel=1e-5)
    assert state.generator.place.item() == pytest.approx(10 * lr, rel=1e-5)


# --- instance noise, by a critic that records its inputs


class Witness(Slope):
    """A critic that remembers its last input."""

    seen: Tensor

    def forward(self, samples: Tensor) -> Tensor:
        self.seen = samples.detach()
        return super().forward(samples)


def seen_by_the_critic(**training) -> list[Tensor]:
    """In a critic step with real at 2 and fake at -1, then in a generator step with fake at 0."""
    state = by_hand(place=0.0, slope=0.5)
    state.critic = Witness(0.5)
    state.critic_optimizer = torch.optim.SGD(state.critic.parameters(), 0.1)
    config = trial(**({"method": "non_saturating", "batch_size": 20_000} | training)).training
    size = (config.batch_size, 1)
    critic_step(state, config, torch.full(size, 2.0), torch.full(size, -1.0))
    real, fake = state.critic.seen.chunk(2)
    generator_step(state, config)
    return [real, fake, state.critic.seen]


def test_instance_noise_turns_points_into_gaussians_of_its_standard_deviation() -> None:
    """Within 5 standard errors: of a mean std / sqrt(n), of a variance std^2 sqrt(2 / n)."""
    std, n = 0.3, 20_000
    seen = seen_by_the_critic(instance_noise=std)
    for samples, place in zip(seen, [2.0, -1.0, 0.0], strict=True):
        assert samples.mean().item() == pytest.approx(place, abs=5 * std / math.sqrt(n))
        assert samples.var().item() == pytest.approx(std**2, abs=5 * std**2 * math.sqrt(2 / n))
        beyond_one_std = ((samples - place).abs() > std).double().mean().item()
        assert beyond_one_std == pytest.approx(math.erfc(1 / math.sqrt(2)), abs=5 * 0.5 / n**0.5)
    noises = torch.stack([samples - samples.mean() for samples in seen]).flatten(1)
    correlations = torch.corrcoef(noises)[[0, 0, 1], [1, 2, 2]]
    assert correlations.abs().max().item() < 5 / math.sqrt(n)  # every sample has its own


def test_without_noise_the_critic_sees_unchanged_samples() -> None:
    for samples, place in zip(seen_by_the_critic(batch_size=4), [2.0, -1.0, 0.0], strict=True):
        assert samples.tolist() == [[place]] * 4


def test_only_noise_advances_the_states_rng() -> None:
    def moves_the_rng(method: str, **training) -> bool:
        state = by_hand(place=0.0, slope=0.5)
        before = state.rng.get_state()
        critic_step(state, trial(method, **training).training, torch.ones(4, 1), torch.zeros(4, 1))
        return not torch.equal(state.rng.get_state(), before)

    assert moves_the_rng("minimax", instance_noise=0.1)
    assert not moves_the_rng("minimax")
    assert not moves_the_rng("clip")


def test_the_samples_that_a_generator_step_returns_are_without_noise() -> None:
    state = by_hand(place=0.5, slope=2.0)
    _, samples = generator_step(state, trial("minimax", instance_noise=1.0).training)
    assert samples.tolist() == [[0.5]] * 4


# --- each player


@pytest.mark.parametrize("method", WITH_CRITIC)
def test_a_step_changes_the_weights_of_its_own_player_alone(method) -> None:
    config = trial(method)
    state = create(config)
    generator, critic = weights_of(state.generator), weights_of(state.critic)
    critic_step(state, config.training, REAL[:4], state.sample(4))
    assert torch.equal(weights_of(state.generator), generator)
    assert not torch.equal(weights_of(state.critic), critic)
    critic = weights_of(state.critic)
    generator_step(state, config.training, REAL[:4])
    assert not torch.equal(weights_of(state.generator), generator)
    assert torch.equal(weights_of(state.critic), critic)


def test_each_player_has_its_own_learning_rate() -> None:
    """Adam's first step moves a weight by lr times the sign of its gradient, so by lr at most."""
    config = trial(critic_lr=1e-3, generator_lr=1e-2)
    state = create(config)
    generator, critic = weights_of(state.generator), weights_of(state.critic)
    critic_step(state, config.training, REAL[:4], state.sample(4).detach())
    generator_step(state, config.training, REAL[:4])
    moved = (weights_of(state.critic) - critic).abs().max().item()
    assert moved == pytest.approx(1e-3, rel=0.01)
    moved = (weights_of(state.generator) - generator).abs().max().item()
    assert moved == pytest.approx(1e-2, rel=0.01)


def test_no_weight_leaves_the_box_whatever_the_learning_rate() -> None:
    config = trial("clip", clip_value=0.05, critic_lr=10.0)
    state = create(config)
    run(config, [3], state)
    assert weights_of(state.critic).abs().max().item() == pytest.approx(0.05)


@pytest.mark.parametrize("method", METHODS)
def test_training_brings_the_generated_mean_nearer_to_the_real_one(method) -> None:
    """A flipped sign in either player drives it away instead (0.03 to 0.5 of it over 8 seeds).

    A GAN's critic takes one step: five make it so sure that minimax stands still (0.75).
    """
    lr = {"critic_lr": 1e-2, "generator_lr": 2e-3}
    clip = {"clip_value": 0.5, "optimizer": "rmsprop"} if method == "clip" else {}
    n_critic = 1 if method in GANS else 5
    config = trial(method, n_critic=n_critic, batch_size=16, **lr, **clip)
    state = create(config)
    real = torch.tensor([1.5, -1.0]) + 0.1 * torch.randn(200, 2, generator=state.rng)

    def distance() -> float:
        with torch.no_grad():
            return (state.sample(500).mean(0) - real.mean(0)).norm().item()

    before = distance()
    list(train(state, config.training, real, [100]))
    assert distance() < 0.7 * before


class Reordered(nn.Module):
    """A convolution over an image that it has reordered in memory, as codes for GPUs do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, samples: Tensor) -> Tensor:
        return self.layer(samples.contiguous(memory_format=torch.channels_last)).sum((1, 2, 3))


def test_each_weight_moves_by_its_own_gradient_however_that_lies_in_memory() -> None:
    """Adam's first step is lr times the gradient's sign; d loss / dw = -sum of pixels it meets."""
    state = by_hand(place=0.0, slope=1.0)
    state.critic = Reordered()
    state.critic_optimizer = torch.optim.Adam(state.critic.parameters(), 0.01, fused=True)
    before = state.critic.layer.weight.detach().clone()
    pixels = torch.randn(1, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    critic_step(state, trial("clip", clip_value=5).training, pixels, torch.zeros_like(pixels))
    met = nn.functional.conv2d(pixels[0][:, None], torch.ones(1, 1, 3, 3))[:, 0]
    moved = (state.critic.layer.weight - before).detach()
    torch.testing.assert_close(moved, 0.01 * met.sign().expand(4, 3, 3, 3), rtol=1e-3, atol=1e-5)


# --- reports


@pytest.mark.parametrize(
    ("report_at", "reported"),
    [
        ([1, 3, 7], [1, 3, 7]),
        ([-1, 0, 1, 3, 3, 7], [1, 3, 7]),
        (range(2, 7, 2), [2, 4, 6]),
        ([], []),
    ],
)
def test_reports_come_at_exactly_the_requested_steps(report_at, reported) -> None:
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


@pytest.mark.parametrize("method", METHODS)
def test_the_steps_of_the_reports_do_not_affect_the_training(method) -> None:
    config = trial(method)
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
    assert last.critic_lipschitz == each[-1].critic_lipschitz


class Bend(Slope):
    """f(x) = slope * x^2 / 2, whose slope at x is slope * x: it differs from point to point."""

    def forward(self, samples: Tensor) -> Tensor:
        return self.slope * samples[:, 0].square() / 2


def test_the_lipschitz_constant_is_the_largest_gradient_norm_and_the_other_their_mean() -> None:
    """From real at 2 to fake at 0 the norms are 3 x: 6 at the most and 3 on average."""
    state = by_hand(place=0.0, slope=3.0, lr=0.0)
    state.critic = Bend(3.0)
    state.critic_optimizer = torch.optim.SGD(state.critic.parameters(), 0.0)
    config = trial("clip", clip_value=5).training
    (measured,) = train(state, config, torch.full((5, 1), 2.0), [1])
    assert measured.critic_lipschitz == pytest.approx(6)
    assert measured.critic_gradient_norm == pytest.approx(3)


def test_time_spent_at_a_yield_or_between_runs_is_not_training_time(monkeypatch) -> None:
    """On a clock that advances 1 s per call, each interval takes 1 s for any caller."""
    clock = itertools.count()
    cpu = itertools.count(step=10)
    fake_time = SimpleNamespace(
        perf_counter=lambda: float(next(clock)), thread_time=lambda: float(next(cpu))
    )
    monkeypatch.setattr("trainables.training.loop.time", fake_time)
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
    floats = Measurement(3, 0.5, 0.25, -1.0, 1.5, 2.5, 20.0, 0.15, 0.1, True).as_floats()
    assert all(type(value) is float for value in floats.values())
    assert floats == {
        "generator_steps": 3.0,
        "critic_estimate": 0.5,
        "critic_loss": 0.25,
        "generator_loss": -1.0,
        "critic_gradient_norm": 1.5,
        "critic_lipschitz": 2.5,
        "generator_steps_per_s": 20.0,
        "training_seconds": 0.15,
        "training_cpu_seconds": 0.1,
        "diverged": 1.0,
    }


# --- divergence


@pytest.mark.parametrize(
    ("place", "diverged"),
    [(-100.0, False), (0.9 * MAX_SAMPLE_VALUE, False), (-2 * MAX_SAMPLE_VALUE, True)],
)
def test_only_a_generator_beyond_the_limit_has_exploded(place, diverged) -> None:
    """At -100 the trial is bad, with a W1 of 100, and yet worth a number."""
    config = trial("clip").training
    state = by_hand(place=place, slope=0.01, lr=1e-12)
    (measured,) = train(state, config, torch.zeros(5, 1), [2])
    assert measured.diverged == diverged
    assert measured.critic_estimate == pytest.approx(-0.01 * place, rel=0.1)


@pytest.mark.parametrize("player", ["generator_lr", "critic_lr"])
def test_training_ends_at_the_first_measurement_of_a_diverged_trial(player) -> None:
    measured = run(trial(**{player: 1e30}), [2, 4, 6])
    assert [m.generator_steps for m in measured] == [2]
    assert measured[0].diverged
    assert not math.isfinite(measured[0].critic_loss)


@pytest.mark.parametrize("player", ["generator", "critic"])
def test_weights_that_became_nan_in_the_last_step_count_as_diverged(player) -> None:
    """All losses are from before the step that breaks the weights, hence finite."""
    config = trial("clip").training
    state = by_hand(place=0.0, slope=0.005, lr=1e-6)
    unused = torch.nn.Parameter(torch.tensor(math.nan))
    getattr(state, player).register_parameter("unused", unused)
    state_losses = next(train(state, config, torch.ones(5, 1), [1]))
    assert math.isfinite(state_losses.critic_loss + state_losses.generator_loss)
    assert state_losses.diverged
