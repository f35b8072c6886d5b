"""How both are trained."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainables.config.base import (
    Conditional,
    Real,
    Whole,
)
from trainables.config.methods import (
    DEFAULT_CONSTRAINT,
    DEFAULT_LOSS,
    PUBLISHED,
    Constraint,
    Loss,
    fill,
)


class TrainingConfig(Conditional):
    """How a trial trains: Algorithm 1 of Gulrajani 2017, Arjovsky 2017 or Goodfellow 2014.

    A key left out gets the value that its method's own paper publishes. A key that does not
    apply (``clip_value`` under a penalty) is ``None``, and giving it a value is an error.
    """

    loss: Loss = Field(
        default=DEFAULT_LOSS,
        description="What the players play for. wasserstein: WGAN (Arjovsky 2017, eq. 3). "
        "minimax: the GAN of Goodfellow 2014, eq. 1. non_saturating: the same critic, and a "
        "generator that maximises log D(G(z)) (Goodfellow 2014, section 3).",
    )
    constraint: Constraint | None = Field(
        default=None,
        description="What keeps the critic Lipschitz; gradient_penalty. wasserstein only. "
        "gradient_penalty: two-sided (Gulrajani 2017, eq. 3). one_sided_penalty: WGAN-LP (Petzka "
        "2018, eq. 8). clip: every weight in [-clip_value, clip_value] (Arjovsky 2017, "
        "Algorithm 1). spectral_norm: every layer's weights over their largest singular value "
        "(Miyato 2018, eq. 8). orthogonal: orthonormal weights and GroupSort (Anil 2019).",
    )
    gp_weight: Real | None = Field(
        default=None, gt=0, description="Weight of the penalty (lambda); 10. Penalties only."
    )
    clip_value: Real | None = Field(
        default=None, gt=0, description="Bound on every critic weight (c); 0.01. Clipping only."
    )
    instance_noise: Real | None = Field(
        default=None,
        ge=0,
        description="Standard deviation, in the data's units, of the Gaussian noise on all that "
        "the critic sees (Arjovsky & Bottou 2017, section 3); 0. minimax and non_saturating only.",
    )
    n_critic: Whole = Field(
        default=5,
        ge=1,
        le=1000,
        description="Critic steps per generator step; 5, under a GAN loss 1.",
    )
    batch_size: Whole = Field(
        default=64, ge=2, le=65536, description="Samples in a step of either player."
    )
    optimizer: Literal["adam", "rmsprop", "adamw"] = Field(
        default="adam", description="rmsprop under clipping, else adam, unless given."
    )
    critic_lr: Real = Field(
        default=1e-4,
        gt=0,
        description="Critic's learning rate; 1e-4, under clipping 5e-5, under a GAN loss 2e-4.",
    )
    generator_lr: Real = Field(
        default=1e-4,
        gt=0,
        description="Generator's learning rate; 1e-4, under clipping 5e-5, under a GAN loss 2e-4.",
    )
    beta1: Real | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Adam's first decay; 0, under spectral_norm and a GAN loss 0.5. Adam and "
        "AdamW only.",
    )
    beta2: Real | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Adam's second decay; 0.9, under a GAN loss 0.999. Adam and AdamW only.",
    )
    weight_decay: Real | None = Field(
        default=None, ge=0, description="AdamW's, of both players; 0.01. AdamW only."
    )
    lr_decay: Literal["constant", "linear"] = Field(
        default="constant",
        description="linear: both learning rates fall to zero at asha.max_generator_steps "
        "(Gulrajani 2017, appendix F).",
    )
    ema_decay: Real = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Above 0, the exponential moving average of the generator's weights, which "
        "keeps this much at each step, is what is scored and saved (Yazici 2019).",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="bfloat16: the networks compute in it by autocast; weights, losses and "
        "penalties stay float32.",
    )
    compile: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Whether torch.compile makes the networks' code."
    )
    cuda_graph: Annotated[bool, Field(strict=True)] = Field(
        default=False,
        description="Whether a generator step, its critic steps included, is captured as a CUDA "
        "graph and launched by one call: for GPUs, on a CPU it changes nothing. Unmeasured. "
        "Networks of your own must read no number back from the GPU. Not under orthogonal.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_published_values(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        filled = fill({"loss": DEFAULT_LOSS} | dict(given), {"constraint": DEFAULT_CONSTRAINT})
        method = filled["constraint" if filled["loss"] == "wasserstein" else "loss"]
        return fill(filled, PUBLISHED.get(method, {}) if isinstance(method, str) else {})
