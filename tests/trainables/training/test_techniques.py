"""Terms of either player's loss under any method: hand-worked values, and what they change."""

import pytest
import torch
from small_trials import METHODS, REAL, Point, Slope, create, run, trial
from torch import Tensor, nn

from trainables.config import AUTOENCODING, CRITIC_FREE
from trainables.networks import BadNetwork, split_critic
from trainables.training.loop import critic_step, generator_step
from trainables.training.techniques import History, feature_distance, inconsistency

# --- feature matching


def test_the_feature_distance_is_the_squared_distance_of_the_means() -> None:
    """Means (2, 1) and (-1, 5): 3^2 + 4^2. Equal batches, in any order, have none."""
    real, fake = torch.tensor([[1.0, 1], [3, 1]]), torch.tensor([[0.0, 5], [-2, 5]])
    assert feature_distance(real, fake).item() == 25
    assert feature_distance(real, real.flip(0)).item() == 0


def test_a_step_with_feature_matching_worked_by_hand() -> None:
    """f(x) = 2 x, score 3 f: at a place of 1 and real at 4, the loss is -6 + 0.5 (8 - 2)^2.

    Its slope by the place is -6 - 0.5 * 2 * 6 * 2.
    """
    config = trial("clip", feature_matching_weight=0.5)
    state = create(config)
    with torch.no_grad():
        layers = [nn.Linear(1, 1, bias=False) for _ in range(2)]
        for layer, weight in zip(layers, (2.0, 3.0), strict=True):
            layer.weight.fill_(weight)
    state.generator, state.critic = Point(1.0), nn.Sequential(*layers, nn.Flatten(0))
    state.generator_optimizer = torch.optim.SGD(state.generator.parameters(), 0.1)
    loss, _ = generator_step(state, config.training, torch.full((4, 1), 4.0))
    assert loss.item() == pytest.approx(-6 + 18)
    assert state.generator.place.item() == pytest.approx(1 + 0.1 * (6 + 12))
    with pytest.raises(ValueError, match="feature matching needs real samples, got none"):
        generator_step(state, config.training)


