"""The options of a trial besides Algorithm 1: each has its effect, and no other."""

import math
import shutil
from copy import deepcopy

import jaxtyping
import pytest
import torch
from small_trials import METHODS, REAL, WITH_CRITIC, create, identical, run, trial, weights_of
from torch import Tensor, nn

from trainables.networks.layers import MinibatchDiscrimination
from trainables.training.lipschitz import gradient_penalty
from trainables.training.loop import critic_step, train
from trainables.training.state import TrainState

# --- the statistics of batch normalisation


class Log(nn.Module):
    """Keeps a copy of every batch that passes through it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.seen = nn.Sequential(*layers), []

    def forward(self, samples: Tensor) -> Tensor:
        self.seen.append(samples.detach().clone())
        return self.layers(samples)


def with_batch_norm(*, generator: bool, critic: bool) -> TrainState:
    first = [nn.BatchNorm1d(1)] if critic else []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        players = (
            Log(nn.BatchNorm1d(1) if generator else nn.Linear(1, 1)),
            Log(*first, nn.Linear(1, 1), nn.Flatten(0)),
        )
    optimizers = [torch.optim.SGD(player.parameters(), 0.01) for player in players]
    return TrainState(*players, *optimizers, torch.Generator().manual_seed(0), 1)


def test_a_critic_with_batch_norm_sees_real_and_fake_in_separate_batches() -> None:
    """All real at 2, all fake at 0: each batch is its own mean, so both score alike.

    In one batch of both they would be at 1 and -1.
    """
    state = with_batch_norm(generator=False, critic=True)
    estimate, _ = critic_step(
        state, trial("clip").training, 2 * torch.ones(4, 1), torch.zeros(4, 1)
    )
    assert [batch.mean().item() for batch in state.critic.seen] == [2, 0]
    assert estimate.item() == 0


def test_a_critic_that_compares_samples_sees_real_and_fake_in_separate_batches() -> None:
    """All real and all fake alike: 3 others of similarity 1 each, where one batch has 4 unlike."""
    log = Log(MinibatchDiscrimination(1, 1, 1), nn.Linear(2, 1, bias=False), nn.Flatten(0))
    with torch.no_grad():
        log.layers[1].weight.copy_(torch.tensor([[0.0, 1.0]]))
    state = with_batch_norm(generator=False, critic=False)
    state.critic = log
    state.critic_optimizer = torch.optim.SGD(log.parameters(), 0.01)
    config = trial("non_saturating").training
    _, loss = critic_step(state, config, 2 * torch.ones(4, 1), torch.zeros(4, 1))
    assert [batch.mean().item() for batch in log.seen] == [2, 0]
    assert loss.item() == pytest.approx(math.log1p(math.exp(-3)) + math.log1p(math.exp(3)))


def test_a_critic_without_batch_norm_sees_them_in_one_batch() -> None:
    state = with_batch_norm(generator=False, critic=False)
    critic_step(state, trial("clip").training, 2 * torch.ones(4, 1), torch.zeros(4, 1))
    assert [batch.flatten().tolist() for batch in state.critic.seen] == [[2.0] * 4 + [0.0] * 4]


@pytest.mark.parametrize(("batch_norm", "sizes"), [(True, [4, 4, 4, 4]), (False, [12, 4])])
def test_a_generator_with_batch_norm_makes_each_critic_batch_by_itself(batch_norm, sizes) -> None:
    """So that the statistics in its critic's steps are those of its own step."""
    state = with_batch_norm(generator=batch_norm, critic=False)
    config = trial("clip", n_critic=3).training
    list(train(state, config, torch.ones(5, 1), [1]))
    assert [len(latents) for latents in state.generator.seen] == sizes
    if batch_norm:
        means = [batch[4:].mean().abs().item() for batch in state.critic.seen[:3]]
        assert max(means) < 1e-6  # the fakes of each critic step


def test_a_report_does_not_change_the_running_statistics() -> None:
    config = trial("clip").training
    often, once = (with_batch_norm(generator=True, critic=True) for _ in range(2))
    list(train(often, config, REAL[:, :1], range(1, 6)))
    list(train(once, config, REAL[:, :1], [5]))
    assert identical(often.critic.state_dict(), once.critic.state_dict())
    assert identical(often.generator.state_dict(), once.generator.state_dict())


# --- the data's type


