"""A checkpoint is scored by the final together with its diagnosis."""

import math
from pathlib import Path

import numpy as np
import torch

from trainables.config import NetworkConfig, ObjectiveConfig
from trainables.data import Data
from trainables.networks import build_generator
from trainables.trial import settings_restored
from tuner.cluster.scoring import score_checkpoint, score_real_samples

NETWORKS = NetworkConfig(latent_dim=2, generator_width=8)
OBJECTIVE = ObjectiveConfig(
    final_critic_steps=2, final_num_critics=1, metrics="custom_metrics:Means"
)


def test_a_finalist_is_diagnosed_unless_its_samples_are_not_finite(tmp_path: Path) -> None:
    data = Data(*np.random.default_rng(0).normal(size=(4, 60, 2)).astype(np.float32))
    generator = build_generator(NETWORKS, (2,))
    scores = []
    with settings_restored():
        for weight in (0.5, math.nan):
            torch.nn.init.constant_(next(generator.parameters()), weight)
            saved = {"state_dict": generator.state_dict(), "networks": NETWORKS.model_dump()}
            torch.save(saved | {"sample_shape": [2]}, tmp_path / "generator.pt")
            scores.append(score_checkpoint(str(tmp_path), "some_00000", data, OBJECTIVE, 1, False))
        floor = score_real_samples(data, OBJECTIVE, 1, False)
    whole, broken = scores
    assert whole.w1_train is not None
    assert {"copy_ratio", "metrics/mean distance", "metrics/num"} <= whole.diagnosis.keys()
    assert whole.faults == ()
    assert math.isnan(broken.w1)
    assert (broken.diagnosis, floor.diagnosis) == ({}, {})
    assert whole.comparison is not None
    assert (whole.comparison["kind"], whole.comparison["num_columns"]) == ("vectors", 2)
    assert broken.comparison is floor.comparison is None
