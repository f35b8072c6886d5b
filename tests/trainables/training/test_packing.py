"""PacGAN's critic sees several samples at once (Lin 2018)."""

import pytest
import torch
from small_trials import REAL, WITH_CRITIC, create, identical, run, trial
from torch import Tensor, nn

from trainables.training.loop import critic_step, generator_step
from trainables.training.packing import packed, packed_shape


@pytest.mark.parametrize("shape", [(2,), (3, 4, 5)])
def test_packs_are_consecutive_samples_joined_along_their_first_axis(shape) -> None:
    samples = torch.randn(6, *shape)
    joined = packed(samples, 3)
    assert joined.shape == (2, *packed_shape(shape, 3))
    assert torch.equal(joined[1], torch.cat([*samples[3:]]))
    assert joined.data_ptr() == samples.data_ptr()


def test_a_pack_of_one_is_the_sample_itself() -> None:
    assert packed(REAL, 1) is REAL
    assert packed_shape((3, 8, 8), 1) == (3, 8, 8)


class Product(nn.Module):
    """f(x, y) = slope * x y: a critic of pairs of numbers, which no sum over samples equals."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(1.0))

    def forward(self, pairs: Tensor) -> Tensor:
        return self.slope * pairs[:, 0] * pairs[:, 1]


def test_both_players_score_pairs_worked_by_hand() -> None:
    """Real pairs (1, 2), (3, 4) and fake ones (0, 5), (1, 1): means of 7 and 0.5."""
    config = trial("clip", pack=2, clip_value=5).training
    state = create(trial("clip", pack=2, clip_value=5))
    state.critic, state.closed_form = Product(), None
    state.critic_optimizer = torch.optim.SGD(state.critic.parameters(), 0.0)
    real, fake = torch.tensor([[1.0], [2], [3], [4]]), torch.tensor([[0.0], [5], [1], [1]])
    estimate, _ = critic_step(state, config, real, fake)
    assert estimate.item() == 6.5
    lost, samples = generator_step(state, config)
    assert samples.shape == (4, 2)
    left, right = samples.reshape(2, 4)[:, :2].T
    assert lost.item() == pytest.approx(-(left * right).mean().item())


@pytest.mark.parametrize("method", WITH_CRITIC)
def test_every_method_packs_and_a_resumed_trial_is_equal(method) -> None:
    config = trial(method, pack=2, **({"r1_weight": 1} if method == "non_saturating" else {}))
    state, resumed = create(config), create(config)
    assert next(p for p in state.critic.parameters() if p.ndim == 2).shape[1] == 4
    run(config, [1], state)
    resumed.load_state_dict(state.state_dict())
    ((measured,), _) = (run(config, [3], each) for each in (state, resumed))
    assert not measured.diverged
    assert measured.critic_gradient_norm > 0
    assert identical(state, resumed)
