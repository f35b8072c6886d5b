"""The dataset and its split."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from trainables.config.base import Conditional, Flag, Real, Text, Whole
from trainables.config.methods import DATASETS, fill

Kind = Literal["vectors", "images"]
Scaling = Literal["standard", "min_max", "whole", "none"]


class DataConfig(Conditional):
    """The dataset, and its split into training data and held-out data. No key may be searched."""

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
        "twenty_five_gaussians, swiss_roll: points in 2-D (Gulrajani 2017). two_moons: points in "
        "2-D, from scikit-learn. parallel_lines: two segments in 2-D at distance 1 (after Arjovsky "
        "2017, Example 1). mnist, fashion_mnist, kmnist, cifar10, celeba: from torchvision. "
        "image_folder: all images in a folder and its subfolders. array: images or vectors in an "
        ".npy or .npz file.",
    )
    path: Text | None = Field(
        default=None,
        description="The folder or file, relative to the folder where the search is started; ~ "
        "and $VARIABLES are replaced. Default for torchvision's datasets: data. Required for "
        "image_folder and array.",
    )
    array_name: Text | None = Field(
        default=None,
        description="Name of the array, where an .npz file has several. Only for array.",
    )
    kind: Kind | None = Field(
        default=None,
        description="What each sample of the array is. vectors: one row, or all further axes in "
        "one row. images: grey [height, width], or with 1 or 3 channels as first or last axis. "
        "Default: vectors for an array of two axes, images for one of four or of square images. "
        "Required for [n, a, b] with a other than b, which may be series or images. Only for "
        "array.",
    )
    scale: Scaling | None = Field(
        default=None,
        description="How vectors are scaled for training, by the trials' part of the data; samples "
        "are mapped back. standard: each column to mean 0 and standard deviation 1. min_max: each "
        "column linearly to [-1, 1]. whole: all columns by one linear map to [-1, 1]. none: not at "
        "all. Default: standard. Only for array.",
    )
    side: Whole | None = Field(
        default=None,
        ge=8,
        le=256,
        description="Height and width of the images in pixels: the shorter side is resized to it, "
        "and the centre is cut out. Default: 32, for celeba 64. Only for image_folder and celeba.",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1: grey, 3: colour. Default: 3. Only for image_folder."
    )
    max_corrupt_share: Real | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Largest share of files that may be unreadable; they are named and left out. "
        "Default: 0.01. Only for image_folder.",
    )
    download: Flag | None = Field(
        default=None,
        description="Whether missing files may be downloaded. Default: false. Only for "
        "torchvision's datasets.",
    )
    split_seed: Whole = Field(
        default=0,
        ge=0,
        description="Seed of the split into training data and held-out data.",
    )

    @classmethod
    def with_defaults(cls, given: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Add the defaults of the dataset."""
        dataset = given.get("dataset")
        return fill(given, DATASETS.get(dataset, {})) if isinstance(dataset, str) else given

    @model_validator(mode="after")
    def _require_path(self) -> "DataConfig":
        if self.path is None and self.dataset in ("image_folder", "array"):
            kind = (
                "a folder of images" if self.dataset == "image_folder" else "an .npy or .npz file"
            )
            raise ValueError(f"path is required for {self.dataset}: give {kind}")
        return self