def test_the_features_are_what_the_last_layer_takes_and_the_scores_stay_the_same() -> None:
    for config in (trial("non_saturating"), trial("spectral_norm"), trial(precision="bfloat16")):
        state = create(config)
        state.critic.eval()
        scores, features = state.scores_and_features(REAL)
        assert features.shape == (len(REAL), config.networks.critic_width)
        assert features.dtype == torch.float32
        torch.testing.assert_close(scores, state.scores(REAL), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("method", sorted({*METHODS} - {*AUTOENCODING, *CRITIC_FREE}))
def test_every_method_matches_features_and_measures_their_distance(method) -> None:
    config = trial(method, feature_matching_weight=10)
    (measured,) = run(config, [3])
    assert measured.as_floats()["feature_distance"] == measured.loss_metrics["feature_distance"] > 0
    (without,) = run(trial(method), [3])
    assert "feature_distance" not in without.as_floats()


def test_a_distance_of_features_falls_where_only_it_counts() -> None:
    rates = {"critic_lr": 1e-9, "generator_lr": 1e-2}
    config = trial("non_saturating", feature_matching_weight=1e4, batch_size=256, **rates)
    first, _, last = run(config, [1, 50, 60])
    assert last.loss_metrics["feature_distance"] < first.loss_metrics["feature_distance"] / 4


class Ended(nn.Sequential):
    """A critic that ends as is said."""

    def __init__(self, *last: nn.Module) -> None:
        super().__init__(nn.Flatten(), nn.Sequential(nn.Linear(2, 3), nn.ReLU()), *last)


def test_a_critic_in_sequence_is_split_at_its_last_layer_and_another_is_refused() -> None:
    body, last = split_critic(nn.Sequential(Ended(nn.Linear(3, 1)), nn.Flatten(0)))
    assert [type(layer) for layer in body] == [nn.Flatten, nn.Linear, nn.ReLU]
    assert [type(layer) for layer in last] == [nn.Linear, nn.Flatten]
    fault = "must be an nn.Sequential that ends in a Linear layer, .* got "
    with pytest.raises(BadNetwork, match=f"{fault}Bilinear"):
        split_critic(Ended(nn.Bilinear(3, 3, 1)))
    with pytest.raises(BadNetwork, match=f"{fault}Point"):
        split_critic(Point(1.0))


# --- consistency


def test_the_inconsistency_worked_by_hand() -> None:
    """Scores differ by 1 and 0, features by (3, 1) and (2, 0): d = 1 + 0.5 and 0.2."""
    one = torch.tensor([2.0, 5.0]), torch.tensor([[4.0, 1.0], [0.0, 7.0]])
    other = torch.tensor([1.0, 5.0]), torch.tensor([[1.0, 2.0], [2.0, 7.0]])
    assert inconsistency(one, other, 0.0).item() == pytest.approx((1.5 + 0.2) / 2)
    assert inconsistency(one, other, 0.5).item() == pytest.approx((1.5 - 0.5) / 2)
    assert inconsistency(one, one, 0.0).item() == 0


class Halves(nn.Module):
    """Doubles its inputs at every other call, and drops them at the others, as dropout may."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return inputs * (2.0 if self.calls % 2 else 0.0)


def critic_loss_of(noise: nn.Module, **training: float) -> tuple[float, float]:
    """Take a step of a critic f(x) = 3 * noise(x), real at 4 and fake at 0: its loss, its slope."""
    training = {"critic_dropout": 0.5, "clip_value": 1e4} | training
    config = trial("clip", **training).training
    state = create(trial("clip"))
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(3)
    state.critic, state.closed_form = nn.Sequential(noise, layer, nn.Flatten(0)), None
    state.critic_optimizer = torch.optim.SGD(state.critic.parameters(), 1.0)
    _, loss = critic_step(state, config, torch.full((4, 1), 4.0), torch.zeros(4, 1))
    return loss.item(), 3 - layer.weight.item()


def test_a_step_with_consistency_worked_by_hand() -> None:
    """Real scores 24 and 0, features 8 and 0: d = (8 w)^2 + 6.4, with the loss -8 w of the first.

    At w = 3 and a weight of 0.5 the slope is -8 + 0.5 * 2 * 64 * 3.
    """
    loss, slope = critic_loss_of(Halves(), consistency_weight=0.5, consistency_margin=0.4)
    assert loss == pytest.approx(-24 + 0.5 * (24**2 + 0.1 * 64 - 0.4))
    assert slope == pytest.approx(-8 + 192)


def test_without_noise_in_the_critic_consistency_changes_nothing() -> None:
    with_term = critic_loss_of(nn.Identity(), consistency_weight=100)
    assert with_term == critic_loss_of(nn.Identity()) == (-12, -4)


@pytest.mark.parametrize("method", ["gradient_penalty", "clip", "non_saturating", "wgan_div"])
def test_methods_with_dropout_and_consistency_train_and_measure_it(method) -> None:
    config = trial(method, critic_dropout=0.5, consistency_weight=2)
    state = create(config)
    assert state.closed_form is None
    (measured,) = run(config, [3], state)
    assert measured.as_floats()["inconsistency"] > 0
    assert not measured.diverged
    samples = REAL.repeat(2, 1)
    assert not torch.equal(state.scores(samples), state.scores(samples))
    state.critic.eval()
    assert torch.equal(state.scores(samples), state.scores(samples))


# --- historical averaging


def test_historical_averaging_against_a_sequence_worked_by_hand() -> None:
    """Weights 1, 3 and 8 have the means 1, 2 and 4: distances 0, 1 and 16, slopes 2 (w - mean)."""
    weight = nn.Parameter(torch.tensor([1.0]))
    history = History([weight])
    measured = []
    for value in (3.0, 8.0, 8.0):
        loss, (gradient,), distance = history.penalise(torch.zeros(()), [torch.ones(1)], 0.5)
        measured.append((loss.item(), gradient.item(), distance.item()))
        with torch.no_grad():
            weight.fill_(value)
        history.update()
    assert measured == [(0, 1, 0), (0.5, 2, 1), (8, 5, 16)]


def test_steps_of_both_players_with_historical_averaging_worked_by_hand() -> None:
    """A rate of 0.5, a weight of 0.25: each step is 0.5 (pull of the loss - 0.5 (w - mean)).

    The critic, real at 2 and fake at 0, goes from 1 to 2 (mean 1.5), and then by 0.5 (2 - 0.25).
    The generator at 0, under a slope of 2, goes to 1 (mean 0.5), and then by 0.5 (2 - 0.25).
    """
    config = trial("clip", clip_value=50, historical_averaging_weight=0.25).training
    state = create(trial("clip"))
    state.critic, state.generator, state.closed_form = Slope(1.0), Point(0.0), None
    for player in ("critic", "generator"):
        weights = list(getattr(state, player).parameters())
        setattr(state, f"{player}_optimizer", torch.optim.SGD(weights, 0.5))
        setattr(state, f"{player}_history", History(weights))
    losses, slopes, places = [], [], []
    for _ in range(2):
        losses.append(critic_step(state, config, torch.full((4, 1), 2.0), torch.zeros(4, 1))[1])
        slopes.append(state.critic.slope.item())
    state.critic = Slope(2.0)
    for _ in range(2):
        losses.append(generator_step(state, config)[0])
        places.append(state.generator.place.item())
    assert slopes == [2, 2.875]
    assert places == [1, 1.875]
    assert [loss.item() for loss in losses] == [-2, -4 + 0.25 * 0.25, 0, -2 + 0.25 * 0.25]


@pytest.mark.parametrize("method", sorted({*METHODS} - {*CRITIC_FREE}))
def test_a_strong_history_holds_both_players_under_every_method(method) -> None:
    """And the gradients in closed form have the term, too."""
    free, held = (
        trial(method, optimizer="rmsprop", historical_averaging_weight=w) for w in (1e-9, 1e4)
    )
    measured = [run(config, [20])[0].loss_metrics for config in (free, held)]
    for name in ("critic_historical_distance", "generator_historical_distance"):
        assert 0 < measured[1][name] < measured[0][name]


def test_no_history_is_kept_without_a_weight() -> None:
    assert create(trial()).critic_history is create(trial()).generator_history is None
    assert "critic_history" not in create(trial()).state_dict()
    (measured,) = run(trial(), [1])
    assert "critic_historical_distance" not in measured.as_floats()
