"""The methods: the hyperparameters that each one has, and the values published with it.

A method is a constraint under the Wasserstein loss, or another loss by itself.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Loss = Literal[
    "wasserstein",
    "minimax",
    "non_saturating",
    "relativistic",
    "f_gan",
    "wgan_div",
    "ebgan",
    "began",
    "sliced_wasserstein",
]
Divergence = Literal[
    "kl",
    "reverse_kl",
    "pearson",
    "neyman",
    "squared_hellinger",
    "jensen_shannon",
    "total_variation",
]
Constraint = Literal["gradient_penalty", "one_sided_penalty", "clip", "spectral_norm", "orthogonal"]
Architecture = Literal["mlp", "dcgan", "resnet"]
Activation = Literal["relu", "leaky_relu", "softplus", "tanh"]
Norm = Literal["none", "batch", "layer", "instance"]
GeneratorNorm = Literal["none", "batch", "layer", "instance", "virtual"]

DEFAULT_LOSS: Loss = "wasserstein"
DEFAULT_CONSTRAINT: Constraint = "gradient_penalty"
DEFAULT_ARCHITECTURE: Architecture = "mlp"
PENALTIES: tuple[Constraint, ...] = ("gradient_penalty", "one_sided_penalty")
#: The losses whose critic compares densities: it needs samples that overlap, or a penalty.
GANS: tuple[Loss, ...] = ("minimax", "non_saturating", "relativistic", "f_gan")
#: Those of them under which a score is the logit of a sample being real.
CLASSIFYING: tuple[Loss, ...] = ("minimax", "non_saturating")
#: The losses whose critic is an autoencoder.
AUTOENCODING: tuple[Loss, ...] = ("ebgan", "began")
#: The losses that train no critic: they compare samples directly.
CRITIC_FREE: tuple[Loss, ...] = ("sliced_wasserstein",)
WITH_CRITIC: tuple[Loss, ...] = tuple(loss for loss in get_args(Loss) if loss not in CRITIC_FREE)
#: The losses whose critic scores samples by a last layer.
SCORING: tuple[Loss, ...] = tuple(loss for loss in WITH_CRITIC if loss not in AUTOENCODING)
#: Constraints that bound each layer; the product of the layers' bounds bounds the critic.
LAYERWISE: tuple[Constraint, ...] = ("spectral_norm", "orthogonal")
CONVOLUTIONAL: tuple[Architecture, ...] = ("dcgan", "resnet")
DOWNLOADED = ("mnist", "fashion_mnist", "kmnist", "cifar10", "celeba")

#: Values of a hyperparameter. ``None`` stands for one that does not apply or is left out.
Values = tuple[Any, ...]
#: Stands for all values but ``None``.
ANY_VALUE = object()
#: Stands for all values of a weight but 0, which turns it off.
ABOVE_ZERO = object()
#: The values that a hyperparameter must have one of: ``Values``, ``ANY_VALUE`` or ``ABOVE_ZERO``.
Allowed = Any
#: The parents of a hyperparameter, and the values that they must have.
Condition = Mapping[str, Allowed]


def _when(**parents: Allowed) -> tuple[Condition, ...]:
    return (parents,)


# The loss is a key of another section: a section by itself does not know it.
_ANY_CRITIC = (None, *WITH_CRITIC)
_BUILT_IN_CRITIC: Condition = {"critic": (None,), "loss": _ANY_CRITIC}


#: The conditional hyperparameters. Each applies if at least one of its conditions holds; all others
#: apply always. Parents stand before the keys that depend on them.
APPLIES_WHEN: Mapping[str, tuple[Condition, ...]] = {
    "constraint": _when(loss=("wasserstein",)),
    "gp_weight": _when(constraint=PENALTIES),
    "clip_value": _when(constraint=("clip",)),
    "divergence": _when(loss=("f_gan",)),
    "generator_loss": _when(loss=("f_gan",)),
    "div_weight": _when(loss=("wgan_div",)),
    "div_power": _when(loss=("wgan_div",)),
    "margin": _when(loss=("ebgan",)),
    "pulling_away_weight": _when(loss=("ebgan",)),
    "diversity_ratio": _when(loss=("began",)),
    "lambda_k": _when(loss=("began",)),
    "num_projections": _when(loss=("sliced_wasserstein",)),
    "label_smoothing": _when(loss=CLASSIFYING),
    "instance_noise": _when(loss=GANS),
    "r1_weight": _when(loss=GANS),
    "r2_weight": _when(loss=GANS),
    # Of a critic whose last layer is linear; without it, or with an autoencoder, none of these.
    "feature_matching_weight": _when(loss=SCORING),
    "historical_averaging_weight": _when(loss=WITH_CRITIC),
    # Not under the layerwise constraints: see REFUSED.
    "critic_dropout": _when(loss=SCORING, constraint=(None, *PENALTIES, "clip")),
    "consistency_weight": _when(critic_dropout=ABOVE_ZERO),
    "consistency_margin": _when(consistency_weight=ABOVE_ZERO),
    "n_critic": _when(loss=WITH_CRITIC),
    "critic_lr": _when(loss=WITH_CRITIC),
    "beta1": _when(optimizer=("adam", "adamw")),
    "beta2": _when(optimizer=("adam", "adamw")),
    "weight_decay": _when(optimizer=("adamw",)),
    "critic": _when(loss=_ANY_CRITIC),
    "architecture": (*_when(generator=(None,)), _BUILT_IN_CRITIC),
    "generator_args": _when(generator=ANY_VALUE),
    "generator_width": _when(generator=(None,)),
    "generator_depth": _when(generator=(None,)),
    "generator_activation": _when(generator=(None,)),
    "generator_norm": _when(generator=(None,), architecture=CONVOLUTIONAL),
    "critic_args": _when(critic=ANY_VALUE),
    "critic_width": (_BUILT_IN_CRITIC,),
    "critic_depth": (_BUILT_IN_CRITIC,),
    "critic_code_dim": _when(critic=(None,), loss=AUTOENCODING),
    # Not where each score must follow from its own sample: see REFUSED.
    "minibatch_discrimination": _when(
        critic=(None,),
        loss=(None, "wasserstein", *GANS),
        constraint=(None, "clip"),
        r1_weight=(None, 0),
        r2_weight=(None, 0),
        consistency_weight=(None, 0),
    ),
    "minibatch_dims": _when(minibatch_discrimination=ABOVE_ZERO),
    # The activation of an orthogonal critic is GroupSort.
    "critic_activation": _when(
        **_BUILT_IN_CRITIC, constraint=(None, *PENALTIES, "clip", LAYERWISE[0])
    ),
    # No normalisation under the layerwise constraints: see REFUSED.
    "critic_norm": _when(
        **_BUILT_IN_CRITIC, architecture=CONVOLUTIONAL, constraint=(None, *PENALTIES, "clip")
    ),
    "path": _when(dataset=("image_folder", "array", *DOWNLOADED)),
    "array_name": _when(dataset=("array",)),
    "kind": _when(dataset=("array",)),
    "scale": _when(dataset=("array",)),
    "side": _when(dataset=("image_folder", "celeba")),
    "channels": _when(dataset=("image_folder",)),
    "max_corrupt_share": _when(dataset=("image_folder",)),
    "download": _when(dataset=DOWNLOADED),
}


@dataclass(frozen=True)
class Refused:
    """A forbidden combination: ``key`` has one of ``values``, ``other`` one of ``other_values``."""

    key: str
    values: Allowed
    other: str
    other_values: Allowed
    reason: str

    def met(self, possible: Mapping[str, Collection[Any]]) -> list[Any]:
        """Return those possible values of ``key`` that are forbidden with some of the other key."""
        values = possible.get(self.key, ())
        if self.values is ABOVE_ZERO:
            return [v for v in values if _meets(v, ABOVE_ZERO)]
        return [v for v in self.values if v in values]

    def others(self, possible: Mapping[str, Collection[Any]]) -> list[Any]:
        """Return those possible values of the other key that must not meet the values of ``key``.

        Args:
            possible: The values that each key may take; a range is one value, above 0.
        """
        return [v for v in possible.get(self.other, ()) if _meets(v, self.other_values)]


_COUPLED = (
    "the penalty is on the gradient of each score with respect to its own sample, and batch "
    "normalisation makes a score depend on the whole batch (Gulrajani 2017, section 4)"
)

_BATCHED = (
    "the penalty is on the gradient of each score with respect to its own sample, and minibatch "
    "discrimination makes a score depend on the whole batch"
)

REFUSED = (
    Refused("critic_norm", ("batch",), "constraint", PENALTIES, _COUPLED),
    Refused("critic_norm", ("batch",), "loss", ("wgan_div",), _COUPLED),
    Refused("critic_norm", ("batch",), "r1_weight", ABOVE_ZERO, _COUPLED),
    Refused("critic_norm", ("batch",), "r2_weight", ABOVE_ZERO, _COUPLED),
    Refused("minibatch_discrimination", ABOVE_ZERO, "constraint", PENALTIES, _BATCHED),
    Refused("minibatch_discrimination", ABOVE_ZERO, "loss", ("wgan_div",), _BATCHED),
    Refused("minibatch_discrimination", ABOVE_ZERO, "r1_weight", ABOVE_ZERO, _BATCHED),
    Refused("minibatch_discrimination", ABOVE_ZERO, "r2_weight", ABOVE_ZERO, _BATCHED),
    Refused(
        "minibatch_discrimination",
        ABOVE_ZERO,
        "consistency_weight",
        ABOVE_ZERO,
        "the term compares two scores of each sample, and minibatch discrimination makes a score "
        "depend on the whole batch",
    ),
    Refused(
        "minibatch_discrimination",
        ABOVE_ZERO,
        "constraint",
        LAYERWISE,
        "it sums over the batch, so that its Lipschitz constant may be above 1, which undoes the "
        "bound on the layers",
    ),
    Refused(
        "critic_norm",
        ("batch", "layer", "instance"),
        "constraint",
        LAYERWISE,
        "normalisation divides by a standard deviation, which undoes the bound on the layers",
    ),
    Refused(
        "critic_dropout",
        ABOVE_ZERO,
        "constraint",
        LAYERWISE,
        "dropout divides what it keeps by the share that it keeps, which undoes the bound on the "
        "layers",
    ),
    Refused(
        "critic_dropout", ABOVE_ZERO, "critic", ANY_VALUE, "a custom critic has layers of its own"
    ),
    Refused(
        "architecture",
        ("resnet",),
        "constraint",
        ("orthogonal",),
        "a residual block adds its input to its output, so its Lipschitz constant may be 2 for any "
        "weights",
    ),
    Refused(
        "cuda_graph",
        (True,),
        "constraint",
        ("orthogonal",),
        "its projection iterates until the weights are orthonormal, and a captured step cannot "
        "test whether they are",
    ),
    Refused(
        "cuda_graph",
        (True,),
        "critic_dropout",
        ABOVE_ZERO,
        "dropout draws from PyTorch's global generator, and a captured step only from the trial's",
    ),
)

#: Of keys that have one default under every method: PyTorch's, and Wei 2018's.
_OF_ALL = {"weight_decay": 0.01, "consistency_margin": 0.0}
_ADAM_OF_GULRAJANI = {"beta1": 0.0, "beta2": 0.9}
_GULRAJANI = {
    "n_critic": 5,
    "optimizer": "adam",
    "critic_lr": 1e-4,
    "generator_lr": 1e-4,
    **_ADAM_OF_GULRAJANI,
    **_OF_ALL,
}
_PENALTY = {**_GULRAJANI, "gp_weight": 10.0}
_ARJOVSKY = {
    "n_critic": 5,
    "optimizer": "rmsprop",
    "critic_lr": 5e-5,
    "generator_lr": 5e-5,
    **_ADAM_OF_GULRAJANI,  # for a search that sets Adam: the paper found momentum unstable
    "clip_value": 0.01,
    **_OF_ALL,
}
_MIYATO = {**_GULRAJANI, "beta1": 0.5}
_OVERLAP = {"instance_noise": 0.0, "r1_weight": 0.0, "r2_weight": 0.0}
_RADFORD = {
    "n_critic": 1,
    "optimizer": "adam",
    "critic_lr": 2e-4,
    "generator_lr": 2e-4,
    "beta1": 0.5,
    "beta2": 0.999,
    **_OF_ALL,
}
_GOODFELLOW = {**_RADFORD, "label_smoothing": 0.0, **_OVERLAP}
_HUANG = {
    **_RADFORD,
    **_ADAM_OF_GULRAJANI,
    **_OVERLAP,
    "r1_weight": 0.05,
    "r2_weight": 0.05,
}
_NOWOZIN = {
    **_RADFORD,
    "divergence": "jensen_shannon",
    "generator_loss": "alternative",
    **_OVERLAP,
}
_WU = {
    **_GULRAJANI,
    "critic_lr": 2e-4,
    "generator_lr": 2e-4,
    "div_weight": 2.0,
    "div_power": 6.0,
}
_ZHAO = {
    **_RADFORD,
    "critic_lr": 1e-3,
    "generator_lr": 1e-3,
    "margin": 10.0,
    "pulling_away_weight": 0.1,
}
_BERTHELOT = {
    **_RADFORD,
    "critic_lr": 8e-5,
    "generator_lr": 8e-5,
    "diversity_ratio": 0.5,
    "lambda_k": 0.001,
}
_DESHPANDE = {
    "optimizer": "adam",
    "num_projections": 1000,
    "generator_lr": 1e-4,
    "beta1": 0.5,
    "beta2": 0.999,
    **_OF_ALL,
}

#: The values published with each method, parents first. For the GAN losses, ``n_critic`` is
#: Goodfellow 2014's (Algorithm 1, k = 1), the learning rates and ``beta1`` are Radford 2016's
#: (section 4), and ``beta2`` is Adam's default. For spectral_norm they are setting A of Miyato 2018
#: (Table 1), with five critic steps. For relativistic they are those with which Huang 2024 starts
#: on CIFAR-10. f_gan has the Adam of Radford 2016, too, and the generator's loss that Nowozin 2016
#: advises (section 3.2); wgan_div the weight and the power of Wu 2018, with Gulrajani's five critic
#: steps. ebgan has the learning rate and the weight of Zhao 2016, and the margin of its grids
#: (section 4.1), with Radford's Adam. began has the ratio and the gain of Berthelot 2017, and the
#: Adam of its best known code, within the paper's range. sliced_wasserstein has the Adam of
#: Deshpande's code, which has 10,000 projections for large images; small ones need fewer. Anil 2019
#: has no single setting for WGANs: orthogonal has Gulrajani 2017's.
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "gradient_penalty": _PENALTY,
    "one_sided_penalty": _PENALTY,
    "clip": _ARJOVSKY,
    "spectral_norm": _MIYATO,
    "orthogonal": _GULRAJANI,
    "minimax": _GOODFELLOW,
    "non_saturating": _GOODFELLOW,
    "relativistic": _HUANG,
    "f_gan": _NOWOZIN,
    "wgan_div": _WU,
    "ebgan": _ZHAO,
    "began": _BERTHELOT,
    "sliced_wasserstein": _DESHPANDE,
}

#: Defaults of each architecture. DCGAN's channels and activations are Radford 2016's, the values of
#: the ResNet Gulrajani 2017's (appendix F, CIFAR-10); those of the MLP are this project's. Codes of
#: convolutional autoencoders have the length of Berthelot 2017's. Critics have no normalisation, so
#: that every constraint is possible. ``minibatch_dims`` is Salimans 2016's.
ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "mlp": {
        "latent_dim": 32,
        "generator_width": 128,
        "generator_depth": 2,
        "generator_activation": "relu",
        "critic_width": 128,
        "critic_depth": 2,
        "critic_code_dim": 32,
        "critic_activation": "relu",
        "minibatch_dims": 5,
    },
    "dcgan": {
        "latent_dim": 100,
        "generator_width": 64,
        "generator_depth": 1,
        "generator_activation": "relu",
        "generator_norm": "batch",
        "critic_width": 64,
        "critic_depth": 1,
        "critic_code_dim": 64,
        "critic_activation": "leaky_relu",
        "critic_norm": "none",
        "minibatch_dims": 5,
    },
    "resnet": {
        "latent_dim": 128,
        "generator_width": 128,
        "generator_depth": 1,
        "generator_activation": "relu",
        "generator_norm": "batch",
        "critic_width": 128,
        "critic_depth": 2,
        "critic_code_dim": 64,
        "critic_activation": "relu",
        "critic_norm": "none",
        "minibatch_dims": 5,
    },
}

#: Defaults of each dataset.
DATASETS: Mapping[str, Mapping[str, Any]] = {
    **{name: {"path": "data", "download": False} for name in DOWNLOADED},
    "celeba": {"path": "data", "download": False, "side": 64},
    "image_folder": {"side": 32, "channels": 3, "max_corrupt_share": 0.01},
}


def applies(key: str, values: Mapping[str, Any]) -> bool:
    """Tell whether a hyperparameter applies under these values of others.

    Args:
        key: The hyperparameter.
        values: The values of other hyperparameters; one that is missing counts as ``None``.
    """
    return key not in APPLIES_WHEN or any(
        all(_meets(values.get(parent), allowed) for parent, allowed in alternative.items())
        for alternative in APPLIES_WHEN[key]
    )


def fill(given: Mapping[str, Any], published: Mapping[str, Any]) -> dict[str, Any]:
    """Add the published value of every key that applies and is left out.

    Args:
        given: The values of a section, as its author gave them.
        published: Defaults, parents before the keys that depend on them.
    """
    filled = dict(given)
    for key, value in published.items():
        if key not in APPLIES_WHEN:
            filled.setdefault(key, value)
        elif filled.get(key) is None and applies(key, filled):
            filled[key] = value
    return filled


def why_no_effect(key: str, possible: Mapping[str, Collection[Any]]) -> str | None:
    """Explain why a hyperparameter can never apply, and the way out; ``None`` where it can.

    Args:
        key: The hyperparameter.
        possible: The values that each parent may take; a parent that is missing may take any.
    """
    if _may_apply(key, possible):
        return None
    failing = [
        (parent, allowed)
        for parent, allowed in _conditions(key, possible)
        if not _may_be(parent, allowed, possible)
    ]
    parent = failing[0][0]
    actual = " or ".join(str(v) for v in possible[parent] if v is not None) or "not given"
    rules = [
        rule
        for rule in REFUSED
        if (rule.key, rule.other) == (key, parent) and rule.others(possible)
    ]
    reasons = [rule.reason for rule in rules]
    off = "0" if rules and rules[-1].values is ABOVE_ZERO else "none"
    rule = f", where it must be {off} ({reasons[-1]})" if reasons else ""
    if parent == "loss" and set(possible["loss"]) <= set(CRITIC_FREE):
        rule = ", which trains no critic"
    return f"has no effect when {parent} is {actual}{rule}: leave {key} out, or {_way_out(failing)}"


def may_be_absent(key: str, possible: Mapping[str, Collection[Any]]) -> bool:
    """Tell whether a hyperparameter does not apply under some possible values of its parents.

    Args:
        key: The hyperparameter.
        possible: The values that each parent may take.
    """
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
    """Yield each key of which a possible value must not be combined with that of another key.

    Args:
        possible: The values that each key may take.
        where_asked: Whether a key is proposed only where it applies, as in a search. It then does
            not meet values of the other key under which it does not apply.

    Yields:
        The key, and the rule that it breaks with the reason and the way out.
    """
    for rule in REFUSED:
        met = rule.met(possible)
        others = rule.others(possible)
        if where_asked:
            others = [v for v in others if _may_apply(rule.key, {**possible, rule.other: (v,)})]
        if met and others:
            yield (
                rule.key,
                f"must not be {_named(rule.values, met)} where {rule.other} is "
                f"{_named(rule.other_values, others)}: "
                f"{rule.reason}; change one of the two",
            )


def _either(values: Sequence[Any]) -> str:
    return " or ".join("true" if value is True else str(value) for value in values)


def _named(forbidden: Allowed, values: Sequence[Any]) -> str:
    return "above 0" if forbidden is ABOVE_ZERO else _either(values)


def _may_apply(key: str, possible: Mapping[str, Collection[Any]]) -> bool:
    return any(
        all(
            _may_be(parent, allowed, possible)
            and (_meets(None, allowed) or _may_apply(parent, possible))
            for parent, allowed in alternative.items()
        )
        for alternative in APPLIES_WHEN.get(key, ({},))
    )


def _may_be(parent: str, allowed: Allowed, possible: Mapping[str, Collection[Any]]) -> bool:
    return parent not in possible or any(_meets(value, allowed) for value in possible[parent])


def _meets(value: Any, allowed: Allowed) -> bool:
    if allowed is ABOVE_ZERO:
        return value is not None and value != 0
    return value is not None if allowed is ANY_VALUE else value in allowed


def _conditions(key: str, possible: Mapping[str, Collection[Any]]) -> Iterator[tuple[str, Allowed]]:
    """Yield the parents that a key needs, with the values allowed, ancestors first.

    Of a key's alternative conditions it is the first that can hold, or else the first.
    """
    alternatives = APPLIES_WHEN.get(key, ({},))
    can_hold = (a for a in alternatives if all(_may_be(*item, possible) for item in a.items()))
    for parent, allowed in next(can_hold, alternatives[0]).items():
        if not _meets(None, allowed):
            yield from _conditions(parent, possible)
        yield parent, allowed


def _way_out(failing: Sequence[tuple[str, Allowed]]) -> str:
    ways = [f"leave {parent} out" for parent, allowed in failing if allowed == (None,)]
    ways += [f"give {parent}" for parent, allowed in failing if allowed is ANY_VALUE]
    values = [
        f"{parent} above 0"
        if allowed is ABOVE_ZERO
        else f"{parent} to {' or '.join(str(v) for v in allowed if v is not None)}"
        for parent, allowed in failing
        if allowed != (None,) and allowed is not ANY_VALUE
    ]
    return " and ".join(ways + ([f"set {' and '.join(values)}"] if values else []))
