"""The independent critic that scores trials."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from trainables.config.base import SEED_LIMIT, Flag, Frozen, Whole
from trainables.config.networks import ImportPath
from trainables.metrics import DEFAULT_GROUND, METRICS

#: The length of a sample above which the critics' learning rate falls.
MAX_UNSCALED_DIM = 64


@dataclass(frozen=True)
class CriticBudget:
    """How the independent critics are trained. Only estimates of one budget can be compared.

    Attributes:
        critic_steps: Training steps.
        num_critics: Critics whose estimates are averaged.
        batch_size: Real samples, and as many generated ones, in a step of one critic.
        learning_rate: Adam's initial learning rate; it decays to zero.
        num_generated: Generated samples to train on, and as many others to evaluate on.
        seed: Seed of the critics' initial weights, batches and latents.
        cones: Whether critics made of cones are trained too, on samples of few dimensions.
        scaled_lr: Whether the learning rate falls with the dimension of the samples.
    """

    critic_steps: int
    num_critics: int
    batch_size: int
    learning_rate: float
    num_generated: int
    seed: int
    cones: bool = False
    scaled_lr: bool = True

    def learning_rate_at(self, dim: int) -> float:
        """Return the initial learning rate for samples of a dimension.

        A step of Adam moves every weight by about the learning rate, and so the output of a unit
        by up to the root of its inputs' number times as much: at one rate, critics of more
        dimensions would train less far, and of thousands hardly at all.
        """
        scale = math.sqrt(min(1.0, MAX_UNSCALED_DIM / dim)) if self.scaled_lr else 1.0
        return self.learning_rate * scale


#: The keys that may be searched where each trial is ranked by the estimate of its own critic. Any
#: other key changes the critic, and with it the scale of its estimate.
GENERATOR_ALONE = (
    "networks.generator",
    "networks.generator_args",
    "networks.latent_dim",
    "networks.generator_width",
    "networks.generator_depth",
    "networks.generator_activation",
    "networks.generator_norm",
    "training.feature_matching_weight",
    "training.generator_lr",
    "training.ema_decay",
)


def no_estimate(loss: str) -> str:
    """Say that trials of a loss without a critic cannot be ranked by their critics' estimates."""
    return (
        f"objective.name must not be critic_estimate where loss is {loss}, which trains no critic: "
        "give independent_critic, or change the loss"
    )


#: Images with a shorter side are compared by their pixels, as vectors are by their numbers.
MIN_GROUND_SIDE = 16


