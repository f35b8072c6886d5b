"""The sections of a search space that are the search's own: the others are what a trial is."""

import math
from importlib.metadata import entry_points
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from trainables.config import Frozen, Real, Whole, plain_number

Text = Annotated[str, StringConstraints(strict=True, min_length=1)]


def _share_of_gpus(value: object) -> float | str:
    number = plain_number(value)
    if number == "auto":
        return "auto"
    if isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number < math.inf:
        return float(number)
    raise ValueError(f"must be auto or a number of at least 0, got {value!r:.80}")


Gpus = Annotated[
    float | Literal["auto"],
    PlainValidator(_share_of_gpus),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"const": "auto"}]}),
]
#: The bound stands before what reads a number, or a schema would not have it.
Positive = Annotated[
    float, Field(strict=True, allow_inf_nan=False, gt=0), BeforeValidator(plain_number), "number"
]
Steps = Annotated[Whole, Field(ge=1, le=1_000_000_000)]


class SearchConfig(Frozen):
    """How many trials, and who proposes them."""

    num_trials: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Trials to run; may be left out under a time budget or a grid."
    )
    time_budget_s: Annotated[Real, Field(gt=0)] | None = Field(
        default=None,
        description="Seconds after which trials end at their next report and none starts; the "
        "final comes after it.",
    )
    sampler: Literal["tpe", "random", "gp", "grid"] = Field(
        default="tpe", description="Optuna's sampler; grid tries every point of a finite space."
    )
    seed: Whole = Field(
        default=0, ge=0, lt=2**32, description="Seed of the sampler and of every trial."
    )
    trial_seeds: tuple[Annotated[Whole, Field(ge=0, lt=2**32)], ...] | None = Field(
        default=None,
        description="Seeds of the first trials; those of the others follow from seed. For one "
        "configuration under several seeds.",
    )
    max_concurrent_trials: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None, description="At most so many trials at a time; all that fit, if left out."
    )


class AshaConfig(Frozen):
    """Asynchronous successive halving (Li et al. 2020), in generator steps."""

    grace_generator_steps: Steps = Field(default=250, description="The first rung.")
    max_generator_steps: Steps = Field(
        default=4000, description="The last rung: the trial is complete."
    )
    reduction_factor: Whole = Field(
        default=4,
        ge=1,
        le=1000,
        description="A rung lets the best 1/reduction_factor pass. 1: none is stopped, and there "
        "are the first rung and the last.",
    )
    brackets: Whole = Field(
        default=1, ge=1, le=20, description="Ladders; each one's first rung is the next rung up."
    )

    @model_validator(mode="after")
    def _makes_rungs(self) -> "AshaConfig":
        if self.grace_generator_steps >= self.max_generator_steps:
            raise ValueError(
                "grace_generator_steps must be below max_generator_steps, or there is no rung to "
                f"stop a trial at, got {self.grace_generator_steps} and "
                f"{self.max_generator_steps}: lower the one or raise the other"
            )
        if self.brackets > len(self.rungs) - 1:
            raise ValueError(
                f"brackets must be at most {len(self.rungs) - 1}, the number of rungs before the "
                f"last, got {self.brackets}: lower it, or lower grace_generator_steps"
            )
        return self

    @property
    def rungs(self) -> tuple[int, ...]:
        """Generator steps at which every trial is scored; the last one completes it."""
        rungs = [self.grace_generator_steps]
        if self.reduction_factor == 1:
            return (*rungs, self.max_generator_steps)
        while (above := rungs[-1] * self.reduction_factor) < self.max_generator_steps:
            rungs.append(above)
        return (*rungs, self.max_generator_steps)


