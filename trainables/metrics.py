"""The metric that ranks the trials under each objective; imports nothing."""

from typing import Literal

#: By the name of the objective; lower is better.
METRICS: dict[str, Literal["w1", "critic_estimate"]] = {
    "independent_critic": "w1",
    "critic_estimate": "critic_estimate",
}
