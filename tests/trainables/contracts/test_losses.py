"""Every loss keeps the contract, and each broken one fails with the right sentence."""

from functools import partial
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn.functional import relu

from trainables.config import CRITIC_FREE, Divergence, Loss, TrainingConfig
from trainables.contracts import check_loss
from trainables.training.losses import critic_loss, divergence, generator_loss


def critic(real: Tensor, fake: Tensor) -> Tensor:
    """The hinge loss (Lim & Ye 2017), which is not built in."""
    return relu(1 - real).mean() + relu(1 + fake).mean()


def generator(fake: Tensor) -> Tensor:
    return -fake.mean()


def test_another_loss_keeps_the_contract() -> None:
    check_loss(critic, generator)
    check_loss(critic, generator, lambda loss: 2 - loss)


@pytest.mark.parametrize("loss", [loss for loss in get_args(Loss) if loss not in CRITIC_FREE])
def test_built_in_losses_keep_the_contract(loss: Loss) -> None:
    config = TrainingConfig(loss=loss)
    check_loss(
        partial(critic_loss, config),
        lambda fake: generator_loss(config, fake, torch.zeros_like(fake)),
        partial(divergence, config),
    )


def overflowing(real: Tensor, fake: Tensor) -> Tensor:
    return (fake - real).exp().mean() + fake.exp().mean()


@pytest.mark.parametrize("kind", ["saturating", "alternative"])
@pytest.mark.parametrize("name", get_args(Divergence))
def test_every_divergence_keeps_the_contract(name: Divergence, kind: str) -> None:
    """But the KL divergence, whose bound is 0 where all scores are 1."""
    given = {"loss": "f_gan", "divergence": name, "generator_loss": kind}
    config = TrainingConfig.model_validate(given)
    estimate = None if name == "kl" else partial(divergence, config)
    check_loss(partial(critic_loss, config), partial(generator_loss, config), estimate)


BROKEN = {
    "shape": (lambda real, fake: fake - real, generator, "critic's loss must be a scalar, got"),
    "overflow": (overflowing, generator, "critic's loss and its gradient must be finite, got inf"),
    "nan": (
        critic,
        lambda fake: fake.sqrt().mean(),
        "generator's loss and its gradient must be fi",
    ),
    "sum": (lambda real, fake: (fake - real).sum(), generator, "critic's loss must be a mean over"),
    "sum of fakes": (critic, lambda fake: -fake.sum(), "generator's loss must be a mean over its"),
    "flipped real": (lambda r, f: (f + r).mean(), generator, "decrease with the scores of real"),
    "flipped fake": (lambda r, f: -(f + r).mean(), generator, "increase with the scores of gener"),
    "flipped": (critic, lambda fake: fake.mean(), "generator's loss must decrease with the scores"),
}


@pytest.mark.parametrize(("of_critic", "of_generator", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_loss_fails_with_a_sentence(of_critic, of_generator, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_loss(of_critic, of_generator)


@pytest.mark.parametrize(
    ("estimate", "sentence"),
    [
        (lambda loss: -loss, "the divergence must be 0 where all scores are 0, got -2"),
        (lambda loss: loss - 2, "the divergence must increase as the critic separates"),
        (torch.zeros_like, "the divergence must increase as the critic separates"),
    ],
)
def test_a_broken_divergence_fails_with_a_sentence(estimate, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_loss(critic, generator, estimate)