def test_images_as_bytes_train_as_their_floats_do() -> None:
    """0 is -1 and 255 is 1, scaled batch by batch."""
    pixels = torch.randint(256, (20, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    config = trial()
    states = [TrainState.create(config, (1, 4, 4)) for _ in range(2)]
    floats = pixels.float() / 127.5 - 1
    for state, real in zip(states, (pixels.to(torch.uint8), floats), strict=True):
        list(train(state, config.training, real, [3]))
    torch.testing.assert_close(*(weights_of(state.critic) for state in states))


# --- learning rates


def rates(state: TrainState) -> list[float]:
    optimizers = (state.generator_optimizer, state.critic_optimizer)
    return [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]


def test_linear_decay_goes_from_the_full_rates_to_zero_at_the_end() -> None:
    """Step s of N, from 0, is taken at 1 - s / N; beyond N nothing moves."""
    decay = trial(lr_decay="linear", generator_lr=0.4, critic_lr=0.8)
    config = decay.model_copy(update={"max_generator_steps": 4})
    state = create(config)
    seen = [rates(state) for _ in train(state, config.training, REAL, [1, 2, 3, 4])]
    assert seen == [pytest.approx([0.4 * left, 0.8 * left]) for left in (1, 0.75, 0.5, 0.25)]
    weights = weights_of(state.generator), weights_of(state.critic)
    run(config, [6], state)
    assert rates(state) == [0, 0]
    assert torch.equal(weights_of(state.generator), weights[0])
    assert torch.equal(weights_of(state.critic), weights[1])


def test_constant_rates_do_not_change() -> None:
    state = create(trial(generator_lr=0.4, critic_lr=0.8))
    run(trial(), [3], state)
    assert rates(state) == [0.4, 0.8]


# --- frozen parameters


class FrozenCritic(nn.Sequential):
    """A critic whose bias is frozen, and whose layer has closed-form gradients otherwise."""

    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        layer = nn.Linear(sample_shape[0], 1)
        layer.bias.requires_grad_(False)
        super().__init__(layer)


class FrozenGenerator(nn.Sequential):
    def __init__(self, latent_dim: int, sample_shape: tuple[int, ...]) -> None:
        first = nn.Linear(latent_dim, 4).requires_grad_(False)
        super().__init__(first, nn.Tanh(), nn.Linear(4, sample_shape[0]))


@pytest.mark.parametrize("method", ["gradient_penalty", "spectral_norm", "minimax"])
def test_frozen_parameters_keep_their_values_and_a_resumed_trial_is_equal(method) -> None:
    """All other parameters are trained; the average has the frozen values too."""
    config = trial(method, ema_decay=0.9)
    players = {"generator": FrozenGenerator, "critic": FrozenCritic}
    paths = {player: f"{__name__}:{make.__name__}" for player, make in players.items()}
    networks = type(config.networks).model_validate({"latent_dim": 3, **paths})
    config = config.model_copy(update={"networks": networks})
    state, resumed = create(config), create(config)
    before = deepcopy([state.generator, state.critic, state.scored])
    run(config, [2], state)
    resumed.load_state_dict(state.state_dict())
    run(config, [4], state)
    run(config, [4], resumed)
    assert identical(state, resumed)
    for old, new in zip(before, [state.generator, state.critic, state.scored], strict=True):
        for one, other in zip(old.parameters(), new.parameters(), strict=True):
            assert torch.equal(one, other) == (not one.requires_grad)


# --- the averaged generator


def test_the_average_starts_at_the_first_step_and_decays_at_each() -> None:
    """Yazici 2019, eq. 9 without its bias: a_1 = w_1, a_n = decay a_(n-1) + (1 - decay) w_n."""
    config = trial(ema_decay=0.75, generator_lr=0.01)
    state = create(config)
    expected = None
    for _ in train(state, config.training, REAL, range(1, 6)):
        now = weights_of(state.generator)
        expected = now if expected is None else 0.75 * expected + 0.25 * now
        torch.testing.assert_close(weights_of(state.scored), expected)
    assert not torch.equal(weights_of(state.scored), now)


def test_an_average_does_not_affect_the_training() -> None:
    plain, averaged = create(trial()), create(trial(ema_decay=0.9))
    run(trial(), [4], plain)
    run(trial(ema_decay=0.9), [4], averaged)
    assert torch.equal(weights_of(plain.generator), weights_of(averaged.generator))
    assert plain.scored is plain.generator


# --- precision and compiled code


def near(options: dict, method: str, within: float) -> None:
    """Check that 20 steps end near the plain ones, relative to the distance travelled.

    Adam divides a gradient by its size: where it is near zero, rounding decides its sign, and the
    weight is off by two steps. That happens to a small share of the weights.
    """
    plain, other = create(trial(method)), create(trial(method, **options))
    player = "critic" if method in WITH_CRITIC else "generator"
    start = weights_of(getattr(plain, player))
    (expected,) = run(trial(method), [20], plain)
    (measured,) = run(trial(method, **options), [20], other)
    end = weights_of(getattr(plain, player))
    assert (weights_of(getattr(other, player)) - end).norm() < within * (end - start).norm()
    assert measured.generator_loss == pytest.approx(expected.generator_loss, rel=0.05, abs=5e-3)
    if method in WITH_CRITIC:
        close = pytest.approx(expected.critic_estimate, rel=0.05, abs=2e-3)
        assert measured.critic_estimate == close
        assert measured.critic_lipschitz == pytest.approx(expected.critic_lipschitz, rel=0.02)
    assert list(other.state_dict()["critic"]) == list(plain.state_dict()["critic"])
    assert all(p.dtype == torch.float32 for p in other.critic.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_ends_near_float32(method) -> None:
    """Numbers of 8 bits: off by 0.4% each."""
    near({"precision": "bfloat16"}, method, within=0.1)


def test_the_networks_compute_in_bfloat16_and_return_float32() -> None:
    state = create(trial(precision="bfloat16"))
    seen = []
    for player in (state.generator, state.critic):
        player[-2 if player is state.generator else 1].register_forward_hook(
            lambda module, inputs, output: seen.append(output.dtype)
        )
    samples = state.sample(4)
    assert samples.dtype == state.scores(samples).dtype == torch.float32
    assert seen == [torch.bfloat16, torch.bfloat16]


# torch.compile ignores it by a filter, which does not override one that makes it an error.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_code_ends_near_the_plain_one(monkeypatch) -> None:
    """And compiled code does run: unlike plain code, it cannot be differentiated twice."""
    # The checks of shapes, which only tests have, cannot be compiled.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    near({"compile": True}, "gradient_penalty", within=0.05)
    state = create(trial(compile=True))
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        gradient_penalty(state.scores, REAL, REAL, state.rng).backward()
