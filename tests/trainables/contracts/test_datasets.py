"""Every dataset keeps the contract, and each broken one fails with the right sentence."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import jaxtyping
import numpy as np
import pytest
from made_datasets import make

from trainables.config import DataConfig
from trainables.contracts import check_dataset, datasets
from trainables.data import Data, load

DATASETS = get_args(DataConfig.model_fields["dataset"].annotation)
#: Points of these have tails; on lines some are equal once they are float32.
MAX_ABS = dict.fromkeys(("eight_gaussians", "twenty_five_gaussians"), 1.07)
MAX_EQUAL = {"parallel_lines": 20}


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_dataset_keeps_the_contract(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make(dataset, tmp_path, monkeypatch)
    check_dataset(config, max_abs=MAX_ABS.get(dataset, 1.0), max_equal=MAX_EQUAL.get(dataset, 0))


CONFIG = DataConfig(dataset="digits")


def check(monkeypatch: pytest.MonkeyPatch, broken) -> None:
    # The types of Data, which only tests check, would refuse some of these first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr(datasets, "load", lambda config: broken(load(config)))
    check_dataset(CONFIG)


def changed(data: Data, change) -> Data:
    return Data(
        *(change(part) for part in (data.train, data.critic_train, data.critic_eval, data.final))
    )


def with_value(value: float):
    def broken(data: Data) -> Data:
        part = data.critic_eval.copy()
        part[3, 0, 2, 2] = value
        return replace(data, critic_eval=part)

    return broken


RANDOM = np.random.default_rng(0)
BROKEN = {
    "few": (
        lambda data: replace(data, final=data.final[:49]),
        "final must have at least 50 samples, g",
    ),
    "shape": (
        lambda data: replace(data, final=data.final[:, :, :7]),
        r"the part final must hold .* of shape \(1, 8, 8\), got \(180, 1, 7, 8\)",
    ),
    "axes": (lambda data: changed(data, lambda part: part[:, 0]), r"images \[n, C, H, W\], all of"),
    "double": (
        lambda data: changed(data, np.float64),
        "train must be float32, or uint8 for images, g",
    ),
    "bytes": (
        lambda data: changed(data, lambda part: (part[:, 0, 0] + 1).astype(np.uint8)),
        "must be float32, or uint8 for images, got uint8",
    ),
    "strided": (lambda data: replace(data, train=data.train[::2]), "train must be contiguous"),
    "nan": (with_value(np.nan), "the part critic_eval must be finite, got nan or inf"),
    "range": (with_value(1.5), r"critic_eval must lie in \[-1, 1\], got a value of absolute 1.5"),
    "equal": (
        lambda data: replace(data, final=np.zeros_like(data.final)),
        "the part final must hold samples that differ, got equal ones",
    ),
    "leak": (
        lambda data: replace(data, final=data.train[: len(data.final)]),
        "at most 0 samples that equal another, as they could be in two parts, got 180: remove",
    ),
    "unseeded": (
        lambda data: replace(data, train=data.train[RANDOM.permutation(len(data.train))]),
        "must be the same each time it is loaded with one split_seed, but differs",
    ),
}


@pytest.mark.parametrize(("broken", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_dataset_fails_with_a_sentence(monkeypatch, broken, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check(monkeypatch, broken)


def test_a_split_that_ignores_its_seed_fails(monkeypatch) -> None:
    with pytest.raises(AssertionError, match="must depend on split_seed, but does not"):
        check(monkeypatch, lambda data: load(CONFIG))
