"""The ends of ranges: which values lie there, and what a key's own bounds allow past them."""

from typing import Any

import pytest

from tuner.space.domains import Range
from tuner.space.ends import end_of, limited

LOG = Range[float](low=1e-4, high=1.0, log=True)
WHOLE = Range[int](low=1, high=5)


@pytest.mark.parametrize(
    ("key", "domain", "value", "end"),
    [
        ("training.critic_lr", LOG, 0.9, "high"),
        ("training.critic_lr", LOG, 1.1e-4, "low"),
        ("training.critic_lr", LOG, 0.1, None),  # a quarter of the magnitudes below the end
        ("training.n_critic", WHOLE, 5, "high"),
        ("training.n_critic", WHOLE, 4, None),
        ("training.n_critic", WHOLE, 1, None),  # a critic takes no fewer steps than one
        ("training.n_critic", Range[int](low=1, high=1000), 1000, None),
        ("training.beta1", Range[float](low=0.0, high=0.99), 0.98, None),
    ],
)
def test_a_value_is_at_an_end_of_its_range_if_the_range_could_go_on(
    key: str, domain: Any, value: float, end: str | None
) -> None:
    assert end_of(key, domain, value) == end


@pytest.mark.parametrize(
    ("key", "domain", "end", "moved", "limit"),
    [
        ("training.critic_lr", LOG, "high", 3.0, 3.0),  # without a bound
        ("training.n_critic", WHOLE, "low", -1, 1),
        ("training.div_power", Range[float](low=2.0, high=10.0), "high", 14.0, 12.0),
        ("training.gp_weight", Range[float](low=1.0, high=9.0), "low", -1.0, 0.5),  # above 0
        ("training.label_smoothing", Range[float](low=0.0, high=0.4), "high", 0.5, 0.45),
    ],
)
def test_a_range_goes_as_far_as_its_key_allows(
    key: str, domain: Any, end: Any, moved: float, limit: float
) -> None:
    assert limited(key, domain, end, moved) == pytest.approx(limit)