class ResourceConfig(Frozen):
    """What one trial takes of the cluster, and how much patience it is shown."""

    cpus_per_trial: Real = Field(default=1.0, gt=0, description="CPUs; also the trial's threads.")
    gpus_per_trial: Gpus = Field(
        default=0.0,
        description="GPUs; a fraction such as 0.25 shares one, above 1 whole ones. auto: one where "
        "any node has GPUs, else none.",
    )
    accelerator_type: Text | None = Field(
        default=None,
        description="Only on nodes with this accelerator, by Ray's name for it: A100, H100, ...",
    )
    custom: dict[Text, Positive] = Field(
        default_factory=dict,
        description="Custom resources of the cluster's nodes that a trial takes, by name.",
    )
    wait_for_nodes_s: Real = Field(
        default=0.0,
        ge=0,
        description="Seconds to wait at the start for a node that a trial fits, of a cluster that "
        "grows by itself.",
    )
    retries_per_trial: Whole = Field(
        default=2,
        ge=0,
        le=1000,
        description="Restarts from its last checkpoint after a crash. A node's death does not "
        "count.",
    )
    report_timeout_s: Real = Field(
        default=1800.0,
        gt=0,
        description="Seconds without a report after which a trial counts as hung: it is ended, "
        "and restarted as after a crash.",
    )
    max_equal_failures: Whole = Field(
        default=5,
        ge=1,
        le=1_000_000,
        description="So many trials in a row that failed with the same error stop the search.",
    )

    @property
    def threads_per_trial(self) -> int:
        """Threads that a trial computes with."""
        return max(1, int(self.cpus_per_trial))

    @field_validator("cpus_per_trial", "gpus_per_trial")
    @classmethod
    def _is_whole_above_one(cls, value: float | str) -> float | str:
        if isinstance(value, float) and value > 1 and value != int(value):
            raise ValueError(f"must be whole above 1, got {value}: give {round(value)}")
        return value


class ReportingConfig(Frozen):
    """How often a trial reports and saves itself between rungs."""

    report_every_generator_steps: Steps = Field(default=100, description="Cheap training metrics.")
    checkpoint_every_generator_steps: Steps = Field(
        default=500, description="Besides the checkpoint at every rung."
    )


class ResultsConfig(Frozen):
    """Where a search leaves what it found."""

    runs_dir: Text = Field(
        default="runs", description="The folder of all searches; --runs-dir wins."
    )
    storage: Text | None = Field(
        default=None,
        description="Where checkpoints go, and a copy of all results: a folder or a URI "
        "(s3://bucket/folder, gs://...) that every node reaches; the folder of all searches, if "
        "left out.",
    )


#: The kinds of address that MLflow itself takes, without a database's driver; none: a folder.
_TRACKING_STORES = ("", "databricks", "databricks-uc", "file", "http", "https", "mssql", "mysql",
                    "postgresql", "sqlite", "uc")  # fmt: skip


class MlflowConfig(Frozen):
    """Where the trials are recorded."""

    tracking_uri: Text | None = Field(
        default=None,
        description="An MLflow tracking URI; RUNS_DIR/mlflow.db (SQLite), if left out.",
    )
    experiment: Text = Field(default="wgan", description="The MLflow experiment.")

    @field_validator("tracking_uri")
    @classmethod
    def _holds_no_credentials(cls, uri: str | None) -> str | None:
        # Many servers take a token for the user's name.
        if uri is not None and urlsplit(uri).username is not None:
            raise ValueError(
                "must not hold a password or user, which would be written into spec.yaml: set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
            )
        return uri

    @field_validator("tracking_uri")
    @classmethod
    def _is_of_a_kind_that_there_is(cls, uri: str | None) -> str | None:
        kind = urlsplit(uri or "").scheme.partition("+")[0]
        plugins = {entry.name for entry in entry_points(group="mlflow.tracking_store")}
        if kind not in {*_TRACKING_STORES, *plugins}:
            raise ValueError(
                f"must be an address such as http://HOST:5000 or sqlite:////PATH/mlflow.db: MLflow "
                f"knows no {kind}:"
            )
        return uri
