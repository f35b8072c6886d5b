"""The methods by name: which hyperparameters exist under each, and what its paper publishes.

A method is a constraint under the Wasserstein loss, and any other loss by itself.
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal

Loss = Literal["wasserstein", "minimax", "non_saturating"]
Constraint = Literal["gradient_penalty", "one_sided_penalty", "clip"]

DEFAULT_LOSS: Loss = "wasserstein"
DEFAULT_CONSTRAINT: Constraint = "gradient_penalty"

#: A hyperparameter that exists only under certain values of another one; parents come first.
APPLIES_WHEN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "constraint": ("loss", ("wasserstein",)),
    "gp_weight": ("constraint", ("gradient_penalty", "one_sided_penalty")),
    "clip_value": ("constraint", ("clip",)),
    "instance_noise": ("loss", ("minimax", "non_saturating")),
    "beta1": ("optimizer", ("adam",)),
    "beta2": ("optimizer", ("adam",)),
}

_ADAM_OF_GULRAJANI = {"beta1": 0.0, "beta2": 0.9}
_GULRAJANI = {
    "n_critic": 5,
    "optimizer": "adam",
    "critic_lr": 1e-4,
    "generator_lr": 1e-4,
    **_ADAM_OF_GULRAJANI,
    "gp_weight": 10.0,
}
_ARJOVSKY = {
    "n_critic": 5,
    "optimizer": "rmsprop",
    "critic_lr": 5e-5,
    "generator_lr": 5e-5,
    **_ADAM_OF_GULRAJANI,  # where Adam is asked for: the paper found momentum unstable
    "clip_value": 0.01,
}
_GOODFELLOW = {
    "n_critic": 1,
    "optimizer": "adam",
    "critic_lr": 2e-4,
    "generator_lr": 2e-4,
    "beta1": 0.5,
    "beta2": 0.999,
    "instance_noise": 0.0,
}

#: What each method's paper publishes, parents first as above. Goodfellow 2014 publishes
#: ``n_critic`` (Algorithm 1, k = 1); the learning rates and ``beta1`` are Radford 2016's
#: (section 4), ``beta2`` is Adam's own.
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "gradient_penalty": _GULRAJANI,
    "one_sided_penalty": _GULRAJANI,
    "clip": _ARJOVSKY,
    "minimax": _GOODFELLOW,
    "non_saturating": _GOODFELLOW,
}


def why_no_effect(key: str, possible: Mapping[str, Collection[Any]]) -> str | None:
    """Say why a hyperparameter can never apply, and the way out; ``None`` where it can.

    ``possible`` has the values that each parent may take. A parent that is not in it may take
    any.
    """
    needs, child = [], key
    while child in APPLIES_WHEN:
        child, values = APPLIES_WHEN[child]
        needs.insert(0, (child, values))
    failing = [
        (parent, values)
        for parent, values in needs
        if parent in possible and not set(values) & set(possible[parent])
    ]
    if not failing:
        return None
    was = " or ".join(map(str, possible[failing[0][0]]))
    ways = " and ".join(f"{parent} to {' or '.join(values)}" for parent, values in failing)
    return f"has no effect when {failing[0][0]} is {was}: leave {key} out, or set {ways}"
