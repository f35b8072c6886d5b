"""Contracts that every network, loss, constraint and dataset keeps, to test your own by one line.

Each function raises ``AssertionError`` with a sentence that names the rule and what broke it. They
need no test framework. In a test file of your own:

    from trainables.contracts import check_generator
    import nets

    def test_generator():
        check_generator(nets.Generator, latent_dim=16, sample_shape=(1, 28, 28), width=64)
"""

from trainables.contracts.constraints import check_constraint
from trainables.contracts.datasets import check_dataset
from trainables.contracts.losses import check_loss
from trainables.contracts.networks import check_critic, check_generator
from trainables.contracts.penalties import check_penalty

__all__ = [
    "check_constraint",
    "check_critic",
    "check_dataset",
    "check_generator",
    "check_loss",
    "check_penalty",
]
