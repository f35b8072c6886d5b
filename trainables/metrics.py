"""The metrics that rank the trials, the user's own, and the ground metrics; imports nothing."""

from typing import Literal

#: By the name of the objective; lower is better.
METRICS: dict[str, Literal["w1", "critic_estimate"]] = {
    "independent_critic": "w1",
    "critic_estimate": "critic_estimate",
}

#: The ground metric of images, unless another is given, and of searches older than the key.
DEFAULT_GROUND, EARLIER_GROUND = "energies", "pixels"

#: In the names of the user's own metrics, so that none is taken for one of these.
CUSTOM_PREFIX = "metrics/"
