"""The training of the generator and the critic."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from trainables.config.base import Conditional, Flag, Real, Whole
from trainables.config.methods import (
    DEFAULT_CONSTRAINT,
    DEFAULT_LOSS,
    PUBLISHED,
    Constraint,
    Divergence,
    Loss,
    fill,
)


class TrainingConfig(Conditional):
    """The training of a trial: Algorithm 1 of Gulrajani 2017, Arjovsky 2017 or Goodfellow 2014.

    A key that is left out gets the value published with the method. A key that does not apply
    (``clip_value`` under a penalty) is ``None``, and giving it a value is an error.
    """

    loss: Loss = Field(
        default=DEFAULT_LOSS,
        description="Loss of both networks. wasserstein: WGAN (Arjovsky 2017, eq. 3). minimax: the "
        "GAN of Goodfellow 2014, eq. 1. non_saturating: the same loss of the critic, and a "
        "generator that maximises log D(G(z)) (Goodfellow 2014, section 3). relativistic: R3GAN, "
        "where each real sample is compared with a generated one (Huang 2024, eq. 2). f_gan: a "
        "bound on any f-divergence (Nowozin 2016, eq. 7). wgan_div: the Wasserstein divergence "
        "(Wu 2018). ebgan: the critic is an autoencoder, which reconstructs real samples well and "
        "generated ones badly (Zhao 2016). began: the same, with a balance between the two "
        "(Berthelot 2017). sliced_wasserstein: the mean W1 of random 1-D projections, without a "
        "critic (Deshpande 2018).",
    )
    constraint: Constraint | None = Field(
        default=None,
        description="How the critic is kept Lipschitz. Default: gradient_penalty. Only under "
        "wasserstein. gradient_penalty: two-sided (Gulrajani 2017, eq. 3). one_sided_penalty: "
        "WGAN-LP (Petzka 2018, eq. 8). clip: every weight in [-clip_value, clip_value] (Arjovsky "
        "2017, Algorithm 1). spectral_norm: the weights of every layer divided by their largest "
        "singular value (Miyato 2018, eq. 8). orthogonal: orthonormal weights and GroupSort (Anil "
        "2019).",
    )
    gp_weight: Real | None = Field(
        default=None,
        gt=0,
        description="Weight of the gradient penalty (lambda). Default: 10. Only under "
        "gradient_penalty and one_sided_penalty.",
    )
    clip_value: Real | None = Field(
        default=None,
        gt=0,
        description="Bound on every weight of the critic (c). Default: 0.01. Only under clip.",
    )
    divergence: Divergence | None = Field(
        default=None,
        description="The divergence of real from generated samples that the generator lowers "
        "(Nowozin 2016, table 1). Default: jensen_shannon. Only under f_gan.",
    )
    generator_loss: Literal["saturating", "alternative"] | None = Field(
        default=None,
        description="saturating: the generator descends the bound, -E[f*(g(v))]. alternative: it "
        "raises E[g(v)] (Nowozin 2016, section 3.2). Default: alternative. Only under f_gan.",
    )
    div_weight: Real | None = Field(
        default=None,
        gt=0,
        description="k of k times the mean of the gradient norm to the power p, between real and "
        "generated samples (Wu 2018). Default: 2. Only under wgan_div.",
    )
    div_power: Real | None = Field(
        default=None,
        ge=2,
        le=12,
        description="p of the same term. Default: 6. Only under wgan_div.",
    )
    margin: Real | None = Field(
        default=None,
        gt=0,
        description="The error above which a generated sample's reconstruction no longer adds to "
        "the critic's loss (m; Zhao 2016, eq. 1). An error is the L2 norm over the whole sample, "
        "in the data's units, as w1 is. Default: 10. Only under ebgan.",
    )
    pulling_away_weight: Real | None = Field(
        default=None,
        ge=0,
        description="Weight of the pulling-away term in the generator's loss: the mean squared "
        "cosine between the codes of two generated samples (Zhao 2016, section 2.4). Default: "
        "0.1. Only under ebgan.",
    )
    diversity_ratio: Real | None = Field(
        default=None,
        gt=0,
        le=1,
        description="The error of generated samples' reconstructions, as a share of that of real "
        "ones, that the training keeps to (gamma; Berthelot 2017, section 3.4). Lower: better "
        "samples of less variety. Default: 0.5. Only under began.",
    )
    lambda_k: Real | None = Field(
        default=None,
        gt=0,
        le=1,
        description="How fast that balance is restored: the learning rate of k, the weight of "
        "generated samples in the critic's loss (Berthelot 2017, section 3.4). Default: 0.001. "
        "Only under began.",
    )
    num_projections: Whole | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Random directions on which each batch is projected. Default: 1,000. Only "
        "under sliced_wasserstein.",
    )
    label_smoothing: Real | None = Field(
        default=None,
        ge=0,
        lt=0.5,
        description="One-sided label smoothing: the critic's target is 1 minus it for real "
        "samples, and 0 for generated ones (Salimans 2016, section 3.4; there 0.1). Default: 0. "
        "Only under minimax and non_saturating.",
    )
    instance_noise: Real | None = Field(
        default=None,
        ge=0,
        description="Standard deviation, in the data's units, of Gaussian noise that is added to "
        "every input of the critic (Arjovsky & Bottou 2017, section 3). Default: 0. Only under "
        "minimax, non_saturating, relativistic and f_gan.",
    )
    r1_weight: Real | None = Field(
        default=None,
        ge=0,
        description="R1: gamma of gamma / 2 times the mean squared gradient norm of the critic at "
        "real samples (Mescheder 2018, eq. 9; there 10). Some public codes omit the 2. Default: 0, "
        "under relativistic 0.05. Only under minimax, non_saturating, relativistic and f_gan.",
    )
    r2_weight: Real | None = Field(
        default=None,
        ge=0,
        description="R2: the same at generated samples (Mescheder 2018, eq. 10). Default: 0, under "
        "relativistic 0.05. Only under minimax, non_saturating, relativistic and f_gan.",
    )
    feature_matching_weight: Real | None = Field(
        default=None,
        ge=0,
        description="Feature matching: weight, in the generator's loss, of the squared distance "
        "between the means of the critic's features of real and of generated samples. The features "
        "are the inputs of its last layer (Salimans 2016, section 3.1; there the term is all of "
        "the loss, which a large weight comes near). A custom critic must be an nn.Sequential that "
        "ends in a Linear layer. 0: none, as by default. Not under ebgan, began and "
        "sliced_wasserstein.",
    )
    historical_averaging_weight: Real | None = Field(
        default=None,
        ge=0,
        description="Historical averaging: weight, in the loss of either player, of the squared "
        "distance of its weights from their mean over all its steps so far (Salimans 2016, section "
        "3.3, which gives no value). 0: none, as by default. Not under sliced_wasserstein.",
    )
    critic_dropout: Real | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Dropout rate of the critic while it trains, after each hidden layer; in a "
        "resnet after each block but the first. 0: none, as by default. Not under spectral_norm, "
        "orthogonal, ebgan, began and sliced_wasserstein, with cuda_graph, or for a custom critic.",
    )
    consistency_weight: Real | None = Field(
        default=None,
        ge=0,
        description="CT-GAN: weight, in the critic's loss, of the mean over real samples of max(0, "
        "d - consistency_margin), where d is the squared difference of the scores that two draws "
        "of dropout give a sample, and a tenth of the mean squared difference of its features, the "
        "inputs of the last layer (Wei 2018, eq. 4; there 2, next to a gradient penalty, with "
        "dropout of 0.5). 0: none, as by default. Only with critic_dropout.",
    )
    consistency_margin: Real | None = Field(
        default=None,
        ge=0,
        description="M' of the same term. Default: 0. Only with consistency_weight.",
    )
    n_critic: Whole | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Critic steps per generator step. Default: 5, under a GAN loss, f_gan, "
        "ebgan and began 1. Not under sliced_wasserstein.",
    )
    batch_size: Whole = Field(
        default=64, ge=2, le=65536, description="Samples per step of either network."
    )
    pack: Whole = Field(
        default=1,
        ge=1,
        le=64,
        description="Samples that the critic sees at once, joined along their channels (PacGAN, "
        "Lin 2018; there 2 to 4). batch_size must be a multiple of it. A custom critic gets the "
        "joined sample_shape; sliced_wasserstein projects the joined samples. 1: each by itself.",
    )
    optimizer: Literal["adam", "rmsprop", "adamw"] = Field(
        default="adam", description="Default: rmsprop under clip, else adam."
    )
    critic_lr: Real | None = Field(
        default=None,
        gt=0,
        description="Learning rate of the critic. Default: 1e-4, under clip 5e-5, under ebgan "
        "1e-3, under began 8e-5, under all other losses 2e-4. Not under sliced_wasserstein.",
    )
    generator_lr: Real = Field(
        default=1e-4,
        gt=0,
        description="Learning rate of the generator. Default: 1e-4, also under "
        "sliced_wasserstein; under clip 5e-5, under ebgan 1e-3, under began 8e-5, under all other "
        "losses 2e-4.",
    )
    beta1: Real | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Decay of Adam's first moment. Default: 0, under spectral_norm, minimax, "
        "non_saturating, f_gan, ebgan, began and sliced_wasserstein 0.5. Only for adam and adamw.",
    )
    beta2: Real | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Decay of Adam's second moment. Default: 0.9, under minimax, non_saturating, "
        "f_gan, ebgan, began and sliced_wasserstein 0.999. Only for adam and adamw.",
    )
    weight_decay: Real | None = Field(
        default=None,
        ge=0,
        description="Weight decay of both networks. Default: 0.01. Only for adamw.",
    )
    lr_decay: Literal["constant", "linear"] = Field(
        default="constant",
        description="linear: both learning rates decay linearly to zero at "
        "asha.max_generator_steps (Gulrajani 2017, appendix F).",
    )
    ema_decay: Real = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Decay per step of an exponential moving average (EMA) of the generator's "
        "weights, which is then scored and saved in place of the weights (Yazici 2019). 0: no EMA.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="bfloat16: forward passes run in bfloat16 by autocast; weights, losses and "
        "penalties stay float32.",
    )
    compile: Flag = Field(
        default=False, description="Whether the networks are compiled by torch.compile."
    )
    cuda_graph: Flag = Field(
        default=False,
        description="Whether a generator step, with its critic steps, is captured as a CUDA graph "
        "and launched by one call. Its speed has not been measured. No effect on a CPU. Custom "
        "networks must not read values back from the GPU. Not under orthogonal or with "
        "critic_dropout.",
    )

    @classmethod
    def with_defaults(cls, given: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Add the values published with the method."""
        filled = fill({"loss": DEFAULT_LOSS} | dict(given), {"constraint": DEFAULT_CONSTRAINT})
        method = filled["constraint" if filled["loss"] == "wasserstein" else "loss"]
        return fill(filled, PUBLISHED.get(method, {}) if isinstance(method, str) else {})
