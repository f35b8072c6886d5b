"""The methods by name: which hyperparameters exist under each, and what its paper publishes.

A method is a constraint under the Wasserstein loss, and any other loss by itself.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Loss = Literal["wasserstein", "minimax", "non_saturating"]
Constraint = Literal["gradient_penalty", "one_sided_penalty", "clip", "spectral_norm", "orthogonal"]
Architecture = Literal["mlp", "dcgan", "resnet"]
Activation = Literal["relu", "leaky_relu", "softplus", "tanh"]
Norm = Literal["none", "batch", "layer", "instance"]

DEFAULT_LOSS: Loss = "wasserstein"
DEFAULT_CONSTRAINT: Constraint = "gradient_penalty"
DEFAULT_ARCHITECTURE: Architecture = "mlp"
PENALTIES: tuple[Constraint, ...] = ("gradient_penalty", "one_sided_penalty")
#: Constraints that bound every layer by itself, so that the layers' bounds multiply.
LAYERWISE: tuple[Constraint, ...] = ("spectral_norm", "orthogonal")
CONVOLUTIONAL: tuple[Architecture, ...] = ("dcgan", "resnet")
DOWNLOADED = ("mnist", "fashion_mnist", "kmnist", "cifar10", "celeba")

#: Values that a parent may have; ``None`` among them: where it does not apply, or is left out.
Values = tuple[Any, ...]
#: Any value at all, as long as there is one.
GIVEN: Values = ("a value",)


def _when(**parents: Values) -> tuple[Mapping[str, Values], ...]:
    return (parents,)


#: A hyperparameter that exists only under certain values of others: one of the alternatives, and
#: all of it. Parents come before what depends on them.
APPLIES_WHEN: Mapping[str, tuple[Mapping[str, Values], ...]] = {
    "constraint": _when(loss=("wasserstein",)),
    "gp_weight": _when(constraint=PENALTIES),
    "clip_value": _when(constraint=("clip",)),
    "instance_noise": _when(loss=("minimax", "non_saturating")),
    "beta1": _when(optimizer=("adam", "adamw")),
    "beta2": _when(optimizer=("adam", "adamw")),
    "weight_decay": _when(optimizer=("adamw",)),
    "architecture": (*_when(generator=(None,)), *_when(critic=(None,))),
    "generator_args": _when(generator=GIVEN),
    "generator_width": _when(generator=(None,)),
    "generator_depth": _when(generator=(None,)),
    "generator_activation": _when(generator=(None,)),
    "generator_norm": _when(generator=(None,), architecture=CONVOLUTIONAL),
    "critic_args": _when(critic=GIVEN),
    "critic_width": _when(critic=(None,)),
    "critic_depth": _when(critic=(None,)),
    # An orthogonal critic has GroupSort in its place.
    "critic_activation": _when(critic=(None,), constraint=(None, *PENALTIES, "clip", LAYERWISE[0])),
    # Nor has it a normalisation, nor a spectrally normalised one: see REFUSED.
    "critic_norm": _when(
        critic=(None,), architecture=CONVOLUTIONAL, constraint=(None, *PENALTIES, "clip")
    ),
    "path": _when(dataset=("image_folder", "array", *DOWNLOADED)),
    "array_name": _when(dataset=("array",)),
    "side": _when(dataset=("image_folder", "celeba")),
    "channels": _when(dataset=("image_folder",)),
    "max_corrupt_share": _when(dataset=("image_folder",)),
    "download": _when(dataset=DOWNLOADED),
}


@dataclass(frozen=True)
class Refused:
    """Two values that must not meet, and the reason."""

    key: str
    values: Values
    other: str
    other_values: Values
    why: str


REFUSED = (
    Refused(
        "critic_norm",
        ("batch",),
        "constraint",
        PENALTIES,
        "the penalty is on the gradient of each score by its own sample, and batch normalisation "
        "makes a score depend on the whole batch (Gulrajani 2017, section 4)",
    ),
    Refused(
        "critic_norm",
        ("batch", "layer", "instance"),
        "constraint",
        LAYERWISE,
        "normalisation divides by the samples' own spread, which undoes the bound on the layers",
    ),
    Refused(
        "architecture",
        ("resnet",),
        "constraint",
        ("orthogonal",),
        "a residual block adds its input to its output, so that its slope may be 2 whatever its "
        "weights are",
    ),
    Refused(
        "cuda_graph",
        (True,),
        "constraint",
        ("orthogonal",),
        "its projection goes on until the weights are orthonormal, and a captured step cannot ask "
        "whether they are",
    ),
)

_ADAM_OF_GULRAJANI = {"beta1": 0.0, "beta2": 0.9}
_GULRAJANI = {
    "n_critic": 5,
    "optimizer": "adam",
    "critic_lr": 1e-4,
    "generator_lr": 1e-4,
    **_ADAM_OF_GULRAJANI,
    "weight_decay": 0.01,  # AdamW's own, as PyTorch has it
}
_PENALTY = {**_GULRAJANI, "gp_weight": 10.0}
_ARJOVSKY = {
    "n_critic": 5,
    "optimizer": "rmsprop",
    "critic_lr": 5e-5,
    "generator_lr": 5e-5,
    **_ADAM_OF_GULRAJANI,  # where Adam is asked for: the paper found momentum unstable
    "weight_decay": 0.01,
    "clip_value": 0.01,
}
_MIYATO = {**_GULRAJANI, "beta1": 0.5}
_GOODFELLOW = {
    "n_critic": 1,
    "optimizer": "adam",
    "critic_lr": 2e-4,
    "generator_lr": 2e-4,
    "beta1": 0.5,
    "beta2": 0.999,
    "weight_decay": 0.01,
    "instance_noise": 0.0,
}

#: What each method's paper publishes, parents first as above. Goodfellow 2014 publishes
#: ``n_critic`` (Algorithm 1, k = 1); the learning rates and ``beta1`` are Radford 2016's
#: (section 4), ``beta2`` is Adam's own. Of the settings that Miyato 2018 compares, spectral_norm
#: has A (Table 1), with five critic steps. Anil 2019 trains orthogonal critics, but publishes no
#: one setting for WGANs: they have Gulrajani's.
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "gradient_penalty": _PENALTY,
    "one_sided_penalty": _PENALTY,
    "clip": _ARJOVSKY,
    "spectral_norm": _MIYATO,
    "orthogonal": _GULRAJANI,
    "minimax": _GOODFELLOW,
    "non_saturating": _GOODFELLOW,
}

#: What each architecture is unless its search says otherwise: the MLP ours, DCGAN's channels and
#: activations Radford 2016's, the ResNet's Gulrajani 2017's (appendix F, CIFAR-10). Critics have
#: no normalisation, so that they may have any constraint.
ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "mlp": {
        "latent_dim": 32,
        "generator_width": 128,
        "generator_depth": 2,
        "generator_activation": "relu",
        "critic_width": 128,
        "critic_depth": 2,
        "critic_activation": "relu",
    },
    "dcgan": {
        "latent_dim": 100,
        "generator_width": 64,
        "generator_depth": 1,
        "generator_activation": "relu",
        "generator_norm": "batch",
        "critic_width": 64,
        "critic_depth": 1,
        "critic_activation": "leaky_relu",
        "critic_norm": "none",
    },
    "resnet": {
        "latent_dim": 128,
        "generator_width": 128,
        "generator_depth": 1,
        "generator_activation": "relu",
        "generator_norm": "batch",
        "critic_width": 128,
        "critic_depth": 2,
        "critic_activation": "relu",
        "critic_norm": "none",
    },
}

#: What each dataset is unless its search says otherwise.
DATASETS: Mapping[str, Mapping[str, Any]] = {
    **{name: {"path": "data", "download": False} for name in DOWNLOADED},
    "celeba": {"path": "data", "download": False, "side": 64},
    "image_folder": {"side": 32, "channels": 3, "max_corrupt_share": 0.01},
}


def applies(key: str, values: Mapping[str, Any]) -> bool:
    """Whether a hyperparameter exists beside these values; one that is not among them is None."""
    return key not in APPLIES_WHEN or any(
        all(_meets(values.get(parent), allowed) for parent, allowed in alternative.items())
        for alternative in APPLIES_WHEN[key]
    )


def fill(given: Mapping[str, Any], published: Mapping[str, Any]) -> dict[str, Any]:
    """Add the published value of all that applies and is left out."""
    filled = dict(given)
    for key, value in published.items():
        if key not in APPLIES_WHEN:
            filled.setdefault(key, value)
        elif filled.get(key) is None and applies(key, filled):
            filled[key] = value
    return filled


def why_no_effect(key: str, possible: Mapping[str, Collection[Any]]) -> str | None:
    """Say why a hyperparameter can never apply, and the way out; ``None`` where it can.

    ``possible`` has the values that each parent may take. A parent that is not in it may take
    any.
    """

    if _may_apply(key, possible):
        return None
    failing = [
        (parent, allowed)
        for parent, allowed in _needs(key, possible)
        if not _may_be(parent, allowed, possible)
    ]
    parent = failing[0][0]
    was = " or ".join(str(v) for v in possible[parent] if v is not None) or "not given"
    reasons = [rule.why for rule in REFUSED if (rule.key, rule.other) == (key, parent)]
    why = f", where it must be none ({reasons[-1]})" if reasons else ""
    return f"has no effect when {parent} is {was}{why}: leave {key} out, or {_way_out(failing)}"


def may_be_absent(key: str, possible: Mapping[str, Collection[Any]]) -> bool:
    """Whether a hyperparameter does not apply under some of its parents' possible values."""
    return key in APPLIES_WHEN and all(
        any(
            not _meets(value, allowed)
            for parent, allowed in alternative.items()
            for value in possible.get(parent, ())
        )
        for alternative in APPLIES_WHEN[key]
    )