class ObjectiveConfig(Frozen):
    """The metric that ranks the trials, and its critics. No key may be searched."""

    name: Literal["independent_critic", "critic_estimate"] = Field(
        default="independent_critic",
        description="Metric that ranks the trials. independent_critic: w1, estimated at each rung "
        "by critics that are trained from scratch on held-out data, alike for every trial. "
        "critic_estimate: the estimate of the trial's own critic; only where nothing that sets its "
        "scale is searched. The final uses independent critics in either case. The name alone may "
        "stand in place of the section.",
    )
    ground: Literal["energies", "pixels"] | None = Field(
        default=None,
        description="The distance between two images, of which w1 is made. energies: between "
        "their coarse pixels and the energies of oriented filters, so that a blurred average is "
        "not near. pixels: between their pixels. Default: energies. Vectors and images below 16 "
        "pixels a side are compared as they are.",
    )
    features: ImportPath | None = Field(
        default=None,
        description="Custom features that are compared in place of ground, as package.module:Name: "
        "a torch module, created as Name(sample_shape=...), that maps samples "
        "[batch, *sample_shape] to [batch, length] and is not trained.",
    )
    metrics: ImportPath | None = Field(
        default=None,
        description="Metrics of your own, which never rank trials, as package.module:Name: a "
        "class, created as Name(sample_shape=...) and called as (real, generated), each "
        "[n, *sample_shape], that returns numbers by name. Measured of each trial of the final.",
    )
    metrics_at_rungs: Flag = Field(
        default=False, description="Whether these metrics are measured at each rung, too."
    )
    critic_steps: Whole = Field(
        default=200,
        ge=1,
        le=100_000,
        description="Training steps of the independent critics at each rung.",
    )
    num_critics: Whole = Field(
        default=2,
        ge=1,
        le=64,
        description="Independent critics whose estimates are averaged at each rung.",
    )
    final_trials: Whole = Field(
        default=3,
        ge=0,
        le=100,
        description="Number of the best completed trials that are scored again at the end, by "
        "stronger critics on data that no rung has used; the best of them wins. 0: no final.",
    )
    final_critic_steps: Whole = Field(
        default=600,
        ge=1,
        le=1_000_000,
        description="Training steps of the independent critics in the final.",
    )
    final_num_critics: Whole = Field(
        default=4,
        ge=1,
        le=64,
        description="Independent critics whose estimates are averaged in the final.",
    )
    final_seeds: Whole = Field(
        default=1,
        ge=1,
        le=101,
        description="How many seeds each configuration of the final has. Above 1, it is trained "
        "again, to the last rung, with further seeds than the trial's own, and the lowest mean "
        "w1_final over the further seeds wins. 1: the lowest w1_final of the trials wins.",
    )
    final_cones: Flag = Field(
        default=True,
        description="Whether the final also trains a critic made of cones, which follows structure "
        "that is much finer than the spread of the data, and takes the larger of the two "
        "estimates. Only samples of at most 128 numbers.",
    )
    scaled_critic_lr: Flag = Field(
        default=True,
        description="Whether the learning rate of the independent critics falls as one over the "
        "root of the length of what they compare (features, pixels or columns), above 64.",
    )
    seed: Whole = Field(
        default=0,
        ge=0,
        lt=SEED_LIMIT,
        description="Seed of the independent critics' initial weights, batches and latents.",
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_name_alone(cls, given: Any) -> Any:
        given = {"name": given} if isinstance(given, str) else given
        if isinstance(given, Mapping) and given.get("features") is None:
            return {**given, "ground": given.get("ground") or DEFAULT_GROUND}
        return given

    @model_validator(mode="after")
    def _refuse_two_grounds(self) -> "ObjectiveConfig":
        if self.features is not None and self.ground is not None:
            raise ValueError(
                f"ground must be left out where features is given, got {self.ground}: give one"
            )
        return self

    @model_validator(mode="after")
    def _refuse_no_metrics(self) -> "ObjectiveConfig":
        if self.metrics_at_rungs and self.metrics is None:
            raise ValueError("metrics_at_rungs must be false where metrics is not given: give both")
        return self

    def ground_of(self, sample_shape: tuple[int, ...]) -> str | None:
        """Return the name of the ground metric of such samples; ``None``: the samples' L2 norm."""
        if self.features is not None:
            return self.features
        is_small = len(sample_shape) != 3 or min(sample_shape[1:]) < MIN_GROUND_SIDE
        return None if self.ground == "pixels" or is_small else self.ground

    @property
    def compared(self) -> str:
        """Return the setting that two searches must share, for their scores to compare."""
        return self.features or self.ground or DEFAULT_GROUND

    @property
    def metric(self) -> Literal["w1", "critic_estimate"]:
        """Return the name of the metric that ranks the trials; lower is better."""
        return METRICS[self.name]

    def score_of(self, report: Mapping[str, Any]) -> float | None:
        """Return the ranking metric of a report at a rung, or ``None`` for one between rungs.

        Only reports at a rung have ``w1``.
        """
        return report[self.metric] if "w1" in report else None

    @property
    def rung(self) -> CriticBudget:
        """Return the budget at every rung."""
        return CriticBudget(
            self.critic_steps,
            self.num_critics,
            64,
            1e-2,
            8192,
            self.seed,
            scaled_lr=self.scaled_critic_lr,
        )

    @property
    def final(self) -> CriticBudget:
        """Return the budget of the final."""
        return CriticBudget(
            self.final_critic_steps,
            self.final_num_critics,
            128,
            5e-3,
            16384,
            self.seed,
            self.final_cones,
            self.scaled_critic_lr,
        )
