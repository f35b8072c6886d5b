"""BEGAN's k against hand-worked updates, and that a checkpoint keeps it."""

import pytest
import torch
from custom_networks import Scaling
from small_trials import create, identical, numbers, run, trial
from torch import Tensor

from trainables.networks import Autoencoder
from trainables.training.balance import Balance
from trainables.training.loop import critic_step


def full(value: float) -> Tensor:
    return torch.full((4, 1), value)


def began(share: float, k: float, **training):
    """Return a trial of one-dimensional samples, whose critic reconstructs a share of each."""
    config = trial("began", **training)
    state = create(config)
    state.critic = Autoencoder(Scaling(share), "began")
    state.critic_optimizer = torch.optim.SGD(state.critic.parameters(), 0.1)
    assert state.balance is not None
    state.balance.k.fill_(k)
    return config.training, state


def test_a_critic_step_worked_by_hand() -> None:
    """The errors are L(x) = 1 and L(G) = 2, of slopes -2 and -4, with k = 0.3 before the step.

    The loss is 1 - 0.3 * 2, its slope -2 + 0.3 * 4; then k = 0.3 + 0.1 (0.5 * 1 - 2) and
    M = 1 + |0.5 * 1 - 2|. A code that updates k first has the loss 1 - 0.15 * 2.
    """
    config, state = began(0.5, 0.3, diversity_ratio=0.5, lambda_k=0.1)
    estimate, loss = critic_step(state, config, full(2.0), full(4.0))
    assert (estimate.item(), loss.item()) == pytest.approx((1, 0.4))
    (share,) = state.critic.parameters()
    assert share.item() == pytest.approx(0.5 + 0.1 * 0.8)
    assert state.balance.k.item() == pytest.approx(0.15)
    assert state.balance.convergence_measure.item() == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("k", "real", "fake", "after"),
    [
        (0.01, 2.0, 4.0, 0.0),  # 0.01 - 0.15
        (0.99, 8.0, 1.0, 1.0),  # 0.99 + 0.1 (0.5 * 4 - 0.5)
        (0.5, 8.0, 1.0, 0.65),
        (0.5, 4.0, 2.0, 0.5),  # the ratio of the errors is kept
    ],
)
def test_k_is_clamped_to_0_and_1(k: float, real: float, fake: float, after: float) -> None:
    config, state = began(0.5, k, diversity_ratio=0.5, lambda_k=0.1)
    critic_step(state, config, full(real), full(fake))
    assert state.balance.k.item() == pytest.approx(after, abs=1e-6)


def test_the_term_of_k_turns_the_difference_into_the_papers_loss() -> None:
    """L(x) - k L(G), whose slope by a fake score of 4 is k / 4."""
    balance = Balance(0.5, 0.001)
    balance.k.fill_(0.3)
    fake = torch.tensor([-1.0, -2.0, -3.0, -2.0], requires_grad=True)
    term = balance.critic_term(fake)
    assert (2 + term).item() - 2 == pytest.approx((0.3 - 1) * -2)
    balance.update_(fake.detach(), fake.detach())  # before the gradients, as in a step
    (gradient,) = torch.autograd.grad(term - -fake.mean(), fake)
    assert gradient.tolist() == pytest.approx([0.3 / 4] * 4)


def test_a_resumed_trial_has_the_k_and_the_measure_of_an_unbroken_one_to_the_bit(tmp_path) -> None:
    """With errors such that k rises from the first step on; a new trial would begin at 0."""
    config = trial("began", diversity_ratio=1, lambda_k=0.1)
    unbroken, stopped, resumed = create(config), create(config), create(config)
    *_, expected = run(config, [3, 8], unbroken)
    run(config, [3], stopped)
    assert 0 < stopped.balance.k.item() < 1
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(resumed.balance.k, stopped.balance.k)
    (measured,) = run(config, [3, 8], resumed)
    assert numbers(measured) == numbers(expected)
    assert identical(resumed, unbroken)
    del (saved := stopped.state_dict())["balance"]
    with pytest.raises(KeyError, match="balance"):
        resumed.load_state_dict(saved)


def test_k_and_the_measure_are_logged_by_their_names() -> None:
    config = trial("began", lambda_k=0.5)
    state = create(config)
    (measured,) = run(config, [1], state)
    metrics = measured.as_floats()
    assert metrics["balance"] == state.balance.k.item()
    assert metrics["convergence_measure"] == state.balance.convergence_measure.item() > 0
    assert "convergence_measure" not in run(trial("ebgan"), [1])[0].as_floats()
