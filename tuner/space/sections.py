"""The sections of a search space that configure the search, and not a single trial."""

import math
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from trainables.config import (
    SECRET_NAME,
    URI,
    Frozen,
    Real,
    Whole,
    expand,
    expand_variables,
    is_variable,
    plain_number,
)

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
#: The bound stands before the validator: the JSON Schema lacks bounds that follow it.
Positive = Annotated[
    float, Field(strict=True, allow_inf_nan=False, gt=0), BeforeValidator(plain_number), "number"
]
Steps = Annotated[Whole, Field(ge=1, le=1_000_000_000)]


#: The keys of what ends a search before it has all of its trials.
BUDGETS = ("time_budget_s", "generator_steps", "gpu_hours")


class SearchConfig(Frozen):
    """The number of trials, its budgets, their sampler and their seeds."""

    num_trials: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="Number of trials. May be left out with a budget or a grid.",
    )
    time_budget_s: Annotated[Real, Field(gt=0)] | None = Field(
        default=None,
        description="Seconds after which no trial starts and running trials end at their next "
        "report. The final comes after that.",
    )
    generator_steps: Annotated[Whole, Field(ge=1, le=10**15)] | None = Field(
        default=None,
        description="The same for the generator steps of all trials, as they report them.",
    )
    gpu_hours: Annotated[Real, Field(gt=0)] | None = Field(
        default=None,
        description="The same for the hours that all trials train and are scored, times "
        "resources.gpus_per_trial; auto counts as 1.",
    )
    sampler: Literal["tpe", "random", "gp", "grid"] = Field(
        default="tpe",
        description="Optuna's sampler; grid tries every point of a finite space once.",
    )
    seed: Whole = Field(
        default=0, ge=0, lt=2**32, description="Seed of the sampler and of every trial."
    )
    trial_seeds: tuple[Annotated[Whole, Field(ge=0, lt=2**32)], ...] | None = Field(
        default=None,
        description="Seeds of the first trials, for example to train one configuration with "
        "several seeds. The seeds of all others are derived from seed.",
    )
    max_concurrent_trials: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None,
        description="Limit of trials that run at the same time. Default: as many as fit.",
    )

    @property
    def budgets(self) -> dict[str, float]:
        """Return the budgets that the search has, by their keys."""
        budgets = {key: getattr(self, key) for key in BUDGETS}
        return {key: budget for key, budget in budgets.items() if budget is not None}


class AshaConfig(Frozen):
    """Asynchronous successive halving (Li et al. 2020), in generator steps."""

    grace_generator_steps: Steps = Field(
        default=250, description="Generator steps of the first rung."
    )
    max_generator_steps: Steps = Field(
        default=4000, description="Generator steps of the last rung, which completes a trial."
    )
    reduction_factor: Whole = Field(
        default=4,
        ge=1,
        le=1000,
        description="The best 1/reduction_factor of the trials at a rung continue, to the rung at "
        "reduction_factor times the steps. 1: no trial is stopped, and there are only the first "
        "and the last rung.",
    )
    brackets: Whole = Field(
        default=1, ge=1, le=20, description="ASHA brackets; bracket s starts at rung s."
    )
    variant: Literal["stopping", "promotion", "delayed_promotion"] = Field(
        default="stopping",
        description="stopping: at each rung a trial continues or ends, at once. promotion: it "
        "waits there while its worker goes on to another, and continues once it is among the best "
        "1/reduction_factor of the rung. delayed_promotion: so it does, but only while the rung "
        "has at least reduction_factor times as many trials as continued from it.",
    )
    spare_published: bool = Field(
        default=False,
        description="Whether the trials whose initial point has the values published with their "
        "method train to the last rung, where the report then compares the best with them.",
    )

    @model_validator(mode="after")
    def _makes_rungs(self) -> "AshaConfig":
        if self.grace_generator_steps >= self.max_generator_steps:
            raise ValueError(
                "grace_generator_steps must be below max_generator_steps, else there is no rung at "
                f"which to stop a trial, got {self.grace_generator_steps} and "
                f"{self.max_generator_steps}: lower the first or raise the second"
            )
        if self.brackets > len(self.rungs) - 1:
            raise ValueError(
                f"brackets must be at most {len(self.rungs) - 1}, the number of rungs before the "
                f"last, got {self.brackets}: lower it, or lower grace_generator_steps"
            )
        return self

    @property
    def promotes(self) -> bool:
        """Return whether trials wait at rungs until they are promoted."""
        return self.variant != "stopping"

    @property
    def rungs(self) -> tuple[int, ...]:
        """Return the generator steps at which trials are scored, in increasing order."""
        rungs = [self.grace_generator_steps]
        if self.reduction_factor == 1:
            return (*rungs, self.max_generator_steps)
        while (above := rungs[-1] * self.reduction_factor) < self.max_generator_steps:
            rungs.append(above)
        return (*rungs, self.max_generator_steps)


