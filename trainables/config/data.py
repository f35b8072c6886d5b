"""The data and their split."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainables.config.base import (
    Conditional,
    Real,
    Whole,
)
from trainables.config.methods import (
    DATASETS,
    fill,
)


class DataConfig(Conditional):
    """Which data, and how it is split between the trials and the objective. None is searched."""

    dataset: Literal[
        "digits",
        "eight_gaussians",
        "twenty_five_gaussians",
        "swiss_roll",
        "two_moons",
        "parallel_lines",
        "mnist",
        "fashion_mnist",
        "kmnist",
        "cifar10",
        "celeba",
        "image_folder",
        "array",
    ] = Field(
        default="digits",
        description="digits: scikit-learn's 1,797 scanned 8x8 digits. eight_gaussians, "
        "twenty_five_gaussians, swiss_roll: points in 2-D (Gulrajani 2017); two_moons; "
        "parallel_lines: two of distance 1 (after Arjovsky 2017, Example 1). mnist, "
        "fashion_mnist, kmnist, cifar10, celeba: torchvision's. image_folder: all images below a "
        "folder. array: images or vectors in an .npy or .npz file.",
    )
    path: Annotated[str, Field(strict=True, min_length=1)] | None = Field(
        default=None,
        description="The folder or file; data, for torchvision's. Relative to where the search is "
        "started.",
    )
    array_name: Annotated[str, Field(strict=True, min_length=1)] | None = Field(
        default=None, description="Which array of an .npz file that has several. array only."
    )
    side: Whole | None = Field(
        default=None,
        ge=8,
        le=256,
        description="Pixels of an image's side: the shorter one is resized to it, and the centre "
        "cut out; 32, of celeba 64. image_folder and celeba only.",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1: grey, 3: colour; 3. image_folder only."
    )
    max_corrupt_share: Real | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Share of files that may be unreadable: they are named and left out; 0.01. "
        "image_folder only.",
    )
    download: Annotated[bool, Field(strict=True)] | None = Field(
        default=None,
        description="Whether files that are not there may be fetched; false. torchvision's only.",
    )
    split_seed: Whole = Field(
        default=0,
        ge=0,
        description="Seed of the split into the trials' part and the held-out parts.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        dataset = given.get("dataset") if isinstance(given, Mapping) else None
        return fill(given, DATASETS.get(dataset, {})) if isinstance(dataset, str) else given

    @model_validator(mode="after")
    def _has_a_path(self) -> "DataConfig":
        if self.path is None and self.dataset in ("image_folder", "array"):
            kind = (
                "a folder of images" if self.dataset == "image_folder" else "an .npy or .npz file"
            )
            raise ValueError(f"path is required for {self.dataset}: give {kind}")
        return self