def refused_together(
    possible: Mapping[str, Collection[Any]], *, where_asked: bool = False
) -> Iterator[tuple[str, str]]:
    """Keys, and why some value that they may take must not meet one that another may take.

    With ``where_asked``, a key is not asked for under values where it does not apply: these it
    does not meet.
    """
    for rule in REFUSED:
        met = [v for v in rule.values if v in possible.get(rule.key, ())]
        others = [v for v in rule.other_values if v in possible.get(rule.other, ())]
        if where_asked:
            others = [v for v in others if _may_apply(rule.key, {**possible, rule.other: (v,)})]
        if met and others:
            yield (
                rule.key,
                f"must not be {_either(met)} where {rule.other} is {_either(others)}: "
                f"{rule.why}; change the one or the other",
            )


def _either(values: Sequence[Any]) -> str:
    return " or ".join("true" if value is True else str(value) for value in values)


def _may_apply(key: str, possible: Mapping[str, Collection[Any]]) -> bool:
    return any(
        all(
            _may_be(parent, allowed, possible) and (None in allowed or _may_apply(parent, possible))
            for parent, allowed in alternative.items()
        )
        for alternative in APPLIES_WHEN.get(key, ({},))
    )


def _may_be(parent: str, allowed: Values, possible: Mapping[str, Collection[Any]]) -> bool:
    return parent not in possible or any(_meets(value, allowed) for value in possible[parent])


def _meets(value: Any, allowed: Values) -> bool:
    return value is not None if allowed is GIVEN else value in allowed


def _needs(key: str, possible: Mapping[str, Collection[Any]]) -> Iterator[tuple[str, Values]]:
    """All that must be so for a key to apply, ancestors first, by the nearest way."""
    ways = APPLIES_WHEN.get(key, ({},))
    open_ways = (w for w in ways if all(_may_be(*need, possible) for need in w.items()))
    for parent, allowed in next(open_ways, ways[0]).items():
        if None not in allowed:
            yield from _needs(parent, possible)
        yield parent, allowed


def _way_out(failing: Sequence[tuple[str, Values]]) -> str:
    ways = [f"leave {parent} out" for parent, allowed in failing if allowed == (None,)]
    ways += [f"give {parent}" for parent, allowed in failing if allowed is GIVEN]
    values = [
        f"{parent} to {' or '.join(str(v) for v in allowed if v is not None)}"
        for parent, allowed in failing
        if allowed != (None,) and allowed is not GIVEN
    ]
    return " and ".join(ways + ([f"set {' and '.join(values)}"] if values else []))