class ResourceConfig(Frozen):
    """Resources of one trial, its retries and timeouts."""

    cpus_per_trial: Real = Field(
        default=1.0, gt=0, description="CPUs of a trial; also its number of threads."
    )
    gpus_per_trial: Gpus = Field(
        default=0.0,
        description="GPUs of a trial: a fraction such as 0.25 shares one GPU; above 1 it must be a "
        "whole number. auto: 1 if any node has a GPU, else 0.",
    )
    accelerator_type: Text | None = Field(
        default=None,
        description="Run trials only on nodes with this accelerator, by Ray's name for it: A100, "
        "H100, ...",
    )
    custom: dict[Text, Positive] = Field(
        default_factory=dict,
        description="Amounts of Ray's custom resources that a trial needs, by name.",
    )
    wait_for_nodes_s: Real = Field(
        default=0.0,
        ge=0,
        description="Seconds to wait at the start until a trial fits a node, on a cluster that "
        "scales up.",
    )
    retries_per_trial: Whole = Field(
        default=2,
        ge=0,
        le=1000,
        description="Restarts of a trial from its last checkpoint after a crash. The loss of a "
        "node does not count.",
    )
    report_timeout_s: Real = Field(
        default=1800.0,
        gt=0,
        description="Seconds without a report after which a trial counts as hung; it is killed "
        "and restarted as after a crash.",
    )
    max_equal_failures: Whole = Field(
        default=5,
        ge=1,
        le=1_000_000,
        description="Trials in a row that fail with the same error until the search stops.",
    )

    @property
    def counted_gpus(self) -> float:
        """Return the GPUs of a trial, as a budget counts them."""
        return 1.0 if isinstance(self.gpus_per_trial, str) else self.gpus_per_trial

    @property
    def threads_per_trial(self) -> int:
        """Return the number of threads of a trial."""
        return max(1, int(self.cpus_per_trial))

    @field_validator("cpus_per_trial", "gpus_per_trial")
    @classmethod
    def _is_whole_above_one(cls, value: float | str) -> float | str:
        if isinstance(value, float) and value > 1 and value != int(value):
            raise ValueError(f"must be a whole number if above 1, got {value}: give {round(value)}")
        return value


class ReportingConfig(Frozen):
    """How often a trial reports and saves a checkpoint between rungs."""

    report_every_generator_steps: Steps = Field(
        default=100, description="Generator steps between reports of training metrics."
    )
    checkpoint_every_generator_steps: Steps = Field(
        default=500,
        description="Generator steps between checkpoints, in addition to the one at every rung.",
    )


class ResultsConfig(Frozen):
    """Where a search writes its results.

    The values stay as they are written, with ``~`` and ``$VARIABLES``: a folder of searches that is
    moved to another machine, or to another user, finds its places there.
    """

    runs_dir: Text = Field(
        default="runs",
        description="The folder of all searches; --runs-dir replaces it. ~ and "
        "$VARIABLES are replaced.",
    )
    storage: Text | None = Field(
        default=None,
        description="Where checkpoints and a copy of all results are written: a folder or a URI "
        "(s3://bucket/folder, gs://...) that all nodes can access. ~ and $VARIABLES are replaced "
        "in a folder. Default: runs_dir.",
    )
    on_end: Annotated[tuple[Text, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="A program and its arguments, run without a shell when the search has finished "
        "or a fault has stopped it; {run_dir} and {state} are replaced, and its input is the "
        "summary. It is not run for a file of a search's folder.",
    )

    @property
    def folder(self) -> Path:
        """Return the folder of all searches, absolute.

        Raises:
            ValueError: if it cannot be expanded, as in :func:`trainables.config.expand`.
        """
        return Path(expand(self.runs_dir)).absolute()

    @property
    def location(self) -> str | None:
        """Return the folder or URI for checkpoints and the copy of all results.

        Raises:
            ValueError: if it cannot be expanded, as in :func:`trainables.config.expand`.
        """
        is_uri = self.storage is not None and URI.match(self.storage)
        if self.storage is None or (is_uri and not self.storage.startswith("file:")):
            return self.storage
        return expand(self.storage)


#: The schemes of MLflow's tracking URIs, without a database's driver; a folder has none.
_TRACKING_STORES = ("", "databricks", "databricks-uc", "file", "http", "https", "mssql", "mysql",
                    "postgresql", "sqlite", "uc")  # fmt: skip


_SQLITE = re.compile(r"sqlite(\+\w+)?:///")
#: User and password, which may hold slashes, before an "@"; a host's port is no password.
_USER = re.compile(r"//(?P<user>[^/?#@:]*)(?P<password>:(?!\d*(/|$))[^@]*|)@")


def _holds_secret(uri: str) -> bool:
    """Tell whether a tracking URI holds a credential that is not a variable of the environment."""
    scheme, query = uri.partition(":")[0], uri.partition("?")[2]
    if _SQLITE.match(uri) or scheme == "file":
        return False
    named = [value for name, value in parse_qsl(query) if SECRET_NAME.search(name)]
    if (user := _USER.search(uri)) is not None:
        named.append(user["password"].removeprefix(":"))
        # Many servers accept a token in place of a user's name.
        named += [user["user"]] if scheme in ("", "http", "https") else []
    return not all(is_variable(value) for value in named if value)


class MlflowConfig(Frozen):
    """Where MLflow records the trials."""

    tracking_uri: Text | None = Field(
        default=None,
        description="An MLflow tracking URI; $VARIABLES are replaced. Default: RUNS_DIR/mlflow.db "
        "(SQLite).",
    )
    experiment: Text = Field(default="wgan", description="The MLflow experiment.")

    @property
    def address(self) -> str | None:
        """Return the tracking URI with variables, and a leading ``~`` of its path, replaced.

        Raises:
            ValueError: if it cannot be expanded, as in :func:`trainables.config.expand`.
        """
        if self.tracking_uri is None:
            return None
        scheme, path = _SQLITE.match(self.tracking_uri), self.tracking_uri
        if scheme is not None:
            return scheme[0] + expand(path[scheme.end() :])
        return expand_variables(path) if URI.match(path) else expand(path)

    @field_validator("tracking_uri")
    @classmethod
    def _holds_no_credentials(cls, uri: str | None) -> str | None:
        if uri is not None and _holds_secret(uri):
            raise ValueError(
                "must not hold a password or user, which would be written into spec.yaml: set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment, or for "
                "a database write a variable in its place, as in mysql://me:$DB_PASSWORD@host/db"
            )
        return uri

    @field_validator("tracking_uri")
    @classmethod
    def _has_a_known_scheme(cls, uri: str | None) -> str | None:
        scheme = urlsplit(uri or "").scheme.partition("+")[0]
        plugins = {entry.name for entry in entry_points(group="mlflow.tracking_store")}
        if scheme not in {*_TRACKING_STORES, *plugins}:
            raise ValueError(
                f"must be an address such as http://HOST:5000 or sqlite:////PATH/mlflow.db: MLflow "
                f"does not know {scheme}:"
            )
        return uri


class TrackingConfig(Frozen):
    """Where else the trials are recorded, in addition to MLflow."""

    tensorboard: bool = Field(
        default=False,
        description="Whether trials are also written for TensorBoard, into RUN/tensorboard. Needs "
        "wgan-tuner[tensorboard].",
    )
    wandb: Literal["offline", "online"] | None = Field(
        default=None,
        description="Whether trials that have ended are also written for Weights & Biases: offline "
        "into RUN/wandb, or online to its servers. Needs wgan-tuner[wandb].",
    )
    wandb_project: Text = Field(default="wgan", description="The project of Weights & Biases.")
